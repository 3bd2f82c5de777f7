/* Prune it in the page: the pictures. Each function draws one canvas from what the worker reported last.

   A layer is {name, total, kept, theta, worth, price, place, units, rows}: `kept` holds the units' numbers in the network
   as it was made, and `place` for each number where it stands among the kept, or −1. In the matrices, the unit with
   a number has the row or column `rows[number]`, and `units` leads back: HALO leaves the matrices as large as they were. */
"use strict";

window.selfPruningPictures = (() => {
  const SIDE = 14;
  const DIGITS = 10;
  const LINKS = [240, 160, 80]; // drawn of each matrix: the strongest
  const SHADES = 6; // of a link, so that links of one shade are one path
  const FADE = 700; // milliseconds that a unit takes to leave the picture
  const BOARD = {
    paper: "#0d131a",
    cell: "#151e28",
    ink: "#e8edf2",
    muted: "#9aa7b4",
    pixels: [86, 180, 233],
    first: [240, 173, 78],
    second: [64, 196, 160],
    plus: [255, 236, 200],
    minus: [139, 150, 255],
  };
  const FONT = "12px system-ui, sans-serif";

  const rgb = (colour, alpha = 1) => `rgb(${colour[0]} ${colour[1]} ${colour[2]} / ${alpha})`;
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  /* A canvas as large as the style sheet makes it, in units of its pixels; null while it has no size. */
  function sheet(canvas) {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return null;
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = FONT;
    return { pen, width, height };
  }

  /* --- where things are --- */

  /* The layout of the board: from left to right, or on a phone from top to bottom. */
  function layout(width, height) {
    const upright = width < 520;
    const points = { pixels: [], first: [], second: [], digits: [] };
    const labels = {};
    let cell;
    let origin;
    if (upright) {
      cell = Math.floor((width - 120) / SIDE);
      origin = [Math.round((width - cell * SIDE) / 2), 30];
      const below = origin[1] + cell * SIDE;
      const rest = height - below - 46;
      labels.pixels = [width / 2, 18, "center"];
      for (const [name, share] of [["first", 0.36], ["second", 0.7], ["digits", 1]]) {
        const y = below + share * rest;
        const count = { first: 64, second: 32, digits: DIGITS }[name];
        const rows = name === "first" ? 2 : 1;
        const pitch = (width - 28) / (count / rows);
        for (let unit = 0; unit < count; unit++) {
          const row = unit % rows;
          points[name].push([14 + (Math.floor(unit / rows) + 0.25 + (rows === 2 ? 0.5 * row : 0.25)) * pitch, y + (row - (rows - 1) / 2) * 13]);
        }
        labels[name] = [14, y - (rows === 2 ? 19 : 15), "left"];
      }
    } else {
      cell = Math.floor(Math.min((height - 56) / SIDE, width * 0.4 / SIDE));
      origin = [18, 36];
      const tall = cell * SIDE;
      const right = origin[0] + tall;
      const rest = width - right - 96;
      labels.pixels = [origin[0], 22, "left"];
      for (const [name, share] of [["first", 0.33], ["second", 0.7], ["digits", 1]]) {
        const x = right + share * rest;
        const count = { first: 64, second: 32, digits: DIGITS }[name];
        const columns = name === "first" ? 2 : 1;
        const pitch = tall / (count / columns);
        for (let unit = 0; unit < count; unit++) {
          const column = unit % columns;
          points[name].push([x + (column - (columns - 1) / 2) * 14, origin[1] + (Math.floor(unit / columns) + 0.25 + (columns === 2 ? 0.5 * column : 0.25)) * pitch]);
        }
        labels[name] = name === "digits" ? [x + 16, 22, "left"] : [x, 22, "center"];
      }
    }
    for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
      points.pixels.push([origin[0] + (pixel % SIDE + 0.5) * cell, origin[1] + (Math.floor(pixel / SIDE) + 0.5) * cell]);
    }
    return { upright, cell, origin, points, labels, radius: upright ? 3.6 : 4 };
  }

  /* The unit of the network nearest to a point, if any is near: {layer, unit}. */
  function nearest(plan, layers, x, y) {
    let found = null;
    let least = 13 ** 2;
    layers.forEach((layer, depth) => {
      for (const unit of layer.kept) {
        const [left, top] = plan.points[layer.name][unit];
        const distance = (left - x) ** 2 + (top - y) ** 2;
        if (distance < least) [found, least] = [{ layer: depth, unit }, distance];
      }
    });
    return found;
  }

  /* --- the network --- */

  function network(canvas, view) {
    const room = sheet(canvas);
    if (!room) return null;
    const { pen, width, height } = room;
    const plan = layout(width, height);
    const { layers, weights, chosen, now, still } = view;
    if (weights) links(pen, plan, layers, weights, chosen);
    mask(pen, plan, layers[0], view);
    for (const layer of layers.slice(1)) {
      for (let unit = 0; unit < layer.total; unit++) {
        const [x, y] = plan.points[layer.name][unit];
        const place = layer.place[unit];
        const colour = BOARD[layer.name];
        if (place < 0) {
          const left = still ? 1 : (now - layer.left[unit]) / FADE;
          if (left < 1) dot(pen, x, y, plan.radius * (1 + 1.5 * left), rgb(colour, 0.5 * (1 - left)));
          dot(pen, x, y, 1.2, "#39444f");
        } else {
          const strength = layer.strength[place];
          dot(pen, x, y, plan.radius, BOARD.paper);
          dot(pen, x, y, plan.radius, rgb(colour, 0.14 + 0.86 * strength));
        }
      }
    }
    digits(pen, plan, view, width);
    for (const [name, [x, y, align]] of Object.entries(plan.labels)) {
      const layer = layers.find((one) => one.name === name);
      const text = layer ? `${name} ${layer.kept.length} of ${layer.total}` : plan.upright ? "digits, how often misread" : "misread";
      if (plan.upright && name !== "pixels") {
        pen.fillStyle = BOARD.paper;
        pen.fillRect(x - 4, y - 11, pen.measureText(text).width + 8, 14);
      }
      pen.textAlign = align;
      pen.fillStyle = BOARD.muted;
      pen.fillText(text, x, y);
    }
    if (chosen && layers[chosen.layer].place[chosen.unit] >= 0) ring(pen, plan, layers, chosen);
    return plan;
  }

  function dot(pen, x, y, radius, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  }

  function ring(pen, plan, layers, { layer, unit }) {
    const [x, y] = plan.points[layers[layer].name][unit];
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    pen.beginPath();
    if (layer === 0) pen.rect(x - plan.cell / 2, y - plan.cell / 2, plan.cell - 1, plan.cell - 1);
    else pen.arc(x, y, plan.radius + 2.5, 0, 2 * Math.PI);
    pen.stroke();
  }

  /* The pixels, with θ as their strength; or the weights that the chosen unit of the first layer gives them. */
  function mask(pen, plan, layer, { chosen, weights, layers, now, still }) {
    const { cell, points } = plan;
    const gap = cell > 15 ? 2 : 1;
    pen.fillStyle = BOARD.paper;
    pen.fillRect(plan.origin[0] - 3, plan.origin[1] - 3, cell * SIDE + 5, cell * SIDE + 5);
    const row = weights && chosen?.layer === 1 ? layers[1].rows[chosen.unit] : -1;
    const given = row < 0 ? null : weights[0].values.subarray(row * weights[0].inputs, (row + 1) * weights[0].inputs);
    const largest = given && Math.max(1e-9, ...given.map(Math.abs));
    for (let pixel = 0; pixel < layer.total; pixel++) {
      const place = layer.place[pixel];
      const [x, y] = points.pixels[pixel];
      const square = () => pen.fillRect(x - cell / 2, y - cell / 2, cell - gap, cell - gap);
      pen.fillStyle = BOARD.cell;
      square();
      if (place >= 0) {
        pen.fillStyle = given
          ? rgb(given[layer.rows[pixel]] > 0 ? BOARD.plus : BOARD.minus, 0.08 + 0.92 * Math.abs(given[layer.rows[pixel]]) / largest)
          : rgb(BOARD.pixels, 0.1 + 0.9 * layer.strength[place]);
        square();
      } else if (!still && now - layer.left[pixel] < FADE) {
        pen.fillStyle = rgb(BOARD.pixels, 0.5 * (1 - (now - layer.left[pixel]) / FADE));
        square();
      }
    }
  }

  /* The strongest links; those of the chosen unit before all others. */
  function links(pen, plan, layers, weights, chosen) {
    const names = [...layers.map((layer) => layer.name), "digits"];
    weights.forEach(({ outputs, inputs, values }, depth) => {
      const from = plan.points[names[depth]];
      const to = plan.points[names[depth + 1]];
      const above = layers[depth + 1];
      const below = layers[depth];
      let [row, column] = [-1, -1];
      if (chosen?.layer === depth + 1) row = above.rows[chosen.unit];
      if (chosen?.layer === depth) column = below.rows[chosen.unit];
      const own = row >= 0 || column >= 0;
      const faint = chosen && !own ? 0.25 : 1;
      const [threshold, largest] = strongest(values, LINKS[depth]);
      if (!(largest > 0)) return;
      const shades = Array.from({ length: 2 * SHADES }, () => []);
      for (let output = 0, index = 0; output < outputs; output++) {
        for (let input = 0; input < inputs; input++, index++) {
          const size = Math.abs(values[index]);
          if (own ? output !== row && input !== column : size < threshold) continue;
          if (size === 0) continue;
          const shade = Math.min(SHADES - 1, Math.floor((SHADES * size) / largest));
          shades[shade + (values[index] > 0 ? SHADES : 0)].push(input, output);
        }
      }
      shades.forEach((pairs, shade) => {
        if (!pairs.length) return;
        const strength = ((shade % SHADES) + 0.6) / SHADES;
        pen.strokeStyle = rgb(shade < SHADES ? BOARD.minus : BOARD.plus, faint * (0.06 + 0.55 * strength));
        pen.lineWidth = 0.5 + 1.2 * strength;
        pen.beginPath();
        for (let pair = 0; pair < pairs.length; pair += 2) {
          const start = from[below.units[pairs[pair]]];
          const end = to[above ? above.units[pairs[pair + 1]] : pairs[pair + 1]];
          curve(pen, start, end, plan.upright);
        }
        pen.stroke();
      });
    });
  }

  function curve(pen, [x, y], [right, below], upright) {
    pen.moveTo(x, y);
    if (upright) pen.bezierCurveTo(x, (y + below) / 2, right, (y + below) / 2, right, below);
    else pen.bezierCurveTo((x + right) / 2, y, (x + right) / 2, below, right, below);
  }

  /* About the size that so many values exceed, and the largest, by counting in bins. */
  function strongest(values, count) {
    let largest = 0;
    for (const value of values) largest = Math.max(largest, Math.abs(value));
    const bins = new Uint32Array(128);
    for (const value of values) bins[Math.min(127, Math.floor((128 * Math.abs(value)) / largest))]++;
    let bin = 127;
    for (let seen = bins[127]; bin > 1 && seen + bins[bin - 1] <= count; ) seen += bins[--bin];
    return [(bin / 128) * largest, largest];
  }

  /* The ten answers, each with its own held-out error as a bar. */
  function digits(pen, plan, { perDigit }, width) {
    plan.points.digits.forEach(([x, y], digit) => {
      const wrong = perDigit ? perDigit[digit] / 100 : 0;
      const bad = wrong > 0.5;
      pen.font = "600 13px system-ui, sans-serif";
      pen.textAlign = "center";
      dot(pen, x, y, 9, BOARD.paper);
      pen.fillStyle = bad ? "#ff9a76" : BOARD.ink;
      pen.fillText(digit, x, y + 4.5);
      const [left, top, long, thick] = plan.upright
        ? [x - 4, y + 13, 8, 24]
        : [x + 16, y - 4, Math.min(56, width - x - 32), 8];
      pen.fillStyle = "#2a3540";
      pen.fillRect(left, top, long, thick);
      pen.fillStyle = bad ? "#ff9a76" : BOARD.muted;
      if (plan.upright) pen.fillRect(left, top + thick * (1 - wrong), long, thick * wrong);
      else pen.fillRect(left, top, long * wrong, thick);
    });
    pen.font = FONT;
  }

  /* --- charts, in the colours of the page --- */

  function colours(canvas) {
    const style = getComputedStyle(canvas);
    const value = (name) => style.getPropertyValue(name).trim();
    return {
      text: value("--prune-text"),
      muted: value("--prune-muted"),
      rule: value("--prune-rule"),
      line: value("--prune-line"),
      price: value("--prune-price"),
      shade: value("--prune-shade"),
      pixels: value("--prune-pixels"),
      first: value("--prune-first"),
      second: value("--prune-second"),
      ground: value("--prune-ground"),
    };
  }

  const LEFT = 58; // of the charts of worth, for the names of the layers
  const RIGHT = 12;
  const LEAST = -20;
  const MOST = 3000; // nats
  const FROM = Math.asinh(LEAST);
  const SPAN = Math.asinh(MOST) - FROM;

  const across = (nats, width) => LEFT + ((Math.asinh(clamp(nats, LEAST, MOST)) - FROM) / SPAN) * (width - LEFT - RIGHT);
  const natsAt = (x, width) => Math.sinh(FROM + ((x - LEFT) / (width - LEFT - RIGHT)) * SPAN);

  /* A fixed number from −0.5 to 0.5 for each unit, so that its dot keeps its height. */
  const height = (unit) => ((unit * 0.618034) % 1) - 0.5;

  /* What each unit is worth, beside the price. Returns where the dots are. */
  function worth(canvas, { layers, chosen, price, measured }) {
    const room = sheet(canvas);
    if (!room) return null;
    const { pen, width, height: tall } = room;
    const look = colours(canvas);
    const [top, bottom] = [24, tall - 34];
    const line = across(price, width);
    pen.fillStyle = look.shade;
    pen.fillRect(LEFT, top, line - LEFT, bottom - top);
    pen.textAlign = "center";
    for (const nats of [-10, -1, 0, 1, 10, 100, 1000]) {
      const x = Math.round(across(nats, width)) + 0.5;
      pen.strokeStyle = look.rule;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, top);
      pen.lineTo(x, bottom);
      pen.stroke();
      pen.fillStyle = look.muted;
      pen.fillText(String(nats).replace("-", "−").replace("1000", "1,000"), x, bottom + 15);
    }
    pen.textAlign = "right";
    pen.fillText("worth, nats", width - RIGHT, bottom + 30);
    const dots = [];
    const band = (bottom - top) / layers.length;
    layers.forEach((layer, depth) => {
      const middle = top + (depth + 0.5) * band;
      pen.textAlign = "left";
      pen.fillStyle = look.text;
      pen.fillText(layer.name, 0, middle + 4);
      if (!measured) return;
      pen.fillStyle = look[layer.name];
      layer.kept.forEach((unit, place) => {
        const [x, y] = [across(layer.worth[place], width), middle + height(unit) * (band - 12)];
        pen.globalAlpha = 0.25 + 0.75 * layer.strength[place];
        pen.beginPath();
        pen.arc(x, y, 3.2, 0, 2 * Math.PI);
        pen.fill();
        dots.push({ layer: depth, unit, x, y });
      });
      pen.globalAlpha = 1;
    });
    pen.strokeStyle = look.price;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(line, top - 4);
    pen.lineTo(line, bottom);
    pen.stroke();
    pen.fillStyle = look.price;
    pen.beginPath();
    pen.moveTo(line - 6, top - 10);
    pen.lineTo(line + 6, top - 10);
    pen.lineTo(line, top - 1);
    pen.fill();
    pen.font = "600 12px system-ui, sans-serif";
    const said = `price ${told(price)}`;
    const fits = line + 10 + pen.measureText(said).width < width;
    pen.textAlign = fits ? "left" : "right";
    pen.fillText(said, line + (fits ? 10 : -10), top - 6);
    if (chosen) {
      const at = dots.find((one) => one.layer === chosen.layer && one.unit === chosen.unit);
      if (at) {
        pen.strokeStyle = look.text;
        pen.beginPath();
        pen.arc(at.x, at.y, 6, 0, 2 * Math.PI);
        pen.stroke();
      }
    }
    return { dots, line, width };
  }

  /* λ of each weight against the weight, both on logarithmic axes, with the curve on which λ rests. */
  function coefficients(canvas, { weights, lambdas, xi, psi }) {
    const room = sheet(canvas);
    if (!room) return;
    const { pen, width, height: tall } = room;
    const look = colours(canvas);
    const [left, right, top, bottom] = [34, width - RIGHT, 8, tall - 34];
    const x = (weight) => left + (clamp(Math.log10(weight) + 6, 0, 7) / 7) * (right - left);
    const y = (lambda) => bottom - (clamp(Math.log10(lambda) + 2, 0, 3) / 3) * (bottom - top);
    pen.lineWidth = 1;
    pen.strokeStyle = look.rule;
    pen.fillStyle = look.muted;
    const ticks = [];
    for (let power = -6; power <= 1; power++) ticks.push([power, x(10 ** power), true]);
    for (let power = -2; power <= 1; power++) ticks.push([power, y(10 ** power), false]);
    for (const [power, place, along] of ticks) {
      const at = Math.round(place) + 0.5;
      pen.beginPath();
      pen.moveTo(along ? at : left, along ? top : at);
      pen.lineTo(along ? at : right, along ? bottom : at);
      pen.stroke();
      const text = { 0: "1", 1: "10", "-1": "0.1", "-2": "0.01" }[power] ?? `10${raised(power)}`;
      pen.textAlign = along ? "center" : "right";
      if (along && power < 1) pen.fillText(text, place, bottom + 15);
      if (!along) pen.fillText(text, left - 5, place + 4);
    }
    pen.textAlign = "right";
    pen.fillText("size of the weight, |w|", right, bottom + 30);
    const shades = [look.pixels, look.first, look.second];
    pen.globalAlpha = 0.5;
    weights.forEach(({ values }, depth) => {
      pen.fillStyle = shades[depth];
      for (let index = 0; index < values.length; index++) {
        if (values[index]) pen.fillRect(x(Math.abs(values[index])) - 1, y(lambdas[depth][index]) - 1, 2, 2);
      }
    });
    pen.globalAlpha = 1;
    pen.strokeStyle = look.price;
    pen.lineWidth = 2;
    pen.beginPath();
    for (let power = -6; power <= 1; power += 0.1) {
      const rest = Math.cbrt((2 * xi * 10 ** power) / psi);
      if (rest >= 0.01) pen.lineTo(x(10 ** power), y(rest));
    }
    pen.stroke();
  }

  const raised = (power) => String(power).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);

  /* Percents over steps on a logarithmic axis. `upTo` is the last step of the axis, `lines` are [values, colour]. */
  function overTime(canvas, { steps, lines, goal, ticks, upTo }) {
    const room = sheet(canvas);
    if (!room) return;
    const { pen, width, height: tall } = room;
    const look = colours(canvas);
    const [left, right, top, bottom] = [30, width - 10, 8, tall - 20];
    const [low, high] = [Math.log(ticks[0]), Math.log(ticks.at(-1))];
    const x = (step) => left + (step / upTo) * (right - left);
    const y = (percent) =>
      bottom - ((Math.log(clamp(percent, ticks[0], ticks.at(-1))) - low) / (high - low)) * (bottom - top);
    const level = (percent) => {
      pen.beginPath();
      pen.moveTo(left, Math.round(y(percent)) + 0.5);
      pen.lineTo(right, Math.round(y(percent)) + 0.5);
      pen.stroke();
    };
    pen.lineWidth = 1;
    pen.strokeStyle = look.rule;
    pen.fillStyle = look.muted;
    pen.textAlign = "right";
    for (const tick of ticks) {
      level(tick);
      pen.fillText(tick, left - 6, y(tick) + 4);
    }
    for (const [step, align] of [[0, "left"], [upTo / 2, "center"], [upTo, "right"]]) {
      pen.textAlign = align;
      pen.fillText(step === upTo ? `${grouped(step)} steps` : grouped(step), x(step), bottom + 16);
    }
    pen.setLineDash([4, 4]);
    pen.strokeStyle = look.price;
    level(goal);
    pen.setLineDash([]);
    if (!steps.length) return;
    pen.lineWidth = 2;
    for (const [values, colour] of lines) {
      pen.strokeStyle = look[colour];
      pen.beginPath();
      values.forEach((value, index) => pen.lineTo(x(steps[index]), y(value)));
      pen.stroke();
      dot(pen, x(steps.at(-1)), y(values.at(-1)), 3, look[colour]);
    }
  }

  const { format } = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
  const grouped = (number) => format(number);

  /* A number of nats in words: two figures are enough. */
  function told(nats) {
    const size = Math.abs(nats);
    const text = size >= 10 ? grouped(size) : String(Number(size.toFixed(size >= 0.95 ? 1 : 2)));
    return nats < 0 && Number(text) ? `−${text}` : text;
  }

  return { SIDE, network, nearest, worth, natsAt, coefficients, overTime, told, grouped };
})();
