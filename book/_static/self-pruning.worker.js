/* A network that trains and prunes itself: the engine of the page "Prune it in the page".

   A perceptron 196-64-32-10 with ReLU learns 4,000 digits in batches of 64, by one of the book's two methods:
   "bernoulli", with gates on pixels and on both hidden layers, whose dead units leave the arrays, and "halo". The
   equations are those of `pruning_core`; tests/test_self_pruning.py compares the two step by step. The page makes a worker
   of this text; where there is a document, as in that test, it only defines `Trainer`.

   What the worker is told, and what it answers, stands at the end. */
"use strict";

const SIZES = [196, 64, 32, 10]; // pixels, units of the two hidden layers, digits
const NAMES = ["pixels", "first", "second"]; // of what has gates: the inputs of each layer of weights
const TRAINED = 4000; // the images before are to learn from, those after are held out
const LEVELS = 15; // an image comes in bytes, but with no more than 16 levels of grey
const BATCH = 64;
const EVALUATED_EVERY = 50; // steps

const NEAR_ZERO = 0.03; // a unit may be dead once its θ, and the slow average of it, are below this
const WORTH_MARGIN = 0.5; // and once it is worth less than this part of its price
const SLOW = 0.01; // part of the way that the slow average of θ goes in a step
const LOOK_EVERY = 25; // steps between two looks for dead units

const MOMENTUM = 0.9; // of HALO's gradient descent
const FLOOR = 1e-3; // the least coefficient of HALO
const PULL_LIMIT = 1e3; // ∂P/∂λ is limited to so many times ψ

/* Uniform numbers in [0, 1), the same for the same seed: mulberry32. */
function uniformFrom(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/* The pixels of every image that are not black, one after the other: those of image n from start[n] to start[n + 1]. */
function inkOf(images, count) {
  const [start, pixel, value] = [new Int32Array(count + 1), [], []];
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < SIZES[0]; i++) {
      const level = Math.round((images[n * SIZES[0] + i] * LEVELS) / 255);
      if (level === 0) continue;
      pixel.push(i);
      value.push(level / LEVELS);
    }
    start[n + 1] = pixel.length;
  }
  return { start, pixel: Int16Array.from(pixel), value: Float64Array.from(value) };
}

/* A gate on each of its inputs, then weights and biases. Row i of a matrix belongs to input i: what one input adds to
   all outputs lies side by side, so that inputs which are zero cost nothing, and a removed unit is a row that leaves. */
class Layer {
  constructor(name, inputs, outputs, theta, uniform) {
    this.name = name;
    this.inputs = inputs;
    this.outputs = outputs;
    const bound = 1 / Math.sqrt(inputs);
    const drawn = () => bound * (2 * uniform() - 1); // as torch.nn.Linear draws
    const zeros = (length) => new Float64Array(length);
    const size = inputs * outputs;
    this.matrices = {
      weight: zeros(size).map(drawn),
      gradient: zeros(size),
      first: zeros(size), // Adam's moments of the gradient; HALO's momentum is the first
      second: zeros(size),
      coefficient: zeros(size).fill(1), // λ of HALO, one for each weight
      coefficientMomentum: zeros(size),
    };
    this.ofInputs = {
      kept: Int16Array.from({ length: inputs }, (_, unit) => unit), // their numbers at the start
      theta: zeros(inputs).fill(theta),
      thetaAverage: zeros(inputs).fill(theta),
      gradient: zeros(inputs), // ∂L/∂θ of this step, in nats per example
      average: zeros(inputs), // running average of ∂J/∂θ, in nats per example
    };
    this.ofOutputs = {
      bias: zeros(outputs).map(drawn),
      gradient: zeros(outputs),
      first: zeros(outputs),
      second: zeros(outputs),
    };
  }

  /* Forget all inputs but these. */
  keepInputs(units) {
    const m = this.outputs;
    for (const [name, old] of Object.entries(this.matrices)) {
      const rows = new Float64Array(units.length * m);
      units.forEach((unit, row) => rows.set(old.subarray(unit * m, (unit + 1) * m), row * m));
      this.matrices[name] = rows;
    }
    for (const [name, old] of Object.entries(this.ofInputs)) this.ofInputs[name] = old.constructor.from(units, (u) => old[u]);
    this.inputs = units.length;
  }

