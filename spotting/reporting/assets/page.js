// Theme button, the choice of the row whose details are shown, values of charts, and signs where
// something scrolls sideways.
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

  // The value nearest to the pointer in a chart, without the wait of the browser's own tips.
  const tip = document.createElement("div");
  tip.className = "hover";
  tip.hidden = true;
  document.body.append(tip);
  for (const title of document.querySelectorAll("svg.plot title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  let near = null;
  function show(mark, event) {
    near?.classList.remove("near");
    near = mark;
    tip.hidden = !mark;
    if (!mark) return;
    mark.classList.add("near");
    tip.textContent = mark.dataset.tip;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${event.clientY + 18}px`;
  }
  function nearest(plot, event) {
    let best = null, least = event.pointerType === "touch" ? 30 : 16;
    for (const mark of plot.querySelectorAll(".mark[data-tip]")) {
      const box = mark.getBoundingClientRect();
      const distance = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (distance < least) [best, least] = [mark, distance];
    }
    const under = event.target.closest?.("[data-tip]");
    return best || under;
  }
  for (const plot of document.querySelectorAll("svg.plot")) {
    plot.addEventListener("pointermove", (event) => show(nearest(plot, event), event));
    plot.addEventListener("pointerdown", (event) => show(nearest(plot, event), event));
    plot.addEventListener("pointerleave", () => show(null));
  }

  function markScrolling() {
    for (const box of document.querySelectorAll(".scroll, figure")) {
      const scrolls = box.scrollWidth > box.clientWidth + 2;
      const sign = box.previousElementSibling?.matches(".more") ? box.previousElementSibling : null;
      if (scrolls && !sign) {
        box.insertAdjacentHTML("beforebegin", '<p class="more">Scroll sideways for the rest \u2192</p>');
        box.tabIndex = 0;
      } else if (!scrolls && sign) sign.remove();
    }
  }
  new ResizeObserver(markScrolling).observe(document.body);
  if (choice) choice.addEventListener("change", markScrolling);
})();
