// The text appears once its mathematics is set and fits, below the title that is there at once: nothing jumps. Without
// mathematics, or if MathJax does not load, it appears with the page; without scripts, always.
//
// An equation wider than its column is broken before a relation or a sign. What cannot be broken is set smaller, and
// scrolls if that would make it illegible.
"use strict";

(() => {
  const HIDDEN = "sets-mathematics";
  const SMALLEST = 0.75; // of the usual size, for what does not fit otherwise
  const INDENT = "\\quad ";

  const RELATIONS = new Set(
    ("= < > : \\le \\leq \\ge \\geq \\ll \\gg \\ne \\neq \\approx \\sim \\simeq \\propto \\equiv \\in \\to \\mapsto \\iff \\implies " +
      "\\Longleftrightarrow \\Longrightarrow \\Leftrightarrow \\Rightarrow \\longrightarrow \\rightarrow \\coloneqq \\lesssim \\gtrsim").split(" "),
  );
  const SIGNS = new Set("+ - \\pm \\mp \\cdot \\times".split(" "));
  const GAPS = new Set(["\\quad", "\\qquad"]);
  const SPACES = new Set(["\\,", "\\;", "\\:", "\\!", "\\", "~", " "]);
  const SIZES = /^\\[bB]igg?[lrm]?$/;

  /* --- where TeX may be broken --- */

  const tokensOf = (tex) => tex.match(/\\[a-zA-Z]+\s*|\\[^]|[^]/g) ?? [];

  /* Parts of a line, each but the first beginning with a relation or a sign, or after a wide space, that stands outside of
     everything that belongs together: braces, environments, \left and \right; and outside of brackets unless `inside`. */
  function partsOf(tex, inside) {
    const parts = [];
    let part = "";
    let kindOfNext = "start";
    let [depth, brackets] = [0, 0];
    let before = null; // the last token that is no space
    const cut = (kind) => {
      if (part.trim()) parts.push({ tex: part, kind: kindOfNext });
      part = "";
      kindOfNext = kind;
    };
    for (const raw of tokensOf(tex)) {
      const token = raw.trim() || " ";
      if (token === "{" || token === "\\left" || token === "\\begin") depth++;
      const free = depth === 0 && (inside || brackets === 0);
      const operand = before !== null && !RELATIONS.has(before) && !SIGNS.has(before) && !/^([_^([|,]|\\\{)$/.test(before);
      if (free && RELATIONS.has(token) && before !== "\\mid" && !RELATIONS.has(before)) cut("relation");
      else if (free && SIGNS.has(token) && operand) cut("sign");
      else if (free && GAPS.has(token)) {
        cut("gap");
        continue;
      }
      part += raw;
      if (token === "}" || token === "\\right" || token === "\\end") depth--;
      if (depth === 0 && /^([([]|\\[{])$/.test(token)) brackets++;
      if (depth === 0 && /^([)\]]|\\[}])$/.test(token) && before !== "\\right") brackets = Math.max(0, brackets - 1);
      if (!SPACES.has(token) && !SIZES.test(token)) before = token;
    }
    cut("end");
    return parts;
  }

  /* The rows of an equation that its author has broken already, each as one line. */
  function rowsOf(tex) {
    const found = tex.trim().match(/^\\begin\{(split|aligned|align\*?|gathered)\}([^]*)\\end\{\1\}([.,;]?)$/);
    if (!found) return [tex];
    if (/^\s*\\begin\{(split|aligned|gathered)\}/.test(found[2])) return rowsOf(found[2] + found[3]); // Sphinx adds one
    const rows = [""];
    let depth = 0;
    for (const token of tokensOf(found[2])) {
      if (/^(\{|\\left|\\begin)/.test(token)) depth++;
      if (depth === 0 && token === "\\\\") rows.push("");
      else if (depth > 0 || token !== "&") rows[rows.length - 1] += token;
      if (/^(\}|\\right|\\end)/.test(token)) depth--;
    }
    rows[rows.length - 1] += found[3];
    return rows.map((row) => row.replace(/^\s*\[[^\]]*\]/, "")).filter((row) => row.trim());
  }

  /* Lines no wider than `room`, as far as the equation can be broken; `widthOf` measures. */
  function linesOf(row, room, widthOf) {
    let lines = [row];
    const everywhere = ["gap", "relation", "sign"];
    for (const [kinds, inside] of [[["gap"], false], [["gap", "relation"], false], [everywhere, false], [everywhere, true]]) {
      lines = lines.flatMap((line, place) => {
        if (widthOf(indented(line, place)) <= room) return [line];
        const broken = [];
        for (const { tex, joint } of chunksOf(line, kinds, inside)) {
          const last = broken.length - 1;
          const longer = broken[last] + joint + tex;
          if (last >= 0 && widthOf(indented(longer, place + last)) <= room) broken[last] = longer;
          else broken.push(tex);
        }
        return broken;
      });
    }
    return lines;
  }

  /* Parts that stay together where lines are broken at these kinds of places only; `joint` was before it. */
  function chunksOf(line, kinds, inside) {
    const chunks = [];
    for (const { tex, kind } of partsOf(line, inside)) {
      const joint = kind === "gap" ? INDENT : "";
      if (chunks.length && !kinds.includes(kind)) chunks.at(-1).tex += joint + tex;
      else chunks.push({ tex, joint });
    }
    return chunks;
  }

  const indented = (line, place) => (place ? INDENT + "{}" : "") + line;

  /* --- the page --- */

  const fitted = new WeakMap(); // by MathJax's item: what stands for it in the page, and the room that it was given

  /* Every formula whose room has changed; those that are folded away have none yet. First all is read, then all is changed:
     the browser would lay out the page anew for each. */
  function fit() {
    const moved = [];
    for (const item of MathJax.startup.document.math) {
      const { shown, given } = fitted.get(item) ?? { shown: item.typesetRoot };
      const column = shown?.closest?.("article") && shown.closest(item.display ? "div.math" : "p, li, dd, dt, td, th, figcaption");
      const room = column ? column.clientWidth - numberBeside(column) : 0;
      if (room && room !== given) moved.push({ item, shown, room });
    }
    for (const { item, shown } of moved) if (shown !== item.typesetRoot) shown.replaceWith(item.typesetRoot);
    for (const one of moved) one.width = widthOfSvg(one.item.typesetRoot);
    for (const { item, room, width } of moved) {
      const now = width <= room ? item.typesetRoot : (item.display ? displayed : inline)(item, room, width);
      fitted.set(item, { shown: now, given: room });
    }
  }

  /* The width of an equation's number, where it does not stand below. */
  function numberBeside(column) {
    const number = column.querySelector(":scope > .eqno");
    return number && getComputedStyle(number).float !== "none" ? number.offsetWidth : 0;
  }

  /* TeX as MathJax would set it in the place of `item`. */
  const set = (item, tex) => MathJax.tex2svg(tex, { display: item.display, ...item.metrics });

  const svgOf = (node) => node.querySelector("svg");
  const widthOfSvg = (node) => svgOf(node)?.getBoundingClientRect().width ?? 0;

  /* Measures TeX in pixels, by what MathJax would draw in the place of `item`, which is `width` wide. */
  function ruler(item, width) {
    const perEx = width / parseFloat(svgOf(item.typesetRoot).getAttribute("width"));
    const known = new Map();
    return (tex) => {
      if (!known.has(tex)) known.set(tex, parseFloat(svgOf(set(item, tex)).getAttribute("width")) * perEx);
      return known.get(tex);
    };
  }

  function displayed(item, room, width) {
    const widthOf = ruler(item, width);
    const rows = rowsOf(item.math).flatMap((row, first) =>
      linesOf(row, room, widthOf).map((line, place) => indented(line, first + place)),
    );
    const tex = `\\begin{aligned}${rows.map((row) => `& ${row}`).join("\\\\")}\\end{aligned}`;
    const broken = set(item, tex);
    const shown = rows.length > 1 && !broken.querySelector("[data-mjx-error]") ? broken : item.typesetRoot.cloneNode(true);
    item.typesetRoot.replaceWith(shown);
    shrink(svgOf(shown), Math.max(SMALLEST, room / widthOfSvg(shown)));
    return shown;
  }

  /* In pixels: a browser may round the size of letters, by which MathJax measures. */
  function shrink(svg, share) {
    if (share >= 1) return;
    const { width, height } = svg.getBoundingClientRect();
    Object.assign(svg.style, { width: `${width * share}px`, height: `${height * share}px` });
  }

  function inline(item, room, width) {
    const lines = linesOf(item.math, room, ruler(item, width));
    const shown = document.createElement("span");
    lines.forEach((line, place) => {
      if (place) shown.append(document.createElement("wbr"));
      shown.append(set(item, (place ? "{}" : "") + line));
    });
    item.typesetRoot.replaceWith(shown);
    return shown;
  }

  /* A formula stays with the comma after it and the bracket before it. */
  function keepTogether() {
    for (const formula of document.querySelectorAll("article span.math")) {
      const [before, after] = [formula.previousSibling, formula.nextSibling];
      const opening = before?.nodeType === Node.TEXT_NODE ? before.data.match(/[^\s]{0,12}$/)[0] : "";
      const closing = after?.nodeType === Node.TEXT_NODE ? after.data.match(/^[^\s]{0,12}/)[0] : "";
      if (!opening && !closing) continue;
      const together = Object.assign(document.createElement("span"), { className: "unbroken" });
      formula.replaceWith(together);
      if (opening) before.data = before.data.slice(0, -opening.length);
      if (closing) after.data = after.data.slice(closing.length);
      together.append(opening, formula, closing);
    }
  }

  document.documentElement.classList.add(HIDDEN);
  document.addEventListener("DOMContentLoaded", () => {
    keepTogether();
    const set = Promise.resolve(window.MathJax?.startup?.promise).then(() => {
      if (!window.MathJax?.tex2svg) return;
      fit();
      new ResizeObserver(fit).observe(document.querySelector("article"));
    });
    set.finally(() => document.documentElement.classList.remove(HIDDEN));
  });
  window.mathematics = { fit, linesOf, rowsOf };
})();