  /* Forget all outputs but these. */
  keepOutputs(units) {
    const [m, left] = [this.outputs, units.length];
    for (const [name, old] of Object.entries(this.matrices)) {
      this.matrices[name] = Float64Array.from({ length: this.inputs * left }, (_, place) => {
        const row = Math.floor(place / left);
        return old[row * m + units[place - row * left]];
      });
    }
    for (const [name, old] of Object.entries(this.ofOutputs)) this.ofOutputs[name] = Float64Array.from(units, (u) => old[u]);
    this.outputs = left;
  }
}

/* One step of Adam, as torch.optim.Adam takes it. */
function adam(parameter, gradient, first, second, rate, decay, step) {
  const size = rate / (1 - 0.9 ** step);
  const root = 1 / Math.sqrt(1 - 0.999 ** step);
  for (let i = 0; i < parameter.length; i++) {
    const slope = gradient[i] + decay * parameter[i];
    first[i] += 0.1 * (slope - first[i]);
    second[i] += 0.001 * (slope * slope - second[i]);
    parameter[i] -= (size * first[i]) / (Math.sqrt(second[i]) * root + 1e-8);
  }
}

/* One step of gradient descent with momentum, as torch.optim.SGD takes it. */
function descend(parameter, gradient, momentum, rate, decay) {
  for (let i = 0; i < parameter.length; i++) {
    momentum[i] = MOMENTUM * momentum[i] + gradient[i] + decay * parameter[i];
    parameter[i] -= rate * momentum[i];
  }
}

class Trainer {
  /* `images` holds 196 bytes for each image, row by row, and `labels` a digit for each. */
  constructor(images, labels, settings) {
    if (images.length !== labels.length * SIZES[0] || labels.length <= TRAINED)
      throw new Error(`${images.length} pixels and ${labels.length} labels; ${SIZES[0]} pixels for each label were expected`);
    this.ink = inkOf(images, labels.length);
    this.images = Object.fromEntries(Object.entries(this.ink).map(([name, list]) => [name, list.slice()]));
    this.labels = labels;
    this.heldOut = Array.from({ length: labels.length - TRAINED }, (_, n) => TRAINED + n);
    this.sums = SIZES.map((size) => new Float64Array(BATCH * size)); // that arrive at each unit, of every example
    this.deltas = SIZES.map((size) => new Float64Array(BATCH * size)); // ∂L/∂ of them
    this.draws = NAMES.map((_, l) => new Float64Array(BATCH * SIZES[l]));
    this.active = NAMES.map((_, l) => ({
      start: new Int32Array(BATCH + 1), // of each example's inputs that are not zero, in the lists below
      index: new Int32Array(BATCH * SIZES[l]),
      value: new Float64Array(BATCH * SIZES[l]),
      gate: new Float64Array(BATCH * SIZES[l]),
    }));
    this.reset(settings);
  }

  /* Begin again, from new weights. */
  reset(settings) {
    this.settings = { ...settings };
    const uniform = (this.uniform = uniformFrom(this.settings.seed));
    const theta = this.settings.method === "halo" ? 1 : 0.9;
    this.layers = NAMES.map((name, l) => new Layer(name, SIZES[l], SIZES[l + 1], theta, uniform));
    this.steps = this.epoch = this.loss = 0;
    this.collapsed = null;
    this.nextLook = 0;
    this.history = { step: [], error: [], weightsLeft: [], pixelsLeft: [] };
    this.readImages();
    this.order = null;
    this.evaluate();
  }

  /* Settings may change at any time; the method and the seed wait for the next reset. */
  set(values) {
    const worths = this.layers.map((layer) => this.worth(layer));
    const { method, seed, excludedDigit } = this.settings;
    this.settings = { ...this.settings, ...values, method, seed };
    if (this.settings.excludedDigit !== excludedDigit) this.order = null;
    // A new price, or number of images, is as if it had always been so: what was measured, the worth, stays.
    const [{ logGamma }, N] = [this.settings, this.learned().length];
    this.layers.forEach(({ ofInputs }, l) => (ofInputs.average = worths[l].map((worth) => (logGamma - worth) / N)));
  }

  /* The images that are learned from. */
  learned() {
    if (!this.order) {
      this.order = [];
      for (let n = 0; n < TRAINED; n++) if (this.labels[n] !== this.settings.excludedDigit) this.order.push(n);
      this.place = this.order.length;
    }
    return this.order;
  }

