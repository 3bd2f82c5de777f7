/* Draw a digit: the dense network and another one answer while the reader draws. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const { networks, layersOf, shares, best, answer, pixelFills, painter, a } = digits;
  const root = document.querySelector(".draw-a-digit");
  const slider = root.querySelector("input[type=range]");
  const chosen = () => networks[slider.valueAsNumber];
  const panels = Array.from(root.querySelectorAll("[data-network]"), (panel) => ({
    find: (selector) => panel.querySelector(selector),
    panel,
    paint: painter(panel.querySelectorAll("rect")),
    bars: Array.from(panel.querySelectorAll("li")),
  }));
  let image = null;
  let example = null; // to measure the time of

  function show({ find, paint, bars }, network) {
    paint(pixelFills(network, image));
    const chances = image && shares(layersOf(network, image).at(-1));
    bars.forEach((bar, digit) => {
      const percent = chances ? 100 * chances[digit] : 0;
      bar.style.setProperty("--share", percent / 100);
      bar.lastElementChild.textContent = percent < 0.05 ? "" : `${percent.toFixed(percent < 99.95 ? 1 : 0)} %`;
      bar.classList.toggle("digit-best", Boolean(chances) && digit === best(chances));
    });
    return chances && best(chances);
  }

  function verdict([dense, other]) {
    if (dense === null) return "Nothing on the paper yet.";
    if (dense === other) return `Both networks read ${a(dense)}.`;
    return `Dense reads ${a(dense)}, ${chosen().spoken} ${a(other)}.`;
  }

  function changed({ image: seen, label, settled }) {
    image = seen;
    const answers = panels.map((panel, index) => show(panel, index ? chosen() : networks[0]));
    const labelled = label === null || root.classList.contains("digits-example") ? "" : `Labelled ${label}. `;
    if (settled) root.querySelector("[role=status]").textContent = labelled + verdict(answers);
  }

  function choose() {
    const network = chosen();
    const { find, panel } = panels[1];
    panel.dataset.network = network.name;
    find(".digit-name").textContent = network.spoken;
    find("svg").setAttribute("aria-label", `What this network sees; the ${network.atWork[0].length} of 784 pixels that it reads are lit.`);
    Object.entries(network.facts).forEach(([name, fact]) => (find(`[data-fact=${name}]`).textContent = fact));
    root.querySelector("output").textContent = network.spoken;
    slider.setAttribute("aria-valuetext", network.spoken);
    measure(panels[1], network);
    changed({ image, label: null, settled: true });
  }

  function measure({ find }, network) {
    find(".digit-time").textContent = "–";
    setTimeout(() => {
      if (network === networks[0] || network === chosen()) find(".digit-time").textContent = told(seconds(network));
    }, 300);
  }

  /* For one image. The least of several rounds: whatever else the machine does can only add. */
  function seconds(network) {
    let least = Infinity;
    for (let round = 0; round < 6; round++) {
      const started = performance.now();
      for (let time = 0; time < 20; time++) answer(network, example);
      least = Math.min(least, (performance.now() - started) / 20e3);
    }
    return least;
  }

  const told = (time) => (time < 1e-3 ? `${Math.max(1, Math.round(1e6 * time))} µs` : `${(1e3 * time).toFixed(1)} ms`);

  const disagree = (test) => answer(networks[0], test) !== answer(chosen(), test);
  Object.assign(digits, digits.paper(root, changed, disagree));
  example = image;
  slider.addEventListener("input", choose);
  panels.forEach((panel, index) => measure(panel, index ? chosen() : networks[0]));
});
