// Theme button, and the choice of the row whose details are shown.
(() => {
  "use strict";
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const label = () => { button.textContent = current() === "dark" ? "Light page" : "Dark page"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();

  const choice = document.getElementById("row-choice");
  if (choice) {
    const details = [...document.querySelectorAll(".row-details")];
    const show = () => details.forEach((part, i) => { part.hidden = i !== choice.selectedIndex; });
    choice.closest(".controls").hidden = details.length < 2;
    choice.addEventListener("change", show);
    show();
  }
})();
