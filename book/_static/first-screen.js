/* The first screen: one network at a time, a slider over their prices, and what all of them read. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const { networks, layersOf, shares, best, answer, pixelFills, unitFills, painter, a } = digits;
  const root = document.querySelector(".first-screen");
  const find = (selector) => root.querySelector(selector);
  const all = (selector) => Array.from(root.querySelectorAll(selector));
  const slider = find("input[type=range]");
  const paintPixels = painter(all(".digit-pixels rect"));
  const columns = all(".worth-units").map((group) => ({ paint: painter(group.children), count: group.children.length }));
  let image = null;
  let layers = null; // of each network

  const prices = networks.slice(1, -1).map(({ stop }) => stop);

  /* What happens to a digit as the price rises; its twin is `sentence` of digit_networks.py. */
  function happened(label, answers) {
    const [dense] = answers;
    const priced = answers.slice(1, -1);
    const missed = label === null || label === dense ? "" : `Labelled ${label}; the dense network reads ${a(dense)}. `;
    if (new Set(answers).size === 1) return `${missed}All ten networks read ${a(dense)}.`;
    let said = "";
    let changes = 0;
    priced.forEach((now, number) => {
      if (now === answers[number]) return;
      changes++;
      const whose = label === null ? "your" : "this";
      const start = said ? `, at ${prices[number]}` : `At ${prices[number]} nats a unit ${whose} ${dense} becomes`;
      said += `${start} ${a(now)}${answers.slice(0, number).includes(now) ? " again" : ""}`;
    });
    if (changes > 2) said = `As the price rises, the answer changes ${changes} times`;
    return `${missed}${said || `At all eight prices it stays ${a(dense)}`}. HALO reads ${a(answers.at(-1))}.`;
  }

  /* The network at which the slider stands. */
  function show() {
    const stop = slider.valueAsNumber;
    const network = networks[stop];
    const own = layers?.[stop];
    paintPixels(pixelFills(network, image));
    columns.forEach(({ paint, count }, depth) => paint(unitFills(own?.[depth + 1], network.atWork[depth + 1], count)));
    const chances = own && shares(own.at(-1));
    all(".worth-shares > g").forEach((bar, digit) => {
      bar.lastElementChild.setAttribute("width", 98 * (chances?.[digit] ?? 0));
      bar.classList.toggle("digit-best", Boolean(chances) && digit === best(chances));
    });
    all(".worth-counts tspan").forEach((count, depth) => (count.textContent = network.atWork[depth].length));
    find(".worth-network").setAttribute("aria-label", network.drawn);
    all(".worth-answers li").forEach((item, index) => item.classList.toggle("worth-now", index === stop));
    find("output").textContent = network.spoken;
    slider.setAttribute("aria-valuetext", network.spoken + (chances ? `: it reads ${a(best(chances))}` : ""));
    find(".worth-left strong").textContent = network.told[0];
    find(".worth-left span").textContent = network.told[1];
    find(".worth-errors").textContent = network.errors;
  }

  function changed({ image: seen, label, settled }) {
    image = seen;
    layers = image && networks.map((network) => layersOf(network, image));
    const answers = layers && layers.map((values) => best(values.at(-1)));
    all(".worth-answers li").forEach((item, index) => {
      item.firstElementChild.textContent = answers ? answers[index] : "–";
      item.dataset.differs = answers && answers[index] !== answers[0] ? "yes" : "no";
    });
    if (settled) find("[role=status]").textContent = answers ? happened(label, answers) : "Nothing on the paper yet.";
    show();
  }

  /* Labelled as the dense network reads it, and of another answer at a higher price, once. */
  function flips(test, label) {
    const answers = networks.slice(0, -1).map((network) => answer(network, test));
    return answers[0] === label && answers.slice(1).filter((now, number) => now !== answers[number]).length === 1;
  }

  slider.addEventListener("input", show);
  all(".worth-answers li").forEach((item, index) =>
    item.addEventListener("click", () => {
      slider.value = index;
      show();
    }),
  );
  Object.assign(digits, digits.paper(root, changed, flips), { happened });
});