  /* Of the images, what the pixels show that are left. */
  readImages() {
    const place = new Int16Array(SIZES[0]).fill(-1);
    this.layers[0].ofInputs.kept.forEach((pixel, input) => (place[pixel] = input));
    const [from, to] = [this.ink, this.images];
    let end = 0;
    for (let n = 0; n < this.labels.length; n++) {
      for (let entry = from.start[n]; entry < from.start[n + 1]; entry++) {
        const input = place[from.pixel[entry]];
        if (input < 0) continue;
        to.pixel[end] = input;
        to.value[end++] = from.value[entry];
      }
      to.start[n + 1] = end;
    }
  }

  /* The next 64 images of a random order of all; the last batch of an epoch is short. */
  batch() {
    const order = this.learned();
    if (this.place >= order.length) {
      for (let last = order.length - 1; last > 0; last--) {
        const other = Math.floor(this.uniform() * (last + 1));
        [order[last], order[other]] = [order[other], order[last]];
      }
      this.place = 0;
    }
    const indices = order.slice(this.place, this.place + BATCH);
    this.place += BATCH;
    this.epoch += indices.length / order.length;
    return indices;
  }

  /* For every gate and example one uniform number. */
  draw(count) {
    if (this.settings.method !== "halo")
      this.layers.forEach(({ inputs }, l) => {
        const draws = this.draws[l];
        for (let place = 0; place < count * inputs; place++) draws[place] = this.uniform();
      });
    return this.draws;
  }

  /* One step on a batch. A test hands over its images and its uniform numbers, by layer, example and gate. */
  step(indices = this.batch(), draws = this.draw(indices.length)) {
    const halo = this.settings.method === "halo";
    const f = halo ? 0 : this.settings.f;
    this.forward(indices, this.layers.map(({ ofInputs }) => ofInputs.theta), f, draws);
    this.loss = this.backward(indices, f);
    if (!Number.isFinite(this.loss))
      throw new Error(`after ${this.steps} steps the loss is no number any more: start again, with a lower learning rate`);
    this.steps++;
    if (halo) this.stepHalo();
    else this.stepBernoulli();
    if (this.steps % EVALUATED_EVERY === 0) this.evaluate();
    return this.loss;
  }

  /* What arrives at every unit, from the images to the ten digits. The gates (chapter "The gradient of θ"): with
     probability f a gate is half open, a uniform t in (0, 1); otherwise it is on with probability θ. One uniform number
     decides both. */
  forward(indices, thetas, f, draws) {
    this.layers.forEach(({ inputs, outputs, matrices: { weight }, ofOutputs: { bias } }, l) => {
      const { start, index, value, gate } = this.active[l];
      const [theta, draw, from, to] = [thetas[l], draws[l], this.sums[l], this.sums[l + 1]];
      let end = 0;
      for (let n = 0; n < indices.length; n++) {
        start[n] = end;
        const first = l === 0 ? this.images.start[indices[n]] : 0;
        const last = l === 0 ? this.images.start[indices[n] + 1] : inputs;
        for (let entry = first; entry < last; entry++) {
          const i = l === 0 ? this.images.pixel[entry] : entry;
          const a = l === 0 ? this.images.value[entry] : from[n * inputs + i];
          if (a <= 0) continue; // ReLU
          const v = draw[n * inputs + i];
          const xi = v < f ? v / f : (v - f) / (1 - f) < theta[i] ? 1 : 0;
          if (xi === 0) continue;
          index[end] = i;
          value[end] = a;
          gate[end] = xi;
          end++;
        }
        const base = n * outputs;
        for (let o = 0; o < outputs; o++) to[base + o] = bias[o];
        let entry = start[n];
        for (; entry < end - 1; entry += 2) {
          // Two rows at a time: half as often are sums read and written.
          const row = index[entry] * outputs;
          const next = index[entry + 1] * outputs;
          const factor = gate[entry] * value[entry];
          const another = gate[entry + 1] * value[entry + 1];
          for (let o = 0; o < outputs; o++) to[base + o] += factor * weight[row + o] + another * weight[next + o];
        }
        if (entry < end) {
          const row = index[entry] * outputs;
          const factor = gate[entry] * value[entry];
          for (let o = 0; o < outputs; o++) to[base + o] += factor * weight[row + o];
        }
      }
      start[indices.length] = end;
    });
  }

