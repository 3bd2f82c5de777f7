// Draws the explorers of a page: a Vega-Lite chart that follows native controls.
// `vegaEmbed` is of the bundle that book/_ext/explorers.py makes with this file.

const STACKED_BELOW = 0.8; // of its natural width, panels side by side go below each other

document.querySelectorAll(".explorer").forEach(show);

function show(explorer, place) {
  const spec = JSON.parse(explorer.querySelector("script").textContent);
  spec.description = explorer.querySelector("img").alt;
  const turned = spec.params.filter(param => param.bind);
  const values = Object.fromEntries(turned.map(({ name, value }) => [name, value]));
  const controls = element("div", { className: "controls" });
  const readout = element("p", { className: "readout", role: "status" });
  const chart = element("div", { className: "chart" });

  controls.append(...turned.map(param => control(param, place, value => {
    values[param.name] = value;
    explorer.view.signal(param.name, value).runAsync();
  })));

  const draw = async room => {
    explorer.view?.finalize();
    explorer.view = await drawn(spec, values, chart, room);
    const tell = (_, lines) => { readout.textContent = lines.join(" "); };
    explorer.view.addSignalListener("readout", tell);
    tell("readout", explorer.view.signal("readout"));
    explorer.classList.add("live");
  };

  let width = 0;
  let drawing = Promise.resolve();
  new ResizeObserver(() => {
    const room = explorer.clientWidth;
    if (!room || room === width) return;
    if (!width) explorer.append(controls, readout, chart);
    width = room;
    drawing = drawing.then(() => draw(room));
  }).observe(explorer);
}

// --- the chart ---

async function drawn(spec, values, chart, room) {
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
      if (/^(width|childWidth|concat_\d+_width)$/.test(name)) {
        view.signal(name, Math.floor(value + more));
      }
    }
    await view.runAsync();
  }
  return view;
}

async function viewOf(spec, values, chart) {
  const { title, $schema, ...shown } = spec; // the page shows the text of the title itself
  shown.params = spec.params.map(({ bind, ...p }) => (bind ? { ...p, value: values[p.name] } : p));
  shown.config = { ...spec.config, font: getComputedStyle(chart).fontFamily };
  const options = { mode: "vega-lite", actions: false, defaultStyle: false, renderer: "svg", tooltip: true };
  const { view } = await vegaEmbed(chart, shown, options);
  chart.querySelector("svg").ariaHidden = "true"; // the chart has one description for all of it
  return view;
}

function widthOf(chart) {
  return chart.querySelector("svg").width.baseVal.value; // as drawn; the style sheet makes it fit
}

// --- the controls ---

function control({ name, value, bind }, place, turn) {
  const numbers = bind.input === "select" && bind.options.every(Number.isFinite);
  const kind = numbers ? "stops" : bind.input;
  const { input, read } = { range, stops, select, checkbox }[kind](bind, value);
  input.id = `explorer-${place}-${name}`;
  input.autocomplete = "off"; // or Firefox would keep its position and not the chart's
  const label = element("label", { htmlFor: input.id, textContent: bind.name });
  const shown = element("span", { className: "value", ariaHidden: "true" });
  const follow = () => {
    const [chosen, text] = read();
    shown.textContent = text;
    if (input.type === "range") input.setAttribute("aria-valuetext", text);
    return chosen;
  };
  follow();
  input.addEventListener("input", () => turn(follow()));
  const row = element("div", { className: kind });
  row.append(label, input, shown);
  return row;
}

function range({ min, max, step }, value) {
  const input = element("input", { type: "range", min, max, step, value });
  const digits = (String(step).split(".")[1] || "").length;
  return { input, read: () => [Number(input.value), Number(input.value).toFixed(digits)] };
}

// A slider that knows these values alone.
function stops({ options, labels }, value) {
  const place = options.indexOf(value);
  const input = element("input", { type: "range", min: 0, max: options.length - 1, step: 1, value: place });
  return { input, read: () => [options[input.value], labels[input.value]] };
}

function select({ options, labels }, value) {
  const input = element("select", {});
  input.append(...options.map((option, i) => new Option(labels[i], option, false, option === value)));
  return { input, read: () => [options[input.selectedIndex], labels[input.selectedIndex]] };
}

function checkbox(_, value) {
  const input = element("input", { type: "checkbox", checked: value });
  return { input, read: () => [input.checked, input.checked ? "shown" : "hidden"] };
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
