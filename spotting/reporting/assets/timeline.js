// The timeline of one half: truth and spots by class, matched as SoccerNet's evaluator matches.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("timeline-data").textContent);
  const root = document.getElementById("timeline");
  const $ = (name) => root.querySelector(`[data-part="${name}"]`);
  const [main, overview, tip] = [$("lanes"), $("overview"), $("tip")];
  const state = { from: 0, to: 1, pinned: null };
  let half, outcome, items = [], layout;

  const { clock, lateness } = matching;
  const tickClock = (seconds) => clock(seconds * 1000).slice(0, 5);
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const option = (text, i) => `<option value="${i}">${escape(text)}</option>`;

  function evaluate() {
    const system = $("system").selectedIndex;
    const own = $("own").checked ? data.systems[system].thresholds : null;
    const limits = data.classes.map((_, k) => (own ? own[k] : Number($("threshold").value)));
    const tolerance = Number($("tolerance").value);
    outcome = matching.evaluate(half.truth, half.spots[system], limits, tolerance);
    $("shown").textContent = Number($("threshold").value).toFixed(2);
    $("threshold").disabled = Boolean(own);
    $("own").parentElement.hidden = !data.systems[system].thresholds;
    const { truths, spots } = outcome;
    const hits = spots.filter((spot) => spot.partner).length;
    const percent = (n, of) => (of ? `${Math.round((100 * n) / of)} %` : "–");
    $("summary").textContent = half.truth
      ? `This half: ${hits} hits, ${truths.length - hits} misses, ${spots.length - hits} false ` +
        `alarms. Precision ${percent(hits, spots.length)}, recall ${percent(hits, truths.length)}.`
      : `This half: ${spots.length} spots at this threshold.`;
  }

  const diamond = (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}Z`;
  const cross = (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;

  function draw() {
    const width = root.clientWidth;
    const narrow = width < 640;
    const laneHeight = narrow ? 54 : data.classes.length > 12 ? 42 : 48;
    const names = 12 + Math.max(...data.classes.map((name) => name.length)) * 7.4;
    const counts = half.truth && !narrow ? 104 : 8;
    layout = { left: narrow ? 8 : names, right: width - counts, top: 4, laneHeight };
    const nameHeight = narrow ? 17 : 1;
    const x = (ms) => layout.left + ((ms / 1000 - state.from) / (state.to - state.from)) *
      (layout.right - layout.left);
    const inside = (ms) => ms / 1000 >= state.from && ms / 1000 <= state.to;
    const base = (k) => layout.top + laneHeight * (k + 1) - 11;
    const y = (spot) => base(spot.label) - spot.confidence * (laneHeight - (narrow ? 30 : 20));
    const bottom = layout.top + laneHeight * data.classes.length;
    const parts = [];
    items = [];
    const remember = (item, px, py) => items.push({ item, px, py });

    data.classes.forEach((name, k) => {
      const top = layout.top + laneHeight * k;
      parts.push(`<rect class="lane" x="${layout.left}" y="${top}" rx="3" ` +
        `width="${layout.right - layout.left}" height="${laneHeight - 3}"/>`);
    });
    for (const value of tickValues(layout.right - layout.left)) {
      const px = x(value * 1000).toFixed(1);
      parts.push(`<path class="grid" d="M${px} ${layout.top}V${bottom}"/>` +
        `<text class="tick mid" x="${Math.min(Math.max(px, 18), width - 18)}" y="${bottom + 15}">` +
        `${tickClock(value)}</text>`);
    }
    data.classes.forEach((name, k) => {
      const top = layout.top + laneHeight * k;
      const limit = base(k) - outcome.limits[k] * (laneHeight - (narrow ? 30 : 20));
      parts.push(`<path class="limit" d="M${layout.left} ${limit.toFixed(1)}H${layout.right}"/>`);
      parts.push(narrow
        ? `<text class="lane-name" x="12" y="${top + 14}">${escape(name)}</text>`
        : `<text class="lane-name end" x="${layout.left - 10}" y="${top + laneHeight / 2 + 3}">` +
          `${escape(name)}</text>`);
      if (half.truth && !narrow) parts.push(laneCounts(k, layout.right + 12, top + laneHeight / 2));
    });
    for (const spot of outcome.below) {
      if (!inside(spot.ms)) continue;
      parts.push(`<circle class="faint" cx="${x(spot.ms).toFixed(1)}" cy="${y(spot).toFixed(1)}" r="1.7"/>`);
    }
    for (const truth of outcome.truths) {
      if (!inside(truth.ms)) continue;
      const [px, py] = [x(truth.ms).toFixed(1), base(truth.label)];
      parts.push(`<path class="truth${truth.visible ? "" : " unshown"}" ` +
        `d="M${px} ${layout.top + laneHeight * truth.label + nameHeight}v${laneHeight - 4 - nameHeight}"/>`);
      if (!truth.partner) parts.push(`<path class="miss" d="${diamond(px, py, 5.5)}"/>`);
      remember(truth, Number(px), py);
    }
    for (const spot of outcome.spots) {
      if (!inside(spot.ms)) continue;
      const [px, py] = [Number(x(spot.ms).toFixed(1)), Number(y(spot).toFixed(1))];
      if (spot.partner) {
        parts.push(`<path class="reach" d="M${px} ${py}H${x(spot.partner.ms).toFixed(1)}"/>`);
      }
      parts.push(spot.what === "false"
        ? `<path class="false" d="${cross(px, py, 4)}"/>`
        : `<circle class="hit" cx="${px}" cy="${py}" r="5"/>`);
      remember(spot, px, py);
    }
    main.setAttribute("viewBox", `0 0 ${width} ${bottom + 22}`);
    main.innerHTML = parts.join("");
    drawOverview(width);
    listItems();
    state.pinned = null;
    mark(null);
  }

  function laneCounts(k, px, py) {
    const count = (list, what) => list.filter((item) => item.label === k && item.what === what).length;
    const [hits, alarms] = [count(outcome.spots, "hit"), count(outcome.spots, "false")];
    const misses = count(outcome.truths, "miss");
    return `<circle class="hit" cx="${px}" cy="${py}" r="4"/>` +
      `<text class="tick" x="${px + 7}" y="${py + 4}">${hits}</text>` +
      `<path class="miss" d="${diamond(px + 33, py, 4.5)}"/>` +
      `<text class="tick" x="${px + 41}" y="${py + 4}">${misses}</text>` +
      `<path class="false" d="${cross(px + 66, py, 3)}"/>` +
      `<text class="tick" x="${px + 73}" y="${py + 4}">${alarms}</text>`;
  }

  function tickValues(pixels) {
    const wanted = (state.to - state.from) / Math.max(2, pixels / 80);
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
    const step = steps.find((s) => s >= wanted) || 3600;
    const values = [];
    for (let v = Math.ceil(state.from / step) * step; v <= state.to; v += step) values.push(v);
    return values;
  }

  // The whole half in little, with the window that is shown above.
  function drawOverview(width) {
    const x = (seconds) => layout.left + (seconds / half.seconds) * (layout.right - layout.left);
    const ticks = (list, what, css, y) => `<path class="${css}" d="${list
      .filter((item) => item.what === what)
      .map((item) => `M${x(item.ms / 1000).toFixed(1)} ${y}v9`).join("")}"/>`;
    const { spots, truths } = outcome;
    const parts = [
      `<rect class="lane" x="${layout.left}" y="1" width="${layout.right - layout.left}" height="40" rx="3"/>`,
      ticks(spots, half.truth ? "hit" : "spot", "hit", 4), ticks(truths, "miss", "miss", 16),
      ticks(spots, "false", "false", 28),
      `<rect class="view" x="${x(state.from).toFixed(1)}" y="1" rx="3" height="40" ` +
        `width="${Math.max(4, x(state.to) - x(state.from)).toFixed(1)}"/>`];
    if (layout.left > 8) parts.push(`<text class="tick end" x="${layout.left - 10}" y="25">whole half</text>`);
    overview.setAttribute("viewBox", `0 0 ${width} 42`);
    overview.innerHTML = parts.join("");
  }

  const names = { hit: "hit", miss: "miss", false: "false alarm", found: "in truth, found", spot: "spot" };
  function describe({ label, ms, what, isTruth, visible, confidence, partner }) {
    const rows = [`<b>${escape(data.classes[label])}: ${names[what]}</b>`, clock(ms)];
    rows.push(isTruth ? (visible ? "visible" : "not shown on the picture")
      : `confidence ${confidence.toFixed(3)}`);
    if (partner && isTruth) rows.push(`spot ${clock(partner.ms)}, ${lateness(partner.ms - ms)}`);
    if (partner && !isTruth) rows.push(`${lateness(ms - partner.ms)} (truth ${clock(partner.ms)})`);
    return rows.join("<br>").replace("</b><br>", "</b>");
  }

  function listItems() {
    const shown = items.map(({ item }) => item).filter((item) => item.what !== "found")
      .sort((a, b) => a.ms - b.ms);
    $("list-title").textContent = `List of what is shown (${shown.length})`;
    if (!$("list-title").parentElement.open) return;
    const rows = shown.map((item) => [clock(item.ms), escape(data.classes[item.label]), names[item.what],
      item.isTruth ? "" : item.confidence.toFixed(3),
      item.partner ? lateness(item.ms - item.partner.ms) : ""]);
    $("list").innerHTML = "<tr><th>time</th><th>class</th><th>outcome</th><th>confidence</th><th>error</th></tr>" +
      rows.map((cells) => `<tr><td>${cells.join("</td><td>")}</td></tr>`).join("");
  }

  function mark(found) {
    main.querySelector(".here")?.remove();
    tip.hidden = !found;
    if (!found) return;
    main.insertAdjacentHTML("beforeend", `<circle class="here" cx="${found.px}" cy="${found.py}" r="9"/>`);
    tip.innerHTML = describe(found.item);
    const left = Math.min(Math.max(4, found.px + 14), root.clientWidth - tip.offsetWidth - 4);
    const scroll = main.getBoundingClientRect().top - root.getBoundingClientRect().top;
    tip.style.left = `${left}px`;
    tip.style.top = `${scroll + found.py + 16}px`;
  }

  function nearest(event) {
    const box = main.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, least = 15;
    for (const candidate of items) {
      const distance = Math.hypot(candidate.px - px, candidate.py - py) + (candidate.item.what === "found" ? 4 : 0);
      if (distance < least) [best, least] = [candidate, distance];
    }
    return best;
  }

  function view(from, to) {
    const length = Math.min(half.seconds, Math.max(5, to - from));
    state.from = Math.min(Math.max(0, from), half.seconds - length);
    state.to = state.from + length;
    draw();
  }

  function zoom(factor, at = (state.from + state.to) / 2) {
    view(at - (at - state.from) * factor, at + (state.to - at) * factor);
  }

  function chooseHalf() {
    half = data.games[$("game").selectedIndex].halves[$("half").selectedIndex];
    evaluate();
    view(0, half.seconds);
  }

  function chooseGame() {
    const game = data.games[$("game").selectedIndex];
    $("half").innerHTML = game.halves.map((h, i) => option(String(h.number), i)).join("");
    chooseHalf();
  }

  const refresh = () => { evaluate(); draw(); };
  const secondsAt = (event) => state.from + (state.to - state.from) *
    (event.clientX - main.getBoundingClientRect().left - layout.left) / (layout.right - layout.left);

  main.addEventListener("wheel", (event) => {
    const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY * 0.004), secondsAt(event));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const move = sideways * (state.to - state.from) / (layout.right - layout.left);
      view(state.from + move, state.to + move);
    } else return;  // An ordinary wheel scrolls the page.
    event.preventDefault();
  }, { passive: false });

  let drag = null;
  main.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: state.from, to: state.to, moved: false };
  });
  main.addEventListener("pointermove", (event) => {
    if (drag && Math.abs(event.clientX - drag.x) > 3) {
      if (!drag.moved) main.setPointerCapture(event.pointerId);
      drag.moved = true;
      main.classList.add("dragging");
      const move = (drag.x - event.clientX) * (drag.to - drag.from) / (layout.right - layout.left);
      view(drag.from + move, drag.to + move);
    } else if (!drag && !state.pinned) mark(nearest(event));
  });
  const endDrag = (event) => {
    if (event.type === "pointerup" && drag && !drag.moved) mark(state.pinned = nearest(event));
    drag = null;
    main.classList.remove("dragging");
  };
  main.addEventListener("pointerup", endDrag);
  main.addEventListener("pointercancel", endDrag);
  main.addEventListener("pointerleave", () => { if (!state.pinned) mark(null); });
  main.addEventListener("dblclick", (event) => zoom(0.4, secondsAt(event)));
  main.addEventListener("keydown", (event) => {
    const step = 0.2 * (state.to - state.from);
    const actions = {
      ArrowLeft: () => view(state.from - step, state.to - step),
      ArrowRight: () => view(state.from + step, state.to + step),
      "+": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => view(0, half.seconds),
      Escape: () => { state.pinned = null; mark(null); },
    };
    if (!actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
  });

  const moveWindow = (event) => {
    const box = overview.getBoundingClientRect();
    const at = half.seconds * (event.clientX - box.left - layout.left) / (layout.right - layout.left);
    const length = state.to - state.from;
    view(at - length / 2, at + length / 2);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    if (state.to - state.from > 0.95 * half.seconds) zoom(0.25);
    moveWindow(event);
  });
  overview.addEventListener("pointermove", (event) => {
    if (overview.hasPointerCapture(event.pointerId)) moveWindow(event);
  });

  $("game").innerHTML = data.games.map((game, i) => option(game.name, i)).join("");
  $("system").innerHTML = data.systems.map((system, i) => option(system.name, i)).join("");
  $("system").parentElement.hidden = data.systems.length < 2;
  const withTruth = data.games.some((game) => game.halves.some((h) => h.truth));
  $("tolerance").parentElement.hidden = !withTruth;
  $("own").checked = data.systems.every((system) => system.thresholds);
  $("game").addEventListener("change", chooseGame);
  $("half").addEventListener("change", chooseHalf);
  for (const name of ["system", "tolerance", "own"]) $(name).addEventListener("change", refresh);
  $("threshold").addEventListener("input", refresh);
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("whole").addEventListener("click", () => view(0, half.seconds));
  $("list-title").parentElement.addEventListener("toggle", listItems);
  new ResizeObserver(draw).observe(root);
  chooseGame();
})();