  /* The mean loss of the batch, in nats per example; and its gradients. */
  backward(indices, f) {
    const loss = this.softmax(indices);
    for (let l = this.layers.length - 1; l >= 0; l--) {
      const { inputs, outputs, matrices, ofInputs, ofOutputs } = this.layers[l];
      const { weight, gradient } = matrices;
      const { start, index, value, gate } = this.active[l];
      const [delta, before] = [this.deltas[l + 1], this.deltas[l]];
      for (const sums of [gradient, ofInputs.gradient, ofOutputs.gradient, before]) sums.fill(0);
      for (let n = 0; n < indices.length; n++) {
        const base = n * outputs;
        for (let o = 0; o < outputs; o++) ofOutputs.gradient[o] += delta[base + o];
        for (let entry = start[n]; entry < start[n + 1]; entry++) {
          const i = index[entry];
          const a = value[entry];
          const xi = gate[entry];
          const row = i * outputs;
          const factor = a * xi;
          if (l === 0 && xi === 1) {
            for (let o = 0; o < outputs; o++) gradient[row + o] += factor * delta[base + o];
            continue;
          }
          let slope = 0; // ∂L/∂(ξ a)
          for (let o = 0; o < outputs; o++) {
            const d = delta[base + o];
            gradient[row + o] += factor * d;
            slope += weight[row + o] * d;
          }
          if (xi < 1) ofInputs.gradient[i] += (a * slope) / f; // ∂L/∂ξ at t, of a share f of the gates
          before[n * inputs + i] = xi * slope;
        }
      }
    }
    return loss;
  }

  /* The mean cross-entropy, and its gradient in what arrives at the ten digits. */
  softmax(indices) {
    const [logits, delta, digits] = [this.sums[3], this.deltas[3], SIZES[3]];
    let loss = 0;
    for (let n = 0; n < indices.length; n++) {
      const base = n * digits;
      let [highest, total] = [-Infinity, 0];
      for (let d = 0; d < digits; d++) highest = Math.max(highest, logits[base + d]);
      for (let d = 0; d < digits; d++) total += delta[base + d] = Math.exp(logits[base + d] - highest);
      for (let d = 0; d < digits; d++) delta[base + d] /= total * indices.length;
      const right = base + this.labels[indices[n]];
      loss += highest + Math.log(total) - logits[right];
      delta[right] -= 1 / indices.length;
    }
    return loss / indices.length;
  }

  /* --- Bernoulli pruning --- */

  stepBernoulli() {
    const { learningRate, lambda, thetaStep, logGamma, smoothing } = this.settings;
    const N = this.learned().length;
    const rate = (thetaStep * N) / Math.max(logGamma, 1);
    for (const { matrices: w, ofInputs, ofOutputs: b } of this.layers) {
      adam(w.weight, w.gradient, w.first, w.second, learningRate, lambda / N, this.steps);
      adam(b.bias, b.gradient, b.first, b.second, learningRate, lambda / N, this.steps);
      // J is the loss and log γ for every unit that is kept (chapter "A price that does not depend on θ"); θ takes a
      // projected step against its gradient.
      const { theta, thetaAverage, gradient, average } = ofInputs;
      for (let i = 0; i < theta.length; i++) {
        average[i] += (1 - smoothing) * (gradient[i] + logGamma / N - average[i]);
        theta[i] = Math.min(Math.max(theta[i] - rate * average[i], 0), 1);
        thetaAverage[i] += SLOW * (theta[i] - thetaAverage[i]);
      }
    }
    if (this.steps >= this.nextLook) {
      this.nextLook = this.steps + LOOK_EVERY;
      this.removeDead();
    }
  }

  /* What each unit is worth: E[L | ξ = 0] − E[L | ξ = 1] in nats over all images, a running average. */
  worth({ ofInputs: { average } }) {
    const [{ logGamma }, N] = [this.settings, this.learned().length];
    return average.map((slope) => logGamma - N * slope);
  }

  /* Units that are off, have been for a while, and are worth too little to return leave (chapter "Removing units from a
     living network"). */
  removeDead() {
    this.layers.forEach((layer, l) => {
      const { theta, thetaAverage } = layer.ofInputs;
      const worth = this.worth(layer);
      const stays = (i) =>
        theta[i] >= NEAR_ZERO || thetaAverage[i] >= NEAR_ZERO || worth[i] >= WORTH_MARGIN * this.settings.logGamma;
      const units = [...theta.keys()].filter(stays);
      if (units.length === 0) {
        const best = theta.indexOf(Math.max(...theta)); // the last of a layer stays, as in the package
        theta[best] = thetaAverage[best] = 1;
        units.push(best);
        this.collapsed ??= layer.name;
      }
      if (units.length < layer.inputs) this.keep(l, units);
    });
  }

