// Questions at the end of a chapter: a choice shows why it is right or wrong. What has been answered rightly stays in this
// browser, and marks the chapter in the sidebar of every page.
"use strict";

(() => {
  const KEY = "questions-answered"; // {"book/flattening": {of: 3, right: ["question-1"]}}

  const root = new URL(document.documentElement.dataset.content_root ?? "./", document.baseURI).href;
  const nameOf = (address) => address.split(/[?#]/)[0].slice(root.length).replace(/\.html$/, "");

  /* A browser may keep nothing for a page; then the marks last as long as the page. */
  function storage() {
    try {
      return window.localStorage;
    } catch (error) {
      console.info(`No progress is kept: ${error.message}`);
      return null;
    }
  }

  const kept = storage();

  function recalled() {
    try {
      return JSON.parse(kept?.getItem(KEY) ?? "{}");
    } catch (error) {
      console.info(`The progress that was kept cannot be read: ${error.message}`);
      return {};
    }
  }

  const progress = recalled();
  const here = nameOf(document.baseURI);

  function keep(right, of) {
    if (right.length) progress[here] = { of, right };
    else delete progress[here];
    kept?.setItem(KEY, JSON.stringify(progress));
    mark();
  }

  /* --- the sidebar --- */

  function mark() {
    document.querySelectorAll(".bd-sidebar-primary a.reference.internal").forEach((link) => {
      link.querySelector(".progress-mark")?.remove();
      const { of, right } = progress[nameOf(link.href)] ?? {};
      if (!of) return;
      const done = right.length === of;
      const shown = element("span", { className: "progress-mark", textContent: done ? "✓" : `${right.length}/${of}` });
      shown.classList.toggle("done", done);
      shown.setAttribute("role", "img");
      shown.setAttribute("aria-label", `${right.length} of ${of} questions answered`);
      shown.title = shown.getAttribute("aria-label");
      link.append(" ", shown);
    });
  }

  /* --- a question --- */

  function enliven(question, all) {
    const asked = question.querySelector(".asked");
    const list = question.querySelector("ol");
    const items = [...list.children];
    const answers = [...question.querySelectorAll(".answer")];
    asked.id = `${question.id}-asked`;
    list.setAttribute("role", "radiogroup");
    list.setAttribute("aria-labelledby", asked.id);
    question.querySelector(".answers").setAttribute("role", "status");
    const choose = (chosen) => {
      items.forEach((item, place) => item.classList.toggle("chosen", place === chosen));
      answers.forEach((answer, place) => answer.classList.toggle("chosen", place === chosen));
    };
    const inputs = items.map((item, place) => {
      const input = element("input", { type: "radio", name: question.id, autocomplete: "off" });
      const label = element("label", {});
      const text = element("span", {});
      text.append(...item.firstElementChild.childNodes);
      label.append(input, text);
      item.setAttribute("role", "presentation");
      item.replaceChildren(label);
      input.addEventListener("change", () => {
        choose(place);
        if (!item.classList.contains("right")) return;
        const right = new Set(progress[here]?.right).add(question.id);
        keep([...right].sort(), all.length);
      });
      return input;
    });
    question.classList.add("live");
    const forget = () => {
      choose(-1);
      for (const input of inputs) input.checked = false;
    };
    if (progress[here]?.right.includes(question.id)) {
      const right = items.findIndex((item) => item.classList.contains("right"));
      inputs[right].checked = true;
      choose(right);
    }
    return forget;
  }

  function element(name, properties) {
    return Object.assign(document.createElement(name), properties);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const questions = [...document.querySelectorAll(".question")];
    const forgetting = questions.map((question) => enliven(question, questions));
    if (questions.length) {
      const again = element("button", { type: "button", className: "ask-again", textContent: "Forget my answers" });
      again.addEventListener("click", () => {
        forgetting.forEach((forget) => forget());
        keep([], questions.length);
      });
      questions.at(-1).after(again);
    }
    mark();
  });
})();
