/* Draw a digit: two networks answer while the reader draws, in the page and without any library.

   `digitNetworks`, of digit-networks.js, holds the weights and the test digits as base64. An image is 784 numbers from 0
   to 1, row by row, as the networks read it. */
"use strict";

(() => {
  const SIDE = 28; // of what the networks see
  const BOX = 20; // of the digit in it
  const CHALK = "#fff1d6";
  const PEN = 46; // width of a stroke on the paper, which is 560 wide: two to three pixels of what the networks see

  /* --- the networks --- */

  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  function floatOf(half) {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
  }

  function read({ pixels, shapes, weights }) {
    const halves = new DataView(bytesOf(weights).buffer);
    let place = 0;
    const next = (length) =>
      Float32Array.from({ length }, () => floatOf(halves.getUint16(2 * place++, true)));
    const layers = shapes.map(([outputs, inputs]) => ({ weight: next(outputs * inputs), bias: next(outputs) }));
    return { pixels, layers };
  }

  /* The probabilities of the ten digits. */
  function answer({ pixels, layers }, image) {
    let values = Float32Array.from(pixels, (pixel) => image[pixel]);
    layers.forEach(({ weight, bias }, depth) => {
      const inputs = values;
      const hidden = depth < layers.length - 1;
      values = bias.map((sum, unit) => {
        const row = unit * inputs.length;
        for (let input = 0; input < inputs.length; input++) sum += weight[row + input] * inputs[input];
        return hidden ? Math.max(sum, 0) : sum;
      });
    });
    const highest = Math.max(...values);
    const exponentials = Array.from(values, (value) => Math.exp(value - highest));
    const total = exponentials.reduce((sum, value) => sum + value, 0);
    return exponentials.map((value) => value / total);
  }

  const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

  /* --- from a drawing to what the networks see, as MNIST was made --- */

  /* Means over the areas that become one number, along the rows of `values`; the result is transposed. */
  function shrunk(values, length, count) {
    const rows = values.length / length;
    const step = length / count;
    const result = new Float32Array(count * rows);
    for (let to = 0; to < count; to++) {
      const [start, end] = [to * step, (to + 1) * step];
      for (let from = Math.floor(start); from < Math.min(Math.ceil(end), length); from++) {
        const share = (Math.min(from + 1, end) - Math.max(from, start)) / step;
        for (let row = 0; row < rows; row++) result[to * rows + row] += share * values[row * length + from];
      }
    }
    return result;
  }

  /* The rectangle that holds all ink: left, top, width, height; null if there is none. */
  function boundsOf(ink, width) {
    const height = ink.length / width;
    let [left, top, right, bottom] = [width, height, -1, -1];
    for (let y = 0, place = 0; y < height; y++) {
      for (let x = 0; x < width; x++, place++) {
        if (ink[place] === 0) continue;
        if (x < left) left = x;
        if (x > right) right = x;
        if (y < top) top = y;
        bottom = y;
      }
    }
    return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1];
  }

  /* Bounding box to 20 × 20 by area, keeping its proportions; centre of mass to the middle of 28 × 28. */
  function normalised(ink, width) {
    const image = new Float32Array(SIDE * SIDE);
    const bounds = boundsOf(ink, width);
    if (!bounds) return image;
    const [left, top, across, down] = bounds;
    const box = new Float32Array(across * down);
    for (let y = 0; y < down; y++) {
      const start = (top + y) * width + left;
      box.set(ink.subarray(start, start + across), y * across);
    }
    const scale = BOX / Math.max(across, down);
    const columns = Math.max(1, Math.round(across * scale));
    const rows = Math.max(1, Math.round(down * scale));
    const small = shrunk(shrunk(box, across, columns), down, rows);
    let [mass, x, y] = [0, 0, 0];
    small.forEach((value, place) => {
      mass += value;
      x += value * ((place % columns) + 0.5);
      y += value * (Math.floor(place / columns) + 0.5);
    });
    // MNIST moves by whole pixels, and its middle is the middle of pixel 14.
    const shift = (centre, size) => Math.max(0, Math.min(SIDE - size, SIDE / 2 - Math.floor(centre / mass)));
    const [right, below] = [shift(x, columns), shift(y, rows)];
    small.forEach((value, place) => {
      image[(below + Math.floor(place / columns)) * SIDE + right + (place % columns)] = value / 255;
    });
    return image;
  }

  /* --- the page --- */

  function start(root) {
    const find = (selector, from = root) => from.querySelector(selector);
    const all = (selector, from = root) => Array.from(from.querySelectorAll(selector));
    const networks = Object.fromEntries(
      Object.entries(digitNetworks.networks).map(([name, packed]) => [name, read(packed)]),
    );
    const panels = all("[data-network]").map((panel) => ({
      panel,
      network: networks[panel.dataset.network],
      screen: screenFor(find("img", panel)),
      bars: all("li", panel),
    }));
    const tests = bytesOf(digitNetworks.images);
    const paper = find("canvas.digit-ink");
    const pen = paper.getContext("2d", { willReadFrequently: true });
    Object.assign(pen, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: CHALK });
    pen.imageSmoothingQuality = "high";
    const small = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE }).getContext("2d");
    let image = null; // what the networks see, null while the paper is empty
    let asked = false;

    function show(said) {
      const answers = panels.map(({ network, screen, bars }) => {
        draw(screen, network.pixels, image);
        const chances = image && answer(network, image);
        bars.forEach((bar, digit) => {
          const percent = chances ? 100 * chances[digit] : 0;
          bar.style.setProperty("--share", percent / 100);
          bar.lastElementChild.textContent = percent < 0.05 ? "" : `${percent.toFixed(percent < 99.95 ? 1 : 0)} %`;
          bar.classList.toggle("digit-best", Boolean(chances) && digit === best(chances));
        });
        return chances && best(chances);
      });
      if (said !== undefined) find("[role=status]").textContent = said + verdict(answers);
    }

    function look() {
      asked = false;
      const { data } = pen.getImageData(0, 0, paper.width, paper.height);
      const ink = new Float32Array(paper.width * paper.height);
      for (let place = 0; place < ink.length; place++) ink[place] = data[4 * place + 3];
      image = normalised(ink, paper.width);
      show();
    }

    function lookSoon() {
      if (!asked) requestAnimationFrame(look);
      asked = true;
    }

    function wipe() {
      pen.clearRect(0, 0, paper.width, paper.height);
      root.classList.remove("digit-example");
      root.classList.add("digit-empty");
    }

    function clear() {
      wipe();
      image = null;
      show("");
    }

    function take(index, label, said) {
      wipe();
      root.classList.remove("digit-empty");
      const bytes = tests.subarray(index * SIDE * SIDE, (index + 1) * SIDE * SIDE);
      image = Float32Array.from(bytes, (byte) => byte / 255);
      const pixels = new ImageData(SIDE, SIDE);
      const chalk = [1, 3, 5].map((start) => parseInt(CHALK.slice(start, start + 2), 16));
      bytes.forEach((byte, place) => pixels.data.set([...chalk, byte], 4 * place));
      small.putImageData(pixels, 0, 0);
      pen.drawImage(small.canvas, 0, 0, paper.width, paper.height);
      show(said ?? `Labelled ${label}. `);
    }

    /* Strokes: curves through the middles between the points that the pointer passes. */

    let last = null;
    let middle = null;
    const place = (event) => {
      const { left, top, width, height } = paper.getBoundingClientRect();
      return [((event.clientX - left) * paper.width) / width, ((event.clientY - top) * paper.height) / height];
    };
    const stroke = (curve) => {
      pen.beginPath();
      pen.moveTo(...middle);
      curve();
      pen.stroke();
      lookSoon();
    };
    paper.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      event.preventDefault();
      paper.setPointerCapture(event.pointerId);
      if (root.classList.contains("digit-example")) wipe();
      root.classList.remove("digit-empty");
      last = middle = place(event);
      stroke(() => pen.lineTo(...middle));
    });
    paper.addEventListener("pointermove", (event) => {
      if (!last || !event.isPrimary) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const point of (passed.length ? passed : [event]).map(place)) {
        const between = [(last[0] + point[0]) / 2, (last[1] + point[1]) / 2];
        stroke(() => pen.quadraticCurveTo(...last, ...between));
        [last, middle] = [point, between];
      }
    });
    const lift = () => {
      if (!last) return;
      stroke(() => pen.lineTo(...last));
      last = null;
      look();
      show("");
    };
    paper.addEventListener("pointerup", lift);
    paper.addEventListener("pointercancel", lift);

    find("button.digit-clear").addEventListener("click", clear);
    all("button[data-tests]").forEach((button) => {
      const own = JSON.parse(button.dataset.tests);
      let turn = 0;
      button.addEventListener("click", () => take(...own[turn++ % own.length]));
    });

    take(0, null, "");
    root.classList.add("digit-example", "digit-live");
    const example = image;
    panels.forEach(({ panel, network }) => {
      setTimeout(() => (find(".digit-time", panel).textContent = told(seconds(network, example))), 300);
    });
    new ResizeObserver(() => show()).observe(root);
    return { networks, seen: () => image };
  }

  function verdict(answers) {
    const [dense, pruned] = answers;
    if (dense === null) return "Nothing on the paper yet.";
    if (dense === pruned) return `Both networks read ${article(dense)}.`;
    return `Dense reads ${article(dense)}, pruned ${article(pruned)}.`;
  }

  const article = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);

  /* A canvas in the place of the static picture. */
  function screenFor(picture) {
    const screen = document.createElement("canvas");
    screen.setAttribute("role", "img");
    screen.setAttribute("aria-label", picture.dataset.live);
    picture.replaceWith(screen);
    return screen;
  }

  /* The pixels that a network reads are lit; ink on the others is only hinted at. */
  function draw(screen, read, image) {
    const cell = Math.max(2, Math.round((screen.clientWidth * devicePixelRatio) / SIDE));
    if (screen.width !== SIDE * cell) screen.width = screen.height = SIDE * cell;
    const context = screen.getContext("2d");
    const colour = (name) => getComputedStyle(screen).getPropertyValue(name);
    const gap = Math.max(1, Math.round(cell / 8));
    const fill = (pixel) =>
      context.fillRect((pixel % SIDE) * cell, Math.floor(pixel / SIDE) * cell, cell - gap, cell - gap);
    context.clearRect(0, 0, screen.width, screen.height);
    context.fillStyle = colour("--digit-lit");
    read.forEach(fill);
    if (!image) return;
    context.fillStyle = colour("--digit-unread");
    const reads = new Set(read);
    image.forEach((value, pixel) => {
      context.globalAlpha = value;
      if (!reads.has(pixel)) fill(pixel);
    });
    context.fillStyle = CHALK;
    read.forEach((pixel) => {
      context.globalAlpha = image[pixel];
      fill(pixel);
    });
    context.globalAlpha = 1;
  }

  /* The least of several rounds: whatever else the machine does can only add. */
  function seconds(network, image) {
    let least = Infinity;
    for (let round = 0; round < 6; round++) {
      const started = performance.now();
      for (let time = 0; time < 20; time++) answer(network, image);
      least = Math.min(least, (performance.now() - started) / 20e3);
    }
    return least;
  }

  const told = (time) => (time < 1e-3 ? `${Math.max(1, Math.round(1e6 * time))} µs` : `${(1e3 * time).toFixed(1)} ms`);

  window.drawADigit = { answer, normalised };
  document.addEventListener("DOMContentLoaded", () => {
    Object.assign(window.drawADigit, start(document.querySelector(".draw-a-digit")));
  });
})();
