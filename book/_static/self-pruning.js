/* Prune it in the page: the controls, the sentences and the challenges around a worker that trains.

   `selfPruning`, of self-pruning-data.js, holds the worker's source, the images as one picture, and the labels. */
"use strict";

(() => {
  const { SIDE, network, nearest, worth, natsAt, coefficients, overTime, told, grouped } = selfPruningPictures;
  const KEPT = "self-pruning-challenges"; // in localStorage: the challenges that are done
  const LAYERS = { pixels: "the pixels", first: "the first layer", second: "the second layer" };

  /* `of` is the method that reads the setting; a logarithmic slider moves by factors. */
  const SLIDERS = [
    { name: "logGamma", label: "price of a unit, log γ", unit: "nats", of: "bernoulli", log: true },
    { name: "lambda", label: "weight decay, λ", unit: "nats", of: "bernoulli", step: 0.1 },
    { name: "thetaStep", label: "step on θ", of: "bernoulli", log: true },
    { name: "f", label: "fraction of uniform gates, f", of: "bernoulli", step: 0.05 },
    { name: "xi", label: "price of the weights, ξ", of: "halo", log: true },
    { name: "psi", label: "price of the coefficients, ψ", of: "halo", log: true },
  ];

  /* A setting in two figures. */
  function wordsOf(value) {
    if (value === 0 || value >= 0.001) return String(Number(value.toPrecision(2)));
    const [factor, power] = value.toExponential(1).split("e-");
    return `${Number(factor)} × 10⁻${"⁰¹²³⁴⁵⁶⁷⁸⁹"[power]}`;
  }
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  /* The bytes of one image after another, from a picture in which they stand side by side in rows. */
  async function imagesOf({ images, count }) {
    const picture = new Image();
    picture.src = images;
    await picture.decode();
    const { width, height } = picture;
    const pen = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
    pen.drawImage(picture, 0, 0);
    const { data } = pen.getImageData(0, 0, width, height);
    const across = width / SIDE;
    const bytes = new Uint8Array(count * SIDE * SIDE);
    for (let image = 0, place = 0; image < count; image++) {
      const corner = Math.floor(image / across) * SIDE * width + (image % across) * SIDE;
      for (let y = 0; y < SIDE; y++) {
        for (let x = 0; x < SIDE; x++) bytes[place++] = data[4 * (corner + y * width + x)];
      }
    }
    return bytes;
  }

  async function start(root) {
    const find = (selector) => root.querySelector(selector);
    const settings = { ...selfPruning.defaults };
    let runs = 0; // networks made before this one
    const view = { layers: null, weights: null, lambdas: null, chosen: null, perDigit: null, now: 0, still: calm.matches };
    const history = { step: [], error: [], weightsLeft: [], pixelsLeft: [] };
    const page = { settings, view, history, look: null, frames: 0, worker: null };
    let plan = null; // of the board, as last drawn
    let chart = null; // of the worths, as last drawn
    let waiting = false; // for the worker's answer
    let answer = null; // that has come and is not drawn yet
    let wanted = false; // another look, though nothing runs
    let lastAsked = 0;
    let lastDescribed = 0;
    let drawn = -1; // points of the charts over time, as last drawn

    const put = (place, text) => {
      if (place.textContent !== text) place.textContent = text;
    };
    const post = (type, more = {}) => page.worker.postMessage({ type, ...more });
    const say = (text) => (find(".prune-live").textContent = text);

    /* --- the worker --- */

    const source = new Blob([selfPruning.worker], { type: "text/javascript" });
    page.worker = new Worker(URL.createObjectURL(source));
    page.worker.addEventListener("message", ({ data }) => {
      if (data.type === "trouble") return trouble(data.message);
      if (data.type === "ready") return lookSoon();
      waiting = false;
      if (data.run === runs) answer = data;
      else lookSoon();
    });
    page.worker.addEventListener("error", (event) => trouble(event.message));

    function trouble(message) {
      waiting = false;
      find(".prune-sentence").textContent = message;
      say(message);
    }

    const lookSoon = () => (wanted = true);
    Object.assign(page, { lookSoon, placeOf: ({ layer, unit }) => plan.points[view.layers[layer].name][unit] });

    /* While one answer is drawn the worker prepares the next. */
    function frame(time) {
      requestAnimationFrame(frame);
      const come = answer;
      answer = null;
      if (come) page.look = come;
      const due = time - lastAsked >= (calm.matches ? 500 : 0);
      if (!waiting && due && (wanted || page.look?.running)) {
        [waiting, wanted, lastAsked] = [true, false, time];
        post("look", { detail: true });
      }
      if (come) take(come);
      else if (fading(time) && !calm.matches) draw();
    }

    const fading = (time) => time - view.lastLeft < 800;

    function take(look) {
      for (const [name, values] of Object.entries(look.history)) history[name].push(...values);
      const now = performance.now();
      const before = view.layers;
      view.layers = look.layers.map((layer, depth) => {
        const place = new Int16Array(layer.total).fill(-1);
        layer.kept.forEach((unit, index) => (place[unit] = index));
        const old = before?.[depth];
        const left = old ? old.left : new Float64Array(layer.total).fill(-1e9);
        const leftAt = old ? old.leftAt : new Int32Array(layer.total);
        old?.kept.forEach((unit) => {
          if (place[unit] >= 0) return;
          [left[unit], leftAt[unit], view.lastLeft] = [now, look.step, now];
        });
        const numbers = place.map((_, unit) => unit);
        const [rows, units] = look.method === "halo" ? [numbers, numbers] : [place, layer.kept];
        return { ...layer, place, rows, units, left, leftAt };
      });
      if (look.weights) Object.assign(view, { weights: look.weights, lambdas: look.lambda });
      strengths(look.method);
      view.perDigit = look.perDigit;
      if (look.collapsed && !page.collapsed) collapse(look.collapsed);
      challenges(look);
      draw();
      page.frames += 1;
      if (!look.running) showState();
    }

    /* How strongly a unit is drawn: θ, or for HALO the size of its weights beside the largest of its layer. */
    function strengths(method) {
      view.layers.forEach((layer, depth) => {
        if (method === "bernoulli") {
          layer.strength = layer.theta;
          return;
        }
        const strength = new Float32Array(layer.kept.length);
        const { outputs, inputs, values } = view.weights[Math.max(0, depth - 1)];
        for (let output = 0, index = 0; output < outputs; output++) {
          for (let input = 0; input < inputs; input++) {
            const place = layer.place[depth === 0 ? input : output];
            if (place >= 0) strength[place] += Math.abs(values[index]);
            index += 1;
          }
        }
        const largest = Math.max(...strength, 1e-9);
        layer.strength = strength.map((sum) => sum / largest);
      });
    }

    /* --- what one sees --- */

    function draw() {
      if (!view.layers) return;
      const { look } = page;
      view.now = performance.now();
      view.still = calm.matches;
      view.price = settings.logGamma;
      const { chosen } = view;
      if (chosen && view.layers[chosen.layer].place[chosen.unit] < 0 && !chosen.gone) {
        chosen.gone = true;
        say(sentence());
      }
      plan = network(find(".prune-network"), view) ?? plan;
      if (look.method === "bernoulli") chart = worth(find(".prune-worth"), { ...view, measured: look.step > 0 });
      else coefficients(find(".prune-worth"), { ...view, ...settings });
      drawTime(look);
      numbers(look);
      put(find(".prune-sentence"), sentence());
      placeRing();
      if (view.now - lastDescribed > 1000 || !look.running) describe(look);
    }

    /* Error and size over time, when there is something new in them. */
    function drawTime(look) {
      const count = history.step.length;
      if (count === drawn) return;
      drawn = count;
      const last = history.step.at(-1) ?? 0;
      const upTo = [2000, 5000, 10000, 20000, 50000, 100000].find((step) => last <= step) ?? 2 * last;
      const share = history.weightsLeft.map((weights) => (100 * weights) / look.weightsTotal);
      const percent = [1, 2, 5, 10, 20, 50, 100];
      const shared = { steps: history.step, upTo };
      overTime(find(".prune-error"), { ...shared, lines: [[history.error, "line"]], goal: 10, ticks: percent.slice(1) });
      overTime(find(".prune-size"), { ...shared, lines: [[share, "line"]], goal: 5, ticks: percent });
    }

    function numbers(look) {
      const show = (name, text) => put(find(`[data-number=${name}]`), text);
      show("error", `${look.error.toFixed(1)} %`);
      show("weights", `${((100 * look.weightsLeft) / look.weightsTotal).toFixed(1)} %`);
      show("network", [...view.layers.map((layer) => layer.kept.length), 10].join("-"));
      show("step", grouped(look.step));
      show("pace", look.running ? grouped(look.stepsPerSecond) : "–");
    }

    /* The pictures in words, for those who do not see them; at most once a second. */
    function describe(look) {
      lastDescribed = view.now;
      const label = (selector, text) => find(selector).setAttribute("aria-label", text);
      const left = view.layers.map((layer) => `${layer.kept.length} of ${layer.total}`);
      label(".prune-network", `The network after ${grouped(look.step)} steps: ${left[0]} pixels, ${left[1]} units of the first layer and ${left[2]} of the second are left.`);
      label(".prune-error", `Error over time; now ${look.error.toFixed(1)} percent.`);
      label(".prune-size", `Size over time; now ${((100 * look.weightsLeft) / look.weightsTotal).toFixed(1)} percent of the weights are left.`);
      if (look.method !== "bernoulli") {
        label(".prune-worth", `λ of each weight against its size; ${look.zeros.toFixed(1)} percent of the weights are exactly zero.`);
        return;
      }
      if (look.step === 0) return label(".prune-worth", "What each unit is worth; nothing has been measured yet.");
      const below = view.layers.map((layer) => layer.worth.filter((value) => value < view.price).length);
      const all = view.layers.map((layer) => layer.kept.length);
      label(".prune-worth", `What each unit is worth, beside the price of ${told(view.price)} nats: ${below[0]} of ${all[0]} pixels, ${below[1]} of ${all[1]} units of the first layer and ${below[2]} of ${all[2]} of the second are worth less.`);
    }

    const nameOf = ({ layer, unit }) => {
      const { name } = view.layers[layer];
      if (name === "pixels") return `The pixel in row ${Math.floor(unit / SIDE) + 1}, column ${(unit % SIDE) + 1},`;
      return `Unit ${unit + 1} of ${LAYERS[name]}`;
    };

    /* What is to be said: of the chosen unit, or of the run. */
    function sentence() {
      const { look } = page;
      const { chosen } = view;
      if (!chosen) return generally(look);
      const layer = view.layers[chosen.layer];
      const place = layer.place[chosen.unit];
      const name = nameOf(chosen);
      if (place < 0) return `${name} has left, at step ${grouped(layer.leftAt[chosen.unit])}.`;
      if (look.method !== "bernoulli") return `${name} has ${weightsOf(chosen)} weights that are not zero.`;
      if (look.step === 0) return `${nameOf(chosen)} costs ${told(layer.price)} nats; what it is worth shows while it trains.`;
      const value = layer.worth[place];
      const theta = Number(layer.theta[place].toFixed(2));
      const cost = `${name} is worth ${told(value)} nats and costs ${told(layer.price)}`;
      if (value < 0) return `${cost}: the network does better without it (θ = ${theta}).`;
      if (value < layer.price) return `${cost}: ${theta > 0 ? "its θ falls" : "it leaves"} (θ = ${theta}).`;
      return `${cost}: ${theta < 1 ? "its θ rises" : "it stays"} (θ = ${theta}).`;
    }

    function weightsOf({ layer, unit }) {
      const depth = Math.max(0, layer - 1);
      const { outputs, inputs, values } = view.weights[depth];
      const place = view.layers[layer].rows[unit];
      let count = 0;
      for (let other = 0; other < (layer === 0 ? outputs : inputs); other++) {
        const value = values[layer === 0 ? other * inputs + place : place * inputs + other];
        if (value !== 0) count += 1;
      }
      return count;
    }

    function generally(look) {
      if (look.step === 0) return "A new network: everything is there, and nothing is learned yet. Press Start.";
      if (look.method !== "bernoulli") return `${look.zeros.toFixed(1)} % of the weights are exactly zero. Point at a unit to see the others.`;
      const below = view.layers.reduce((sum, layer) => sum + layer.worth.filter((value) => value < layer.price).length, 0);
      if (!below) return "Every unit that is left is worth its price.";
      return `${below} of the pixels and units ${below === 1 ? "is" : "are"} worth less than the price. Point at one, or move the price.`;
    }

    /* --- running --- */

    const runButton = find(".prune-run");

    function showState() {
      const running = Boolean(page.look?.running);
      root.classList.toggle("prune-running", running);
      runButton.textContent = running ? "Pause" : page.look?.step ? "Go on" : "Start";
      find(".prune-step").disabled = running;
    }

    function run() {
      post("run");
      page.look.running = true;
      showState();
      lookSoon();
      say("Training.");
    }

    function pause(why = "Paused.") {
      post("pause");
      page.look.running = false;
      showState();
      lookSoon();
      say(why);
    }

    function again() {
      for (const values of Object.values(history)) values.length = 0;
      Object.assign(view, { layers: null, weights: null, lambdas: null, chosen: null, lastLeft: -1e9 });
      [page.collapsed, drawn] = [null, -1];
      find(".prune-collapse").hidden = true;
      const { running } = page.look ?? {};
      runs += 1;
      answer = null;
      post("reset", { settings });
      if (running) post("run");
      lookSoon();
      showMethod();
    }

    runButton.addEventListener("click", () => (page.look.running ? pause() : run()));
    find(".prune-step").addEventListener("click", () => {
      post("step", { count: 1 });
      lookSoon();
      say("One step.");
    });
    find(".prune-again").addEventListener("click", () => {
      again();
      say("A new network.");
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && page.look?.running) pause("Paused, as the page was out of sight.");
    });

    /* A layer has died but for the one unit that is kept, or there would be no network. */
    function collapse(name) {
      page.collapsed = name;
      const layer = view.layers.find((one) => one.name === name);
      const best = told(Math.max(...layer.worth));
      const what = name === "pixels" ? "all pixels" : `all of ${LAYERS[name]}`;
      const text = `By step ${grouped(page.look.step)} ${what} had fallen: the price is ${told(layer.price)} nats, and the best that was left is worth ${best}.`;
      find(".prune-collapse").textContent = `${text} One is kept, or there would be no network.`;
      find(".prune-collapse").hidden = false;
      win("layer", text);
    }

    /* --- the sliders --- */

    const rows = SLIDERS.map((slider) => {
      const { min, max } = selfPruning.ranges[slider.name];
      const input = document.createElement("input");
      const scale = slider.log ? Math.log10 : (value) => value;
      const back = slider.log ? (value) => 10 ** value : Number;
      Object.assign(input, { type: "range", id: `prune-${slider.name}`, autocomplete: "off" });
      Object.assign(input, { min: scale(min), max: scale(max), step: slider.log ? 0.01 : slider.step });
      const row = document.createElement("div");
      const label = Object.assign(document.createElement("label"), { htmlFor: input.id, textContent: slider.label });
      const output = Object.assign(document.createElement("span"), { className: "prune-value" });
      output.setAttribute("aria-hidden", "true");
      row.append(label, input, output);
      row.dataset.of = slider.of;
      const follow = () => {
        const value = settings[slider.name];
        const text = slider.unit ? `${told(value)} ${slider.unit}` : wordsOf(value);
        output.textContent = text;
        input.setAttribute("aria-valuetext", text);
      };
      const set = (value) => {
        settings[slider.name] = value;
        input.value = scale(value);
        follow();
        post("settings", { values: { [slider.name]: value } });
        lookSoon();
      };
      input.value = scale(settings[slider.name]);
      follow();
      input.addEventListener("input", () => set(back(Number(input.value))));
      find(slider.name === "logGamma" ? ".prune-price" : ".prune-sliders").append(row);
      return { ...slider, row, set, min, max };
    });
    const setPrice = rows[0].set;
    find(".prune-defaults").addEventListener("click", () => {
      for (const { name, set } of rows) set(selfPruning.defaults[name]);
      say("All sliders are where they were at first.");
    });

    const seed = document.createElement("div");
    seed.innerHTML = '<label for="prune-seed">seed, from which all is drawn</label><input type="number" id="prune-seed" min="0" max="9999" step="1" autocomplete="off">';
    find(".prune-sliders").append(seed);
    const seedInput = seed.querySelector("input");
    seedInput.value = settings.seed;
    seedInput.addEventListener("change", () => {
      settings.seed = Math.min(9999, Math.max(0, Math.round(Number(seedInput.value)) || 0));
      seedInput.value = settings.seed;
      again();
      say(`A new network, of seed ${settings.seed}.`);
    });

    function showMethod() {
      root.dataset.method = settings.method;
      for (const { row, of } of rows) row.hidden = of !== settings.method;
      find("#prune-scales-title").textContent = settings.method === "bernoulli"
        ? "What each unit is worth, and what it costs. Drag the price."
        : "λ of each weight, and the curve on which it comes to rest";
    }
    for (const choice of root.querySelectorAll("[name=prune-method]")) {
      choice.addEventListener("change", () => {
        settings.method = choice.value;
        again();
        say(`A new network, pruned by ${choice.value === "halo" ? "HALO" : "Bernoulli gates"}.`);
      });
    }

    /* --- choosing a unit --- */

    const units = find(".prune-units");
    const option = find(".prune-unit");

    function choose(next, aloud = false) {
      if (next?.layer === view.chosen?.layer && next?.unit === view.chosen?.unit) return;
      view.chosen = next && { ...next };
      if (next) {
        option.textContent = nameOf(next).replace(/,$/, "");
        const kept = view.layers[next.layer].kept;
        option.setAttribute("aria-posinset", kept.indexOf(next.unit) + 1);
        option.setAttribute("aria-setsize", kept.length);
      } else option.textContent = "none chosen";
      option.setAttribute("aria-selected", String(Boolean(next)));
      draw();
      if (aloud) say(sentence());
    }

    function placeRing() {
      option.hidden = false;
      const { chosen } = view;
      if (!chosen || !plan) return;
      const [x, y] = plan.points[view.layers[chosen.layer].name][chosen.unit];
      option.style.translate = `${x}px ${y}px`;
    }

    /* The nearest unit in a direction, sidelong distance counting three times. */
    function neighbour({ layer, unit }, [right, down]) {
      const at = plan.points[view.layers[layer].name][unit];
      let [found, least] = [null, Infinity];
      view.layers.forEach((other, depth) => {
        for (const candidate of other.kept) {
          const to = plan.points[other.name][candidate];
          const [x, y] = [to[0] - at[0], to[1] - at[1]];
          const [ahead, aside] = [x * right + y * down, Math.abs(x * down) + Math.abs(y * right)];
          if (ahead < 0.5 || aside > 3 * ahead) continue;
          if (ahead + 3 * aside < least) [found, least] = [{ layer: depth, unit: candidate }, ahead + 3 * aside];
        }
      });
      return found;
    }

    const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const firstOf = (layer) => (view.layers[layer]?.kept.length ? { layer, unit: view.layers[layer].kept[0] } : null);
    const lastOf = (layer) => ({ layer, unit: view.layers[layer].kept.at(-1) });
    units.addEventListener("keydown", (event) => {
      if (!view.layers || event.ctrlKey || event.metaKey || event.altKey) return;
      const { chosen } = view;
      const layer = chosen?.layer ?? 0;
      let next;
      if (event.key in ARROWS) next = (chosen && neighbour(chosen, ARROWS[event.key])) ?? chosen ?? firstOf(0);
      else if (event.key === "Home") next = firstOf(layer);
      else if (event.key === "End") next = lastOf(layer);
      else if (event.key === "PageDown") next = firstOf(layer + 1) ?? chosen;
      else if (event.key === "PageUp") next = firstOf(layer - 1) ?? chosen;
      else if (event.key === "Escape") next = null;
      else return;
      event.preventDefault();
      choose(next, true);
    });
    units.addEventListener("focus", () => {
      if (view.layers && !view.chosen && units.matches(":focus-visible")) choose(firstOf(0), true);
    });
    units.addEventListener("blur", () => choose(null));

    const at = (event) => {
      const { left, top } = event.currentTarget.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    const point = (event) => {
      if (view.layers && plan) choose(nearest(plan, view.layers, ...at(event)));
    };
    units.addEventListener("pointermove", point);
    units.addEventListener("pointerdown", point);
    units.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") choose(null);
    });

    /* --- the price, dragged --- */

    const scales = find(".prune-worth");
    let dragging = false;
    const drag = (event) => {
      const { min, max } = rows[0];
      setPrice(Math.min(max, Math.max(min, natsAt(at(event)[0], chart.width))));
    };
    scales.addEventListener("pointerdown", (event) => {
      if (!chart || settings.method !== "bernoulli" || Math.abs(at(event)[0] - chart.line) > 14) return;
      event.preventDefault();
      dragging = true;
      scales.setPointerCapture(event.pointerId);
    });
    scales.addEventListener("pointermove", (event) => {
      if (dragging) return drag(event);
      if (!chart || settings.method !== "bernoulli") return;
      const [x, y] = at(event);
      const near = chart.dots.filter((dot) => Math.hypot(dot.x - x, dot.y - y) < 10);
      near.sort((a, b) => Math.hypot(a.x - x, a.y - y) - Math.hypot(b.x - x, b.y - y));
      scales.style.cursor = Math.abs(x - chart.line) < 14 ? "ew-resize" : "default";
      choose(near.length ? { layer: near[0].layer, unit: near[0].unit } : null);
    });
    scales.addEventListener("pointerleave", () => choose(null));
    for (const end of ["pointerup", "pointercancel"]) scales.addEventListener(end, () => (dragging = false));

    /* --- the challenges --- */

    const cards = [...document.querySelectorAll("[data-challenge]")];
    let done = {};
    try {
      done = JSON.parse(localStorage.getItem(KEPT)) ?? {};
    } catch {
      done = {}; // what is stored there is not ours, or nothing may be stored
    }

    function showChallenges() {
      for (const card of cards) {
        const won = done[card.dataset.challenge];
        card.classList.toggle("prune-won", Boolean(won));
        card.querySelector(".prune-mark").textContent = won ? "✓ done" : "";
        card.querySelector(".prune-why").hidden = !won;
        card.querySelector(".prune-came").textContent = won || "";
      }
      find(".prune-over").hidden = !Object.keys(done).length;
    }

    function win(name, text) {
      if (done[name]) return;
      done[name] = text;
      try {
        localStorage.setItem(KEPT, JSON.stringify(done));
      } catch {
        // A page that may store nothing forgets it when it is closed.
      }
      showChallenges();
      say(`Challenge done. ${text}`);
    }

    const standing = (name, text) => put(find(`[data-challenge=${name}] .prune-standing`), text);
    const percent = (value) => `${value.toFixed(value < 10 ? 1 : 0)} %`;

    function challenges(look) {
      const worst = look.perDigit.indexOf(Math.max(...look.perDigit));
      const digit = settings.excludedDigit ?? worst;
      const others = look.perDigit.reduce((sum, value) => sum + value, -look.perDigit[digit]) / 9;
      const wrong = look.perDigit[digit];
      const forgets = `The ${digit} is misread in ${percent(wrong)} of the images, the others in ${percent(others)}.`;
      standing("digit", `Now: ${forgets.replace(/^T/, "t")}`);
      if (wrong > 90 && others < 10) win("digit", `Step ${grouped(look.step)}. ${forgets}`);

      if (look.step === 0) standing("layer", "");
      else if (look.method === "bernoulli") {
        const best = view.layers.map((layer) => Math.max(...layer.worth));
        const weakest = best.indexOf(Math.min(...best));
        standing("layer", `Now: the best unit of ${LAYERS[view.layers[weakest].name]} is worth ${told(best[weakest])} nats, and the price is ${told(settings.logGamma)}.`);
      } else standing("layer", "Now: HALO has no price of a unit; choose Bernoulli.");

      const share = (100 * look.weightsLeft) / look.weightsTotal;
      const size = `${percent(share)} of the weights, error ${percent(look.error)}.`;
      standing("small", `Now: ${size}`);
      if (share <= 5 && look.error < 10) win("small", `Step ${grouped(look.step)}, by ${look.method === "halo" ? "HALO" : "Bernoulli gates"}: ${size}`);
    }

    find(".prune-leave-out").addEventListener("change", (event) => {
      const { value } = event.target;
      settings.excludedDigit = value === "" ? null : Number(value);
      post("settings", { values: { excludedDigit: settings.excludedDigit } });
      lookSoon();
      say(value === "" ? "It learns from all digits again." : `It learns no more from any ${value}.`);
    });
    find(".prune-over").addEventListener("click", () => {
      done = {};
      localStorage.removeItem(KEPT);
      showChallenges();
      say("No challenge is done.");
    });

    /* --- begin --- */

    showMethod();
    showChallenges();
    if (root.clientWidth <= 520) find(".prune-settings").open = false;
    find(".prune-sentence").setAttribute("aria-hidden", "true"); // what is new in it goes to the live region
    root.classList.add("prune-live");
    const images = await imagesOf(selfPruning);
    post("init", { images, labels: bytesOf(selfPruning.labels), settings });
    lookSoon();
    requestAnimationFrame(frame);
    const redraw = () => {
      drawn = -1;
      draw();
    };
    new ResizeObserver(redraw).observe(root);
    new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return page;
  }

  document.addEventListener("DOMContentLoaded", async () => {
    window.pruneIt = await start(document.querySelector(".self-pruning"));
  });
})();
