// A link to an equation, a theorem, an exercise, a figure, a term or a reference shows it while the pointer rests on the link
// or the link has the focus. What it shows is a template at the end of the page, from book/_ext/previews.py.
"use strict";

(() => {
  const DELAY = 250; // milliseconds that a pointer rests on a link, or is away from it
  const GAP = 6; // pixels between a link and what it shows

  function start() {
    const templates = new Map();
    for (const template of document.querySelectorAll("template[data-preview]")) {
      templates.set(template.dataset.preview, template);
    }
    if (!templates.size) return;
    const box = document.createElement("div");
    box.className = "preview";
    box.id = "preview";
    box.setAttribute("role", "tooltip");
    box.hidden = true;
    document.querySelector("article").append(box);
    let link = null; // whose preview is shown
    let timer = 0;

    const linkAt = (event) => {
      const found = event.target.closest?.("article a.internal");
      return found && !box.contains(found) && templates.has(found.getAttribute("href")) ? found : null;
    };

    async function show(from) {
      hide();
      link = from;
      box.replaceChildren(templates.get(from.getAttribute("href")).content.cloneNode(true));
      if (box.querySelector(".math")) {
        if (!window.MathJax?.typesetPromise) return;
        await window.MathJax.typesetPromise([box]);
        if (link !== from) return;
      }
      from.setAttribute("aria-describedby", box.id);
      box.hidden = false;
      window.mathematics?.fit();
      place(from);
    }

    /* Below the link where there is room, or else above; within the page. */
    function place(from) {
      const home = box.offsetParent.getBoundingClientRect();
      const at = from.getClientRects()[0];
      const left = Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8);
      const below = at.bottom + GAP + box.offsetHeight < window.innerHeight || at.top < box.offsetHeight + GAP;
      const top = below ? at.bottom + GAP : at.top - GAP - box.offsetHeight;
      box.style.left = `${Math.max(8, left) - home.left}px`;
      box.style.top = `${top - home.top}px`;
    }

    function hide() {
      clearTimeout(timer);
      link?.removeAttribute("aria-describedby");
      link = null;
      box.hidden = true;
    }

    const later = (what) => {
      clearTimeout(timer);
      timer = setTimeout(what, DELAY);
    };

    document.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch") return; // a tap follows the link
      const found = linkAt(event);
      if (found && found !== link) later(() => show(found));
      else if (found || box.contains(event.target)) clearTimeout(timer);
      else later(hide);
    });
    document.addEventListener("focusin", (event) => {
      const found = linkAt(event);
      if (found && found.matches(":focus-visible")) show(found);
      else if (link) hide();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
    });
  }

  document.addEventListener("DOMContentLoaded", start);
})();