  keep(l, units) {
    this.layers[l].keepInputs(units);
    if (l === 0) this.readImages();
    else this.layers[l - 1].keepOutputs(units);
  }

  /* --- HALO --- */

  /* P = ξ Σ |w|/λ² + ψ Σ λ (chapter "HALO as a hierarchy"): λ descends with the weights, and what the price takes from a
     weight is taken by a proximal step, which stops at exactly 0 (chapter "Optimising HALO"). */
  stepHalo() {
    const { haloRate, lambda, xi, psi } = this.settings;
    const decay = lambda / this.learned().length;
    const far = (haloRate / (1 - MOMENTUM)) * xi;
    for (const { matrices, ofOutputs: b } of this.layers) {
      const { weight, gradient, first, coefficient, coefficientMomentum } = matrices;
      for (let j = 0; j < weight.length; j++) {
        const least = Math.max(coefficient[j], FLOOR);
        const pull = Math.min((2 * xi * Math.abs(weight[j])) / (least * least * least), PULL_LIMIT * psi);
        coefficientMomentum[j] = MOMENTUM * coefficientMomentum[j] + psi - pull;
        coefficient[j] = Math.max(least - haloRate * coefficientMomentum[j], FLOOR);
      }
      descend(weight, gradient, first, haloRate, decay);
      descend(b.bias, b.gradient, b.first, haloRate, decay);
      for (let j = 0; j < weight.length; j++) {
        const fall = far / (coefficient[j] * coefficient[j]);
        weight[j] -= Math.min(Math.max(weight[j], -fall), fall);
      }
    }
  }

  /* --- what has come of it --- */

  /* The digit that the network reads in each of the images, with every gate at its most probable value. */
  answers(indices) {
    const rounded = this.layers.map(({ ofInputs }) => ofInputs.theta.map((theta) => +(theta >= 0.5)));
    const nothing = this.layers.map(({ inputs }) => new Float64Array(BATCH * inputs));
    const digits = new Uint8Array(indices.length);
    for (let from = 0; from < indices.length; from += BATCH) {
      const batch = indices.slice(from, from + BATCH);
      this.forward(batch, rounded, 0, nothing);
      batch.forEach((_, n) => {
        const logits = this.sums[3].subarray(n * SIZES[3], (n + 1) * SIZES[3]);
        digits[from + n] = logits.indexOf(Math.max(...logits));
      });
    }
    return digits;
  }

  /* The error on the images held out, in percent, also of each digit; and a point of the history. */
  evaluate() {
    const [wrong, all] = [new Array(10).fill(0), new Array(10).fill(0)];
    this.answers(this.heldOut).forEach((digit, n) => {
      const label = this.labels[this.heldOut[n]];
      all[label]++;
      if (digit !== label) wrong[label]++;
    });
    this.perDigit = wrong.map((count, digit) => (100 * count) / all[digit]);
    this.error = (100 * wrong.reduce((sum, count) => sum + count)) / this.heldOut.length;
    this.evaluatedAt = this.steps;
    this.history.step.push(this.steps);
    this.history.error.push(this.error);
    this.history.weightsLeft.push(this.weightsLeft());
    this.history.pixelsLeft.push(this.keptUnits(0).length);
  }

  weightsLeft() {
    let count = 0;
    for (const { matrices } of this.layers) for (const weight of matrices.weight) if (weight !== 0) count++;
    return count;
  }

  /* The units that are there still; by HALO, those through which anything passes. */
  keptUnits(l) {
    const { inputs, outputs, matrices, ofInputs } = this.layers[l];
    if (this.settings.method !== "halo") return ofInputs.kept;
    const leads = (i) => matrices.weight.subarray(i * outputs, (i + 1) * outputs).some((weight) => weight !== 0);
    const before = this.layers[l - 1]?.matrices.weight;
    const isLed = (i) => !before || this.layers[l - 1].ofInputs.kept.some((_, from) => before[from * inputs + i] !== 0);
    return ofInputs.kept.filter((_, i) => leads(i) && isLed(i));
  }

