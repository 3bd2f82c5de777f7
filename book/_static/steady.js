// The text appears once its mathematics is set, below the title that is there at once: nothing jumps.
// Without mathematics, or if MathJax does not load, it appears with the page; without scripts, always.
const hidden = "sets-mathematics";
document.documentElement.classList.add(hidden);
document.addEventListener("DOMContentLoaded", () => {
  const set = Promise.resolve(window.MathJax?.startup?.promise);
  set.finally(() => document.documentElement.classList.remove(hidden));
});
