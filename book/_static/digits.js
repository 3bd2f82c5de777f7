/* Recorded networks that read digits in the page, and the paper to write them on. No library.

   `digitNetworks`, of digit-networks.js, holds the weights and the test digits as base64. An image is 784 numbers from 0
   to 1, row by row, as the networks read it. */
"use strict";

const digits = (() => {
  const SIDE = 28; // of what the networks see
  const BOX = 20; // of the digit in it
  const PEN = 2.5; // width of a stroke there, as people's were who wrote MNIST
  const FINE = 16; // strokes are drawn so many times larger, and then averaged
  const PAPER = 560; // width of the paper: 20 points for a pixel of what the networks see
  const POINT = PAPER / SIDE;
  const LEAST = 2; // pixels: a smaller digit is a dot, and not enlarged any more

  /* Colours on the blackboard, as in draw_a_digit.py: what has left, what is there, ink unread, ink. */
  const COLOURS = { paper: [13, 19, 26], lit: [31, 66, 94], unread: [62, 68, 76], chalk: [255, 241, 214], gone: [26, 34, 43] };

  /* --- the networks --- */

  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  function floatOf(half) {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
  }

  function read(packed) {
    const words = new DataView(bytesOf(packed.weights).buffer);
    let place = 0;
    const whole = (length) => Uint16Array.from({ length }, () => words.getUint16(2 * place++, true));
    const numbers = (length) => Float32Array.from(whole(length), floatOf);
    const layers = packed.shapes.map(([outputs, inputs]) => {
      const counts = packed.sparse && whole(outputs);
      const columns = packed.sparse && whole(counts.reduce((sum, count) => sum + count, 0));
      const weight = numbers(packed.sparse ? columns.length : outputs * inputs);
      return { counts, columns, weight, bias: numbers(outputs) };
    });
    const reads = new Uint8Array(SIDE * SIDE);
    packed.atWork[0].forEach((pixel) => (reads[pixel] = 1));
    return { ...packed, inputs: packed.inputs ?? Array.from(reads.keys()), reads, layers };
  }

  /* What goes into each layer, and what comes out of the last: ten log-odds. */
  function layersOf({ inputs, layers }, image) {
    const seen = new Float32Array(inputs.length);
    for (let input = 0; input < inputs.length; input++) seen[input] = image[inputs[input]];
    const values = [seen];
    for (const { counts, columns, weight, bias } of layers) {
      const before = values.at(-1);
      const after = new Float32Array(bias.length);
      const hidden = values.length < layers.length;
      let place = 0;
      for (let unit = 0; unit < bias.length; unit++) {
        let sum = bias[unit];
        if (counts) {
          for (const end = place + counts[unit]; place < end; place++) sum += weight[place] * before[columns[place]];
        } else {
          for (let input = 0; input < before.length; input++) sum += weight[place++] * before[input];
        }
        after[unit] = hidden ? Math.max(sum, 0) : sum;
      }
      values.push(after);
    }
    return values;
  }

  /* From log-odds to the probabilities of the ten digits. */
  function shares(logits) {
    const highest = Math.max(...logits);
    const exponentials = Array.from(logits, (value) => Math.exp(value - highest));
    const total = exponentials.reduce((sum, value) => sum + value, 0);
    return exponentials.map((value) => value / total);
  }

  const best = (values) => values.indexOf(Math.max(...values));
  const answer = (network, image) => best(layersOf(network, image).at(-1));

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

  /* --- strokes: curves through the middles between the points that the pointer passes --- */

  function sheet(width) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height: width });
    return ready(canvas.getContext("2d", { willReadFrequently: true }));
  }

  const ready = (pen) =>
    Object.assign(pen, { lineCap: "round", lineJoin: "round", strokeStyle: `rgb(${COLOURS.chalk})` });

  function trace(pen, points) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    points.slice(1).forEach(([x, y], index) => {
      const [fromX, fromY] = points[index];
      pen.quadraticCurveTo(fromX, fromY, (fromX + x) / 2, (fromY + y) / 2);
    });
    pen.lineTo(...points.at(-1));
    pen.stroke();
  }

  function inkOf(pen) {
    const { width, height } = pen.canvas;
    const { data } = pen.getImageData(0, 0, width, height);
    return Float32Array.from({ length: width * height }, (_, place) => data[4 * place + 3]);
  }

  const large = sheet((BOX + 2) * FINE);

  /* What the networks see of strokes. They are drawn anew at the size that they will have, or a small digit would have
     a broad pen and a large one a fine one. */
  function written(strokes) {
    const points = strokes.flat();
    const [left, top] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const scale = ((BOX - PEN) * FINE) / Math.max(right - left, bottom - top, LEAST * POINT);
    const margin = (1 + PEN / 2) * FINE;
    const { width } = large.canvas;
    large.clearRect(0, 0, width, width);
    large.lineWidth = PEN * FINE;
    strokes.forEach((stroke) =>
      trace(large, stroke.map(([x, y]) => [margin + (x - left) * scale, margin + (y - top) * scale])),
    );
    return normalised(inkOf(large), width);
  }

  /* --- the paper --- */

  /* Calls `changed` with what is on the paper: an `image`, null if there is nothing; its `label` if it is a test digit
     as it was taken; whether it is `settled`, or the pen still moves. `other` chooses among the test digits that are
     there for the last button. */
  function paper(root, changed, other) {
    const find = (selector) => root.querySelector(selector);
    const canvas = find("canvas.digit-ink");
    const pen = Object.assign(ready(canvas.getContext("2d", { willReadFrequently: true })), {
      imageSmoothingQuality: "high",
      lineWidth: PEN * POINT,
    });
    const tests = bytesOf(digitNetworks.images);
    const small = sheet(SIDE);
    let strokes = [];
    let taken = null; // place of the test digit that lies on the paper
    let asked = false;
    let image = null;

    const imageOf = (index) =>
      Float32Array.from(tests.subarray(index * SIDE * SIDE, (index + 1) * SIDE * SIDE), (byte) => byte / 255);

    function drawn() {
      pen.clearRect(0, 0, PAPER, PAPER);
      if (taken !== null) pen.drawImage(small.canvas, 0, 0, PAPER, PAPER);
      strokes.forEach((stroke) => trace(pen, stroke));
    }

    function look(settled) {
      asked = false;
      drawn();
      image = !strokes.length
        ? taken === null ? null : imageOf(taken)
        : taken === null ? written(strokes) : normalised(inkOf(pen), PAPER);
      root.classList.toggle("digits-empty", image === null);
      const label = taken === null || strokes.length ? null : digitNetworks.labels[taken];
      changed({ image, label, settled });
    }

    function lookSoon() {
      if (!asked) requestAnimationFrame(() => asked && look(false));
      asked = true;
    }

    function put(index) {
      strokes = [];
      taken = index;
      root.classList.remove("digits-example");
      if (index === null) return;
      const pixels = new ImageData(SIDE, SIDE);
      imageOf(index).forEach((value, place) => pixels.data.set([...COLOURS.chalk, 255 * value], 4 * place));
      small.putImageData(pixels, 0, 0);
    }

    function take(index) {
      put(index);
      look(true);
    }

    let stroke = null;
    const place = (event) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      return [((event.clientX - left) * PAPER) / width, ((event.clientY - top) * PAPER) / height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      if (root.classList.contains("digits-example")) put(null);
      strokes.push((stroke = [place(event)]));
      lookSoon();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!stroke || !event.isPrimary) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      stroke.push(...(passed.length ? passed : [event]).map(place));
      lookSoon();
    });
    const lift = () => {
      if (!stroke) return;
      stroke = null;
      look(true);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);

    find("button.digit-clear").addEventListener("click", () => take(null));
    const { labels, ofEach } = digitNetworks;
    const places = Array.from(labels.keys());
    root.querySelectorAll("button[data-digit]").forEach((button) => {
      const wanted = button.dataset.digit;
      const own = (index) => (wanted === "other" ? other(imageOf(index), labels[index]) : labels[index] === +wanted);
      let last = -1;
      button.addEventListener("click", () => {
        const some = wanted === "other" ? places : places.slice(0, 10 * ofEach);
        const from = some.slice(last + 1).concat(some.slice(0, last + 1));
        last = from.find(own) ?? last;
        if (last >= 0) take(last);
      });
    });

    put(+root.dataset.first);
    root.classList.add("digits-example", "digits-live");
    look(true);
    return { seen: () => image };
  }

  /* --- what is drawn of a network --- */

  const mixed = (ground, ink, share) =>
    "#" + ground.map((low, part) => Math.floor(low + share * (ink[part] - low) + 0.5).toString(16).padStart(2, "0")).join("");

  const { paper: bare, lit, unread, chalk, gone } = COLOURS;
  const pixelFills = ({ reads }, image) =>
    Array.from(reads, (is, pixel) => mixed(is ? lit : bare, is ? chalk : unread, image ? image[pixel] : 0));

  /* The units at work come first, as bright as they answer beside the brightest. */
  const unitFills = (values, atWork, count) => {
    const highest = values ? Math.max(1e-6, ...values) : 1;
    const shown = atWork.map((unit) => mixed(lit, chalk, values ? values[unit] / highest : 0));
    return shown.concat(Array(count - shown.length).fill(mixed(gone, gone, 0)));
  };

  /* A function that gives these squares their colours, and leaves alone what has its colour already. */
  function painter(squares) {
    const shown = Array.from(squares, (square) => square.getAttribute("fill"));
    return (fills) =>
      fills.forEach((fill, index) => {
        if (fill !== shown[index]) squares[index].setAttribute("fill", (shown[index] = fill));
      });
  }

  const a = (digit) => (digit === 8 ? "an 8" : `a ${digit}`);

  return {
    networks: digitNetworks.networks.map(read),
    ...{ layersOf, shares, best, answer, normalised, written, paper, pixelFills, unitFills, painter, a },
  };
})();
