// Draws the explorers of a page: a Vega-Lite chart that follows native controls.
// `vegaEmbed` is of the bundle that book/_ext/explorers.py makes with this file.

const STACKED_BELOW = 0.8; // of its natural width, panels side by side go below each other
const NARROW = 450; // pixels, below which legends take several lines
const SETTLED = 700; // milliseconds without a turn, after which the next turn is another change

const explorers = [...document.querySelectorAll(".explorer")].map(read);
explorers.forEach(show);
sharedControls();

function read(root, place) {
  const spec = JSON.parse(root.querySelector("script").textContent);
  const turned = spec.params.filter(param => param.bind);
  const values = Object.fromEntries(turned.map(({ name, value }) => [name, value]));
  spec.description = root.querySelector("img").alt;
  return { root, place, spec, turned, values, ...spec.usermeta };
}

function show(explorer) {
  const { root, spec, values, place } = explorer;
  const controls = element("div", { className: "controls" });
  const look = element("p", { className: "look", textContent: [spec.title.subtitle].flat().join(" ") });
  const readout = element("p", { className: "readout" });
  const chart = element("div", { className: "chart" });
  const stage = element("div", { className: "stage" });
  stage.append(chart);

  explorer.turn = (name, value) => {
    remember(explorer, chart, look);
    values[name] = value;
    root.view?.signal(name, value).runAsync();
  };
  explorer.own = {};
  for (const param of explorer.turned) {
    if (explorer.shared?.includes(param.name)) continue;
    const own = control(param, `explorer-${place}`, value => explorer.turn(param.name, value));
    explorer.own[param.name] = own;
    controls.append(own.row);
  }
  controls.classList.toggle("many", controls.children.length > 3);
  const question = explorer.predict && predicting(explorer, stage);

  const draw = async room => {
    root.view?.finalize();
    stage.style.width = "";
    root.view = await drawn(spec, values, chart, room);
    stage.style.width = `${widthOf(chart)}px`;
    const tell = (_, lines) => { readout.textContent = together(lines.join(" ")); };
    root.view.addSignalListener("readout", tell);
    tell("readout", root.view.signal("readout"));
    if (explorer.click) clickable(explorer, chart);
    root.classList.add("live");
  };

  // What is out of sight keeps quiet when the page's control turns all charts at once.
  new IntersectionObserver(([{ isIntersecting }]) => {
    readout.ariaLive = isIntersecting ? "polite" : "off";
  }).observe(root);

  let width = 0;
  let drawing = Promise.resolve();
  new ResizeObserver(() => {
    const room = root.clientWidth;
    if (!room || room === width) return;
    const parts = [look, question, controls.children.length && controls, readout, stage];
    if (!width) root.append(...parts.filter(Boolean));
    width = room;
    drawing = drawing.then(() => draw(room));
  }).observe(root);
}

// --- the chart ---

async function drawn(spec, values, chart, room) {
  if (room < NARROW) spec = { ...spec, config: { ...spec.config, legend: { ...spec.config.legend, ...FOLDED } } };
  let view = await viewOf(spec, values, chart);
  const natural = widthOf(chart);
  let columns = spec.columns || 1;
  if (columns > 1 && room < STACKED_BELOW * natural) {
    columns = 1;
    view.finalize();
    view = await viewOf({ ...spec, columns }, values, chart);
  }
  // Axes keep their size; what is lacking, or free in a single column, is the panels'. Twice, as
  // a legend may have been wider than they were.
  for (const _ of "12") {
    const more = (Math.min(room, natural) - widthOf(chart)) / columns;
    for (const [name, value] of Object.entries(view.getState().signals)) {
      if (/^(width|childWidth|.+_width)$/.test(name)) {
        view.signal(name, Math.floor(value + more));
      }
    }
    await view.runAsync();
  }
  return view;
}

const FOLDED = { columns: 2, layout: { top: { direction: "vertical" } } };

async function viewOf(spec, values, chart) {
  const { title, $schema, usermeta, ...shown } = spec; // the page shows the text of the title itself
  shown.params = spec.params.map(({ bind, ...p }) => (bind ? { ...p, value: values[p.name] } : p));
  shown.config = { ...spec.config, font: getComputedStyle(chart).fontFamily };
  const tooltip = { theme: "of-the-page", disableDefaultStyle: true };
  const options = { mode: "vega-lite", actions: false, defaultStyle: false, renderer: "svg", tooltip };
  const { view } = await vegaEmbed(chart, shown, options);
  drawing(chart).ariaHidden = "true"; // the chart has one description for all of it
  return view;
}

function drawing(chart) {
  return chart.querySelector("svg:not(.ghost)");
}

function widthOf(chart) {
  return drawing(chart).width.baseVal.value; // as drawn; the style sheet makes it fit
}

// The marks of such a name, and not the axes of a panel that has it.
const REMEMBERED = "[class*=remembered_]:is([class$=_marks], [class$=_pathgroup])";

// Leaves a faint trace of the marks named "remembered_…" as they were before a change; a change
// is over when nothing has been turned for a while.
function remember(explorer, chart, look) {
  const before = explorer.turnedAt ?? -Infinity;
  explorer.turnedAt = performance.now();
  if (explorer.turnedAt - before < SETTLED || !drawing(chart)) return;
  if (!drawing(chart).querySelector(REMEMBERED)) return;
  const ghost = drawing(chart).cloneNode(true);
  ghost.setAttribute("class", "ghost");
  for (const mark of ghost.querySelectorAll(":not(defs *):is(path, text, line, rect, image)")) {
    if (!mark.closest(REMEMBERED)) mark.remove();
  }
  chart.querySelector(".ghost")?.remove();
  chart.append(ghost);
  if (!look.querySelector("span")) {
    look.append(element("span", { textContent: " Faint: the setting before the last change." }));
  }
}