  /* A matrix as torch has it, output by output. */
  byOutput({ inputs, outputs }, matrix) {
    const values = new Float32Array(matrix.length);
    for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) values[o * inputs + i] = matrix[i * outputs + o];
    return values;
  }

  /* What the page draws; of the history, what comes after the first `sent` points. */
  look(detail = false, sent = 0) {
    const halo = this.settings.method === "halo";
    const weightsLeft = this.weightsLeft();
    const weightsTotal = NAMES.reduce((sum, _, l) => sum + SIZES[l] * SIZES[l + 1], 0);
    const history = Object.fromEntries(Object.entries(this.history).map(([name, values]) => [name, values.slice(sent)]));
    return {
      step: this.steps,
      epoch: this.epoch,
      method: this.settings.method,
      loss: this.loss,
      history,
      error: this.error,
      perDigit: this.perDigit,
      weightsLeft,
      weightsTotal,
      macs: this.layers.reduce((sum, { inputs, outputs }) => sum + (inputs + 1) * outputs, 0), // zeros count, as biases do
      collapsed: this.collapsed,
      zeros: 100 * (1 - weightsLeft / weightsTotal),
      layers: this.layers.map((layer, l) => ({
        name: layer.name,
        total: SIZES[l],
        kept: Int16Array.from(this.keptUnits(l)),
        ...(halo
          ? {}
          : {
              theta: Float32Array.from(layer.ofInputs.theta),
              worth: Float32Array.from(this.worth(layer)),
              price: this.settings.logGamma,
            }),
      })),
      ...(detail && {
        weights: this.layers.map((layer) => ({
          outputs: layer.outputs,
          inputs: layer.inputs,
          values: this.byOutput(layer, layer.matrices.weight),
        })),
        ...(halo && { lambda: this.layers.map((layer) => this.byOutput(layer, layer.matrices.coefficient)) }),
      }),
    };
  }
}

/* --- the worker ---

   In:  {type: "init", images, labels, settings}       bytes of all images and labels; once, and first
        {type: "settings", values}                     some of the settings, while it trains
        {type: "reset", settings}                      begin again, with all of the settings; it pauses
        {type: "run"}, {type: "pause"}, {type: "step", count}
        {type: "look", detail}                         with the weights or without
   Out: {type: "ready"}
        {type: "look", run, running, stepsPerSecond, ...}  as Trainer.look has it; `run` counts the resets
        {type: "trouble", message}                     and it pauses

   A setting `pace` limits the steps a second; null is as fast as it goes. */
function answerMessages(scope) {
  const CHUNK = 12; // milliseconds between two looks at what has been said
  const WINDOW = 500; // milliseconds over which speed is measured
  let [trainer, running, run, sent, turn] = [null, false, 0, 0, 0];
  let [since, stepsSince, speed, due] = [0, 0, 0, 0];
  const channel = new MessageChannel();
  channel.port1.onmessage = ({ data }) => guarded(() => train(data));

  /* `mine` is the turn in which training was begun: if it was paused and begun again since, another goes on. */
  function train(mine) {
    if (!running || mine !== turn) return;
    const { pace } = trainer.settings;
    const start = scope.performance.now();
    let now = start;
    while (now - start < CHUNK && now >= due) {
      trainer.step();
      stepsSince++;
      now = scope.performance.now();
      due = pace ? Math.max(due + 1000 / pace, now - CHUNK) : 0;
    }
    if (now - since > WINDOW) {
      speed = (1000 * stepsSince) / (now - since);
      [since, stepsSince] = [now, 0];
    }
    if (now < due) scope.setTimeout(() => guarded(() => train(mine)), due - now);
    else channel.port2.postMessage(mine);
  }

  const answers = {
    init({ images, labels, settings }) {
      trainer = new Trainer(images, labels, settings);
      scope.postMessage({ type: "ready" });
    },
    settings: ({ values }) => trainer.set(values),
    reset({ settings }) {
      [running, sent, run, speed] = [false, 0, run + 1, 0];
      trainer.reset(settings);
    },
    run() {
      if (running) return;
      [running, since, stepsSince, due] = [true, scope.performance.now(), 0, 0];
      channel.port2.postMessage(++turn);
    },
    pause: () => (running = false),
    step({ count }) {
      for (let step = 0; step < count; step++) trainer.step();
    },
    look({ detail }) {
      if (!running && trainer.evaluatedAt !== trainer.steps) trainer.evaluate();
      const look = trainer.look(detail, sent);
      sent = trainer.history.step.length;
      scope.postMessage({ type: "look", run, running, stepsPerSecond: running ? speed : 0, ...look });
    },
  };

  function guarded(action) {
    try {
      action();
    } catch (error) {
      running = false;
      scope.postMessage({ type: "trouble", message: error.message });
    }
  }

  scope.onmessage = ({ data }) => guarded(() => answers[data.type](data));
}

if (typeof document === "undefined") answerMessages(self);
