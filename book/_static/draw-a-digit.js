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
  let soon = 0;

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
    measure();
    changed({ image, label: null, settled: true });
  }

  /* The time of both, one after the other, so that what the machine does besides meets both alike. */
  function measure() {
    clearTimeout(soon);
    root.querySelector(".digit-ratio").textContent = "";
    panels.forEach(({ find }) => (find(".digit-time").textContent = "–"));
    soon = setTimeout(() => {
      const both = [networks[0], chosen()];
      const times = both.map(seconds);
      times.forEach((time, index) => (panels[index].find(".digit-time").textContent = told(time)));
      const fewer = chosen().sparse ? ["weights", "weights that are not zero"] : ["macs", "multiply-accumulates"];
      const [many, few] = both.map(({ facts }) => +facts[fewer[0]].replaceAll(",", ""));
      root.querySelector(".digit-ratio").textContent =
        `On this machine the second takes 1/${ratio(times[0] / times[1])} of the time of the first, with 1/${ratio(many / few)} of its ${fewer[1]}.`;
    }, 300);
  }

  const ratio = (number) => number.toFixed(number < 20 ? 1 : 0);

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
  measure();
});