// A click sets two controls to where it is.
function clickable({ root, click, own }, chart) {
  chart.classList.add("clickable");
  root.view.addEventListener("click", event => {
    const plot = chart.querySelector(".root .background").getBoundingClientRect();
    const across = (event.clientX - plot.left) / plot.width;
    const down = (event.clientY - plot.top) / plot.height;
    [["x", across], ["y", 1 - down]].forEach(([name, share], axis) => {
      const [low, high] = root.view.scale(name).domain();
      own[click[axis]].set(low + share * (high - low));
    });
  });
}

// --- a question before the chart is shown ---

function predicting({ root, predict, own }, stage) {
  const { question, choices, right, answer, hides, sets } = predict;
  const box = element("div", { className: "predict", role: "group", ariaLabel: "A prediction" });
  const buttons = choices.map(text => element("button", { type: "button", textContent: text }));
  const skip = element("button", { type: "button", className: "skip", textContent: "Just show it" });
  const reply = element("p", { className: "reply", role: "status" });
  const cover = element("div", { className: "cover", textContent: "?", ariaHidden: "true" });
  const reveal = text => {
    root.classList.remove("asks");
    cover.remove();
    row.remove();
    reply.textContent = text;
    for (const [name, value] of Object.entries(sets || {})) own[name].set(value);
  };
  buttons.forEach((button, place) => button.addEventListener("click", () => {
    const verdict = place === right ? "right." : "it turns out otherwise.";
    reveal(`“${choices[place]}”: ${verdict} ${answer}`);
  }));
  skip.addEventListener("click", () => reveal(answer));
  const row = element("div", { className: "choices" });
  row.append(...buttons, skip);
  box.append(element("p", { textContent: `Predict first: ${question}` }), row, reply);
  root.classList.add("asks");
  if (hides) {
    const [left, right, top] = hides;
    Object.assign(cover.style, { left: `${100 * left}%`, right: `${100 * (1 - right)}%`, top: `${100 * top}%` });
    stage.append(cover);
  }
  return box;
}

// --- the controls ---

// A parameter that several explorers share has one control, which stays in sight above all of them.
function sharedControls() {
  const names = new Set(explorers.flatMap(explorer => explorer.shared || []));
  for (const name of names) {
    const sharing = explorers.filter(explorer => explorer.shared?.includes(name));
    const following = explorers.filter(explorer => explorer.follows?.[name]);
    const { turned, root } = sharing[0];
    const { row } = control(turned.find(param => param.name === name), "page", value => {
      sharing.forEach(explorer => explorer.turn(name, value));
      for (const { own, follows } of following) {
        const [param, values] = follows[name];
        own[param].set(values[value]);
      }
    });
    const bar = element("div", { className: "controls of-the-page", role: "group" });
    bar.ariaLabel = "For all figures of this page";
    bar.append(row);
    let around = root.closest("section");
    while (![...sharing, ...following].every(other => around.contains(other.root))) {
      around = around.parentElement.closest("section");
    }
    let before = root;
    while (before.parentElement !== around) before = before.parentElement;
    before.before(bar);
  }
}

function control({ name, value, bind }, prefix, turn) {
  const numbers = bind.input === "select" && bind.options.every(Number.isFinite);
  const kind = numbers ? "stops" : bind.input;
  const { input, read, write } = { range, stops, select, checkbox }[kind](bind, value);
  input.id = `${prefix}-${name}`;
  input.autocomplete = "off"; // or Firefox would keep its position and not the chart's
  const label = element("label", { htmlFor: input.id, textContent: bind.name });
  const shown = element("span", { className: "value", ariaHidden: "true" });
  const follow = () => {
    const [chosen, text] = read();
    shown.textContent = text;
    if (input.type === "range") input.setAttribute("aria-valuetext", text);
    return chosen;
  };
  const set = wanted => {
    write(wanted);
    turn(follow());
  };
  follow();
  input.addEventListener("input", () => turn(follow()));
  const row = element("div", { className: kind });
  row.append(label, input, shown);
  return { row, set };
}

function range({ min, max, step }, value) {
  const input = element("input", { type: "range", min, max, step, value });
  const digits = (String(step).split(".")[1] || "").length;
  const write = wanted => { input.value = wanted; };
  return { input, write, read: () => [Number(input.value), Number(input.value).toFixed(digits)] };
}

// A slider that knows these values alone.
function stops({ options, labels }, value) {
  const place = options.indexOf(value);
  const input = element("input", { type: "range", min: 0, max: options.length - 1, step: 1, value: place });
  const write = wanted => { input.value = options.indexOf(wanted); };
  return { input, write, read: () => [options[input.value], labels[input.value]] };
}

function select({ options, labels }, value) {
  const input = element("select", {});
  input.append(...options.map((option, i) => new Option(labels[i], option, false, option === value)));
  const write = wanted => { input.selectedIndex = options.indexOf(wanted); };
  return { input, write, read: () => [options[input.selectedIndex], labels[input.selectedIndex]] };
}

function checkbox(_, value) {
  const input = element("input", { type: "checkbox", checked: value });
  const write = wanted => { input.checked = wanted; };
  return { input, write, read: () => [input.checked, input.checked ? "shown" : "hidden"] };
}

// What belongs together stays on one line: a number with its unit, both sides of an equation.
function together(text) {
  return text.replace(/ (=|±|×) /g, "\u00a0$1\u00a0").replace(/(\d) (%|nats?\b)/g, "$1\u00a0$2");
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
