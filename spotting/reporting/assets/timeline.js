// The timeline of one half, or of a whole match: truth and spots by class, matched as SoccerNet's
// evaluator matches. What is shown stands in the address, so that it can be sent.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("timeline-data").textContent);
  const root = document.getElementById("timeline");
  const $ = (name) => root.querySelector(`[data-part="${name}"]`);
  const [main, overview, tip] = [$("lanes"), $("overview"), $("tip")];
  // Seconds on the axis, the item that is kept, the classes that are hidden.
  const state = { from: 0, to: 1, pinned: null, hidden: new Set() };
  const gap = 30;  // seconds between two halves that are shown at once
  // parts: the halves shown, each from `offset` on; outcome: their items, each with its place `at`.
  let parts = [], length = 1, outcome, listed = [], items = [], layout;

  const { clock, minute, escape, lateness } = matching;
  const tickClock = (seconds) => clock(seconds * 1000).split(".")[0];
  const option = (text, i) => `<option value="${i}">${escape(text)}</option>`;
  const hasTruth = () => parts.every(({ half }) => half.truth);
  const shownClasses = () => data.classes.map((_, k) => k).filter((k) => !state.hidden.has(k));
  const timeOf = (item) => {
    const match = minute(item.ms, item.half.period);
    return match ? `${clock(item.ms)} (minute ${match})` : clock(item.ms);
  };

  function evaluate() {
    const system = $("system").selectedIndex;
    const own = $("own").checked ? data.systems[system].thresholds : null;
    const limits = data.classes.map((_, k) => (own ? own[k] : Number($("threshold").value)));
    const tolerance = Number($("tolerance").value);
    outcome = { limits, truths: [], spots: [], below: [] };
    for (const { half, offset } of parts) {
      const found = matching.evaluate(half.truth, half.spots[system], limits, tolerance);
      for (const kind of ["truths", "spots", "below"]) {
        for (const item of found[kind]) {
          if (state.hidden.has(item.label)) continue;
          outcome[kind].push(Object.assign(item, { half, at: offset + item.ms / 1000 }));
        }
      }
    }
    const { truths, spots } = outcome;
    listed = [...truths.filter((truth) => truth.what === "miss"), ...spots].sort((a, b) => a.at - b.at);
    state.pinned = null;
    $("shown").textContent = Number($("threshold").value).toFixed(2);
    $("threshold").disabled = Boolean(own);
    $("own").parentElement.hidden = !data.systems[system].thresholds;
    const hits = spots.filter((spot) => spot.partner).length;
    const percent = (n, of) => (of ? `${Math.round((100 * n) / of)} %` : "–");
    const what = parts.length > 1 ? "This match" : "This half";
    const of = state.hidden.size ? `, ${shownClasses().length} of ${data.classes.length} classes` : "";
    $("summary").textContent = hasTruth()
      ? `${what}${of}: ${hits} hits, ${truths.length - hits} misses, ${spots.length - hits} false ` +
        `alarms. Precision ${percent(hits, spots.length)}, recall ${percent(hits, truths.length)}.`
      : `${what}${of}: ${spots.length} spots at this threshold.`;
    $("classes-title").textContent = state.hidden.size
      ? `Classes (${state.hidden.size} hidden)` : "Classes";
  }

  const diamond = (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}Z`;
  const cross = (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;

  function draw() {
    const width = root.clientWidth;
    const narrow = width < 640;
    const classes = shownClasses();
    const lane = new Map(classes.map((k, i) => [k, i]));
    const laneHeight = narrow ? 54 : classes.length > 12 ? 42 : 48;
    const names = 12 + Math.max(0, ...classes.map((k) => data.classes[k].length)) * 7.4;
    const counts = hasTruth() && !narrow ? 104 : 8;
    layout = { left: narrow ? 8 : Math.min(names, 0.4 * width), right: width - counts, laneHeight };
    layout.top = parts.length > 1 ? 22 : 4;
    const nameHeight = narrow ? 17 : 1;
    const x = (seconds) => layout.left + ((seconds - state.from) / (state.to - state.from)) *
      (layout.right - layout.left);
    const inside = ({ at }) => at >= state.from && at <= state.to;
    const laneTop = (k) => layout.top + laneHeight * lane.get(k);
    const base = (k) => laneTop(k) + laneHeight - 11;
    const y = (spot) => base(spot.label) - spot.confidence * (laneHeight - (narrow ? 30 : 20));
    const bottom = layout.top + laneHeight * classes.length;
    const drawn = [];
    items = [];
    const remember = (item, px, py) => items.push({ item, px, py });

    for (const k of classes) {
      drawn.push(`<rect class="lane" x="${layout.left}" y="${laneTop(k)}" rx="3" ` +
        `width="${layout.right - layout.left}" height="${laneHeight - 3}"/>`);
    }
    let last = -Infinity;  // where the last label of the axis stands
    for (const [index, { half, offset }] of parts.entries()) {
      // The next half's start has its label in any case.
      const next = parts[index + 1];
      const wall = next && next.offset <= state.to ? x(next.offset) - 40 : Infinity;
      const [begin, end] = [offset, offset + half.seconds].map((s) =>
        Math.min(Math.max(x(s), layout.left), layout.right));
      for (const value of tickValues(layout.right - layout.left)) {
        if (value > half.seconds || offset + value < state.from || offset + value > state.to) continue;
        const px = x(offset + value).toFixed(1);
        drawn.push(`<path class="grid" d="M${px} ${layout.top}V${bottom}"/>`);
        const place = Math.min(Math.max(px, 18), width - 18);
        if (place < last + 40 || place > wall) continue;
        last = place;
        drawn.push(`<text class="tick mid" x="${place}" y="${bottom + 15}">${tickClock(value)}</text>`);
      }
      if (parts.length > 1 && end > begin) {
        drawn.push(`<path class="axis" d="M${begin.toFixed(1)} 18H${end.toFixed(1)}"/>`);
        if (end - begin > 60) {
          drawn.push(`<text class="tick mid" x="${((begin + end) / 2).toFixed(1)}" y="12">` +
            `half ${half.number}</text>`);
        }
      }
    }
    for (const k of classes) {
      const name = escape(data.classes[k]);
      const limit = base(k) - outcome.limits[k] * (laneHeight - (narrow ? 30 : 20));
      drawn.push(`<path class="limit" d="M${layout.left} ${limit.toFixed(1)}H${layout.right}"/>`);
      drawn.push(narrow
        ? `<text class="lane-name" x="12" y="${laneTop(k) + 14}">${name}</text>`
        : `<text class="lane-name end" x="${layout.left - 10}" ` +
          `y="${laneTop(k) + laneHeight / 2 + 3}">${name}</text>`);
      if (hasTruth() && !narrow) {
        drawn.push(laneCounts(k, layout.right + 12, laneTop(k) + laneHeight / 2));
      }
    }
    for (const spot of outcome.below.filter(inside)) {
      drawn.push(`<circle class="faint" cx="${x(spot.at).toFixed(1)}" cy="${y(spot).toFixed(1)}" r="1.7"/>`);
    }
    for (const truth of outcome.truths.filter(inside)) {
      const [px, py] = [x(truth.at).toFixed(1), base(truth.label)];
      drawn.push(`<path class="truth${truth.visible ? "" : " unshown"}" ` +
        `d="M${px} ${laneTop(truth.label) + nameHeight}v${laneHeight - 4 - nameHeight}"/>`);
      if (!truth.partner) drawn.push(`<path class="miss" d="${diamond(px, py, 5.5)}"/>`);
      remember(truth, Number(px), py);
    }
    for (const spot of outcome.spots.filter(inside)) {
      const [px, py] = [Number(x(spot.at).toFixed(1)), Number(y(spot).toFixed(1))];
      if (spot.partner) {
        drawn.push(`<path class="reach" d="M${px} ${py}H${x(spot.partner.at).toFixed(1)}"/>`);
      }
      drawn.push(spot.what === "false"
        ? `<path class="false" d="${cross(px, py, 4)}"/>`
        : `<circle class="hit" cx="${px}" cy="${py}" r="5"/>`);
      remember(spot, px, py);
    }
    main.setAttribute("viewBox", `0 0 ${width} ${bottom + 22}`);
    main.innerHTML = drawn.join("");
    drawOverview(width);
    mark(placeOf(state.pinned));
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

  // Times from 0 to the end of the longest half, as far apart as the window's width allows.
  function tickValues(pixels) {
    const wanted = (state.to - state.from) / Math.max(2, pixels / 80);
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
    const step = steps.find((s) => s >= wanted) || 3600;
    const longest = Math.max(...parts.map(({ half }) => half.seconds));
    const values = [];
    for (let v = 0; v <= longest; v += step) values.push(v);
    return values;
  }

  // All that was chosen in little, with the window that is shown above.
  function drawOverview(width) {
    const x = (seconds) => layout.left + (seconds / length) * (layout.right - layout.left);
    const ticks = (list, what, css, y) => `<path class="${css}" d="${list
      .filter((item) => item.what === what)
      .map((item) => `M${x(item.at).toFixed(1)} ${y}v9`).join("")}"/>`;
    const { spots, truths } = outcome;
    const drawn = parts.map(({ half, offset }) => `<rect class="lane" x="${x(offset).toFixed(1)}" ` +
      `y="1" width="${(x(offset + half.seconds) - x(offset)).toFixed(1)}" height="40" rx="3"/>`);
    drawn.push(
      ticks(spots, "hit", "hit", 4), ticks(spots, "spot", "hit", 4), ticks(truths, "miss", "miss", 16),
      ticks(spots, "false", "false", 28),
      `<rect class="view" x="${x(state.from).toFixed(1)}" y="1" rx="3" height="40" ` +
        `width="${Math.max(4, x(state.to) - x(state.from)).toFixed(1)}"/>`);
    if (layout.left > 8) {
      drawn.push(`<text class="tick end" x="${layout.left - 10}" y="25">` +
        `${parts.length > 1 ? "whole match" : "whole half"}</text>`);
    }
    overview.setAttribute("viewBox", `0 0 ${width} 42`);
    overview.innerHTML = drawn.join("");
  }

  const names = { hit: "hit", miss: "miss", false: "false alarm", found: "in truth, found", spot: "spot" };
  function describe(item) {
    const { label, ms, what, isTruth, visible, confidence, partner } = item;
    const rows = [`<b>${escape(data.classes[label])}: ${names[what]}</b>`, timeOf(item)];
    if (parts.length > 1) rows[1] = `half ${item.half.number}, ${rows[1]}`;
    rows.push(isTruth ? (visible ? "visible" : "not shown on the picture")
      : `confidence ${confidence.toFixed(3)}`);
    if (partner && isTruth) rows.push(`spot ${clock(partner.ms)}, ${lateness(partner.ms - ms)}`);
    if (partner && !isTruth) rows.push(`${lateness(ms - partner.ms)} (truth ${clock(partner.ms)})`);
    return rows.join("<br>").replace("</b><br>", "</b>");
  }

  function listItems() {
    $("list-title").textContent = `List of ${hasTruth() ? "spots and misses" : "spots"} (${listed.length})`;
    if (!$("list-title").parentElement.open) return;
    const several = parts.length > 1;
    const titles = [...(several ? ["half"] : []), "time", "minute", "class", "outcome", "confidence", "error"];
    const rows = listed.map((item) => [
      ...(several ? [item.half.number] : []),
      clock(item.ms), minute(item.ms, item.half.period), escape(data.classes[item.label]), names[item.what],
      item.isTruth ? "" : item.confidence.toFixed(3),
      item.partner ? lateness(item.ms - item.partner.ms) : ""]);
    $("list").innerHTML = `<tr><th>${titles.join("</th><th>")}</th></tr>` + rows.map((cells, i) =>
      `<tr tabindex="0" data-item="${i}"><td>${cells.join("</td><td>")}</td></tr>`).join("");
  }

  const placeOf = (item) => (item && items.find((candidate) => candidate.item === item)) || null;

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

  function pin(item) {
    state.pinned = item;
    mark(placeOf(item));
    remember();
  }

  function nearest(event) {
    const box = main.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, least = event.pointerType === "touch" ? 24 : 15;
    for (const candidate of items) {
      const distance = Math.hypot(candidate.px - px, candidate.py - py) + (candidate.item.what === "found" ? 4 : 0);
      if (distance < least) [best, least] = [candidate, distance];
    }
    return best;
  }

  function view(from, to) {
    const span = Math.min(length, Math.max(5, to - from));
    state.from = Math.min(Math.max(0, from), length - span);
    state.to = state.from + span;
    draw();
    remember();
  }

  const whole = () => view(0, length);

  function zoom(factor, at = (state.from + state.to) / 2) {
    view(at - (at - state.from) * factor, at + (state.to - at) * factor);
  }

  // Shows an item, at most `span` seconds around it.
  function goTo(item, span = Infinity) {
    const now = state.to - state.from;
    const wanted = Math.min(now, span);
    const margin = 0.05 * now;
    const isSeen = item.at >= state.from + margin && item.at <= state.to - margin;
    state.pinned = item;
    if (wanted < now || !isSeen) view(item.at - wanted / 2, item.at + wanted / 2);
    else pin(item);
  }

  // The next item (1) or the one before (-1), in the next half if need be.
  function step(direction) {
    const ordered = direction > 0 ? listed : [...listed].reverse();
    const place = ordered.indexOf(state.pinned);
    const isAhead = direction > 0 ? ({ at }) => at >= state.from : ({ at }) => at <= state.to;
    const item = place >= 0 ? ordered[place + 1] : ordered.find(isAhead);
    if (item) return goTo(item);
    const half = $("half").selectedIndex + direction;
    const isHalf = half >= 0 && half < game().halves.length && $("half").selectedIndex < game().halves.length;
    if (!isHalf) return undefined;
    $("half").selectedIndex = half;
    chooseHalf();
    const first = direction > 0 ? listed[0] : listed.at(-1);
    return first && goTo(first);
  }

  const game = () => data.games[$("game").selectedIndex];

  function chooseHalf() {
    const chosen = game().halves[$("half").selectedIndex];
    parts = [];
    length = 0;
    for (const half of chosen ? [chosen] : game().halves) {
      if (parts.length) length += gap;
      parts.push({ half, offset: length });
      length += Math.max(1, half.seconds);
    }
    $("whole").textContent = chosen ? "Whole half" : "Whole match";
    evaluate();
    listItems();
    whole();
  }

  function chooseGame() {
    const { halves } = game();
    const all = halves.length > 1 ? option(halves.length > 2 ? "all" : "both", halves.length) : "";
    $("half").innerHTML = halves.map((h, i) => option(h.number, i)).join("") + all;
    chooseHalf();
  }

  function refresh() {
    evaluate();
    listItems();
    draw();
    remember();
  }

  // The address

  let isReady = false, waiting = 0;

  function addressOf() {
    const words = new URLSearchParams({ game: game().name });
    const half = game().halves[$("half").selectedIndex];
    words.set("half", half ? half.number : "all");
    if (data.systems.length > 1) words.set("method", data.systems[$("system").selectedIndex].name);
    words.set("threshold", $("own").checked && !$("own").parentElement.hidden ? "own" : $("threshold").value);
    if (hasTruth()) words.set("tolerance", $("tolerance").value);
    for (const k of state.hidden) words.append("hide", data.classes[k]);
    if (state.to - state.from < length) {
      words.set("from", state.from.toFixed(1));
      words.set("to", state.to.toFixed(1));
    }
    if (state.pinned) {
      words.set("t", (state.pinned.at).toFixed(3));
      words.set("class", data.classes[state.pinned.label]);
    }
    return `#${words}`;
  }

  function remember() {
    if (!isReady) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      try { history.replaceState(null, "", addressOf()); } catch { /* some viewers have no history */ }
    }, 250);
  }

  // Shows what the address tells; whether it tells anything.
  function readAddress() {
    const words = new URLSearchParams(location.hash.slice(1));
    const chosen = data.games.findIndex(({ name }) => name === words.get("game"));
    if (chosen < 0) return false;
    const number = (name, otherwise) => {
      const value = Number(words.get(name));
      return words.has(name) && Number.isFinite(value) ? value : otherwise;
    };
    $("game").selectedIndex = chosen;
    const system = data.systems.findIndex(({ name }) => name === words.get("method"));
    if (system >= 0) $("system").selectedIndex = system;
    $("own").checked = words.get("threshold") === "own";
    if (!$("own").checked) $("threshold").value = number("threshold", 0.5);
    if ([...$("tolerance").options].some(({ value }) => value === words.get("tolerance"))) {
      $("tolerance").value = words.get("tolerance");
    }
    const hidden = words.getAll("hide");
    state.hidden = new Set(data.classes.map((_, k) => k).filter((k) => hidden.includes(data.classes[k])));
    showChoice();
    chooseGame();
    const half = game().halves.findIndex((h) => String(h.number) === words.get("half"));
    $("half").selectedIndex = words.get("half") === "all" ? $("half").options.length - 1 : Math.max(0, half);
    chooseHalf();
    const at = number("t", null);
    if (at !== null) {
      const places = [...outcome.spots, ...outcome.truths].filter((item) => Math.abs(item.at - at) < 0.01);
      state.pinned = places.find(({ label }) => data.classes[label] === words.get("class")) || null;
    }
    const around = at === null ? [0, length] : [at - 60, at + 60];
    view(number("from", around[0]), number("to", around[1]));
    return true;
  }

  // Classes

  function showChoice() {
    for (const box of $("classes").querySelectorAll("input")) {
      box.checked = !state.hidden.has(Number(box.value));
    }
  }

  function hide(classes) {
    state.hidden = new Set(classes);
    showChoice();
    refresh();
  }

  // Pointers and keys

  const secondsAt = (clientX) => state.from + (state.to - state.from) *
    (clientX - main.getBoundingClientRect().left - layout.left) / (layout.right - layout.left);

  main.addEventListener("wheel", (event) => {
    const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY * 0.004), secondsAt(event.clientX));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const move = sideways * (state.to - state.from) / (layout.right - layout.left);
      view(state.from + move, state.to + move);
    } else return;  // An ordinary wheel scrolls the page.
    event.preventDefault();
  }, { passive: false });

  let drag = null, pinch = null;
  const pointers = new Map();  // id: x
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { apart: Math.max(20, Math.abs(a - b)), middle: (a + b) / 2 };
  };
  main.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event.clientX);
    if (pointers.size === 2) {
      for (const id of pointers.keys()) main.setPointerCapture(id);
      const { apart, middle } = spread();
      pinch = { apart, at: secondsAt(middle), span: state.to - state.from };
      drag = null;
    } else if (pointers.size === 1) {
      drag = { x: event.clientX, from: state.from, to: state.to, moved: false };
    }
  });
  main.addEventListener("pointermove", (event) => {
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event.clientX);
    if (pinch && pointers.size === 2) {
      const { apart, middle } = spread();
      const span = Math.min(length, Math.max(5, pinch.span * pinch.apart / apart));
      const share = (middle - main.getBoundingClientRect().left - layout.left) / (layout.right - layout.left);
      view(pinch.at - share * span, pinch.at + (1 - share) * span);
    } else if (drag && Math.abs(event.clientX - drag.x) > 3) {
      if (!drag.moved) main.setPointerCapture(event.pointerId);
      drag.moved = true;
      main.classList.add("dragging");
      const move = (drag.x - event.clientX) * (drag.to - drag.from) / (layout.right - layout.left);
      view(drag.from + move, drag.to + move);
    } else if (!drag && !pinch && !state.pinned) mark(nearest(event));
  });
  const endDrag = (event) => {
    if (event.type === "pointerup" && drag && !drag.moved) pin(nearest(event)?.item || null);
    pointers.delete(event.pointerId);
    drag = null;
    if (!pointers.size) pinch = null;
    main.classList.remove("dragging");
  };
  main.addEventListener("pointerup", endDrag);
  main.addEventListener("pointercancel", endDrag);
  main.addEventListener("pointerleave", () => { if (!state.pinned) mark(null); });
  main.addEventListener("dblclick", (event) => zoom(0.4, secondsAt(event.clientX)));
  main.addEventListener("keydown", (event) => {
    const move = 0.2 * (state.to - state.from);
    const actions = {
      ArrowLeft: () => view(state.from - move, state.to - move),
      ArrowRight: () => view(state.from + move, state.to + move),
      "+": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: whole,
      Escape: () => pin(null),
    };
    if (!actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = /^(SELECT|TEXTAREA)$/.test(event.target.tagName) ||
      (event.target.tagName === "INPUT" && !/^(checkbox|range)$/.test(event.target.type));
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
  });

  const moveWindow = (event) => {
    const box = overview.getBoundingClientRect();
    const at = length * (event.clientX - box.left - layout.left) / (layout.right - layout.left);
    const span = state.to - state.from;
    view(at - span / 2, at + span / 2);
  };
  overview.addEventListener("pointerdown", (event) => {
    overview.setPointerCapture(event.pointerId);
    if (state.to - state.from > 0.95 * length) zoom(0.25);
    moveWindow(event);
  });
  overview.addEventListener("pointermove", (event) => {
    if (overview.hasPointerCapture(event.pointerId)) moveWindow(event);
  });

  const goToRow = (event) => {
    const row = event.target.closest("tr[data-item]");
    if (!row) return;
    goTo(listed[Number(row.dataset.item)], 120);
    main.scrollIntoView({ block: "nearest" });
  };
  $("list").addEventListener("click", goToRow);
  $("list").addEventListener("keydown", (event) => { if (event.key === "Enter") goToRow(event); });

  $("game").innerHTML = data.games.map(({ name }, i) => option(name, i)).join("");
  $("system").innerHTML = data.systems.map((system, i) => option(system.name, i)).join("");
  $("system").parentElement.hidden = data.systems.length < 2;
  $("classes").innerHTML = data.classes.map((name, k) =>
    `<label><input type="checkbox" checked value="${k}"> ${escape(name)}</label>`).join("");
  const withTruth = data.games.some(({ halves }) => halves.some((h) => h.truth));
  $("tolerance").parentElement.hidden = !withTruth;
  $("own").checked = data.systems.every((system) => system.thresholds);
  $("game").addEventListener("change", chooseGame);
  $("half").addEventListener("change", chooseHalf);
  for (const name of ["system", "tolerance", "own"]) $(name).addEventListener("change", refresh);
  $("threshold").addEventListener("input", refresh);
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("whole").addEventListener("click", whole);
  $("next").addEventListener("click", () => step(1));
  $("previous").addEventListener("click", () => step(-1));
  $("classes").addEventListener("change", () =>
    hide([...$("classes").querySelectorAll("input")].filter((box) => !box.checked).map((box) => Number(box.value))));
  $("all-classes").addEventListener("click", () => hide([]));
  $("no-classes").addEventListener("click", () => hide(data.classes.keys()));
  $("list-title").parentElement.addEventListener("toggle", listItems);
  const openAddress = () => { if (readAddress()) root.scrollIntoView(); };
  window.addEventListener("hashchange", openAddress);
  chooseGame();
  openAddress();
  new ResizeObserver(draw).observe(root);
  isReady = true;
})();
