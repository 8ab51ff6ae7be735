// The page: buttons and keys to what they do, and what is shown to what is there.
(async () => {
  "use strict";

  const part = (id) => document.getElementById(id);
  const body = document.body;

  let data;
  try {
    data = await storage.Storage.open();
  } catch (error) {
    part("notice").hidden = false;
    part("notice-text").textContent = `The match cannot be loaded: ${error.message}`;
    return;
  }

  const spots = new model.Model(data);
  const video = new player.Player(part("video"), data, () => showPlayer());
  const lanes = new timeline.Timeline(part("lanes"), part("timeline"), part("tip"), spots, {
    seek: (ms) => video.seek(video.half.number, ms),
    select: (id) => select(id),
  });
  const rows = new list.List(part("list"), spots, (id) => select(id));
  const saving = new storage.Storage(spots, showSaved);
  let selected = null;

  const current = () => (selected === null ? undefined : spots.get(selected));
  const announce = (text) => (part("announce").textContent = text);

  // ---- What people do ----

  function select(id, { seek = true } = {}) {
    selected = id;
    const item = current();
    if (item && seek) {
      video.pause();
      video.seek(item.half, item.position);
      lanes.reveal(item.position);
    }
    showSpot();
    rows.refresh(selected, true);
    lanes.selected = selected;
    lanes.request();
    if (item) announce(`${item.label} at ${formats.shortClock(item.position)} of half ${item.half}, ${item.status}`);
  }

  function go(step, accepts) {
    const from = current() ?? { half: video.half.number, position: video.ms, label: "", id: "" };
    const next = spots.neighbour(from, step, accepts);
    if (next) select(next.id);
    else announce(step > 0 ? "No spot after this one" : "No spot before this one");
    return Boolean(next);
  }

  function canWrite() {
    if (saving.pen) return true;
    announce("This match is open in another window");
    return false;
  }

  // Changes the selected spot; true if it did.
  function change(values, what) {
    const item = current();
    if (!item || !canWrite()) return false;
    const after = { ...item, ...values };
    if (Object.keys(values).every((key) => item[key] === after[key])) return false;
    spots.change({ [item.id]: after }, what);
    announce(what);
    return true;
  }

  function decide(status) {
    const item = current();
    if (!item || !canWrite()) return;
    change({ status }, `${item.label} ${status}`);
    const following = spots.neighbour(item, 1, (other) => other.status === "candidate");
    if (following) select(following.id);
    else select(item.id, { seek: false });
  }

  function move(half, position) {
    if (!change({ half, position: Math.max(0, Math.round(position)) }, `moved to ${formats.clock(position)}`)) return;
    video.pause();
    video.seek(half, current().position);
  }

  function moveBy(frames) {
    const item = current();
    if (!item) return;
    const half = spots.halves.get(item.half);
    const frame = video.frameAt(half, item.position) + frames;
    move(item.half, video.startOf(half, frame));
  }

  function relabel(label) {
    change({ label }, `now ${label}`);
    part("label").blur();
  }

  function add(label) {
    if (!canWrite()) return;
    const id = spots.newId();
    const item = { id, half: video.half.number, position: video.frameStart, label, confidence: null,
      status: "confirmed", visible: true, by: "person" };
    spots.change({ [id]: item }, `${label} added`);
    // A person who labels while the video plays goes on watching.
    select(id, { seek: false });
  }

  function undo(redo) {
    if (!canWrite()) return;
    const step = redo ? spots.redo() : spots.undo();
    if (!step) return;
    const [id] = Object.keys(step.after);
    announce(`${redo ? "Done again" : "Undone"}: ${step.what}`);
    select(spots.get(id) ? id : null);
  }

  function filterClasses(hidden) {
    spots.filter({ hidden: new Set(hidden) });
  }

  function only() {
    const label = current()?.label;
    const others = spots.classes.filter((name) => name !== label);
    const isOnly = spots.hidden.size === others.length;
    if (label !== undefined) filterClasses(isOnly ? [] : others);
  }

  // ---- Classes and their keys ----

  const DIGITS = "1234567890";
  const keyName = (k) => (k < 10 ? DIGITS[k] : k < 20 ? `⇧${DIGITS[k - 10]}` : "");

  function classOfKey(event) {
    const match = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    if (!match || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const k = (Number(match[1]) + 9) % 10;
    return data.classes[event.shiftKey ? k + 10 : k];
  }

  function choose(title, then) {
    const dialog = part("palette");
    part("palette-title").textContent = title;
    part("palette-list").replaceChildren(...data.classes.map((name, k) => {
      const button = document.createElement("button");
      button.type = "button";
      const key = document.createElement("kbd");
      key.textContent = keyName(k);
      button.append(...(keyName(k) ? [key] : []), name);
      button.addEventListener("click", () => {
        dialog.close();
        then(name);
      });
      return button;
    }));
    dialog.onkeydown = (event) => {
      const name = classOfKey(event);
      if (name === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      dialog.close();
      then(name);
    };
    dialog.showModal();
  }

  // ---- What is shown ----

  function showPlayer() {
    body.classList.toggle("playing", video.isPlaying);
    part("play").setAttribute("aria-label", video.isPlaying ? "Pause" : "Play");
    const entry = data.videos[video.half.video];
    const missing = video.failed.has(video.half.video);
    part("no-picture").hidden = !missing;
    for (const id of ["play", "speed", "around"]) part(id).disabled = missing || (id === "around" && !current());
    if (missing) {
      const problem = entry.problem || (data.server ? "this browser does not play it" : "it was not found, or this browser does not play it");
      part("problem").textContent = `${entry.name}: ${problem}.`;
      part("command").textContent = entry.command;
      part("mend").hidden = !entry.command;
      part("choose-row").hidden = data.server;
    }
    for (const button of part("halves").children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.half) === video.half.number));
    }
    lanes.setHalf(video.half);
    showHead();
  }

  function showHead() {
    const minute = formats.minute(video.half, video.ms);
    part("clock").textContent = formats.clock(video.ms);
    const small = document.createElement("small");
    small.textContent = minute ? `${minute}′` : `frame ${video.frameAt(video.half, video.ms)}`;
    part("clock").append(small);
    lanes.setHead(video.ms, video.isPlaying);
  }

  const WORDS = { candidate: "to look at", confirmed: "confirmed", rejected: "rejected" };

  function showSpot() {
    const item = current();
    for (const control of part("spot").querySelectorAll("button, select, input")) control.disabled = !item;
    for (const id of ["previous", "next"]) part(id).disabled = false;
    part("label").value = item?.label ?? "";
    part("unseen").checked = item ? !item.visible : false;
    part("spot-time").textContent = item ? formats.clock(item.position) : "No spot selected";
    part("spot-confidence").textContent = item && item.confidence !== null ? item.confidence.toFixed(2) : "";
    part("spot-state").textContent = item ? WORDS[item.status] : "";
    part("spot-state").className = `state ${item?.status ?? ""}`;
    part("accept").disabled = !item || item.status === "confirmed";
    part("reject").disabled = !item || item.status === "rejected";
    part("around").disabled = !item || video.failed.has(video.half.video);
  }

  function showModel() {
    if (selected !== null && !spots.get(selected)) selected = null;
    const counts = spots.counts();
    for (const count of document.querySelectorAll("[data-count]")) count.textContent = counts[count.dataset.count];
    const looked = counts.confirmed + counts.rejected;
    part("progress").textContent = data.annotate
      ? `${counts.confirmed} labelled` : `${looked} of ${looked + counts.candidate}`;
    part("progress-long").hidden = data.annotate;
    part("progress-bar").value = looked / Math.max(1, looked + counts.candidate);
    part("progress-bar").hidden = data.annotate;
    part("threshold-shown").textContent = spots.threshold.toFixed(2);
    part("threshold").value = spots.threshold;
    const shown = spots.shown().length;
    part("shown").textContent = `${shown} ${shown === 1 ? "spot" : "spots"} shown`;
    part("classes-shown").textContent = spots.hidden.size
      ? `${spots.classes.length - spots.hidden.size} of ${spots.classes.length}` : "all";
    for (const box of part("classes").querySelectorAll("input")) box.checked = !spots.hidden.has(box.value);
    part("undo").disabled = !spots.done.length;
    part("redo").disabled = !spots.undone.length;
    lanes.setLanes();
    lanes.selected = selected;
    lanes.refresh();
    rows.refresh(selected, false);
    showSpot();
  }

  function showSaved(state, text) {
    const saved = part("saved");
    saved.className = `saved ${state === "late" ? "late" : ""}`;
    const words = { saved: "Saved", saving: "Saving…", kept: "Kept in this browser", late: "Not saved", taken: "Read only" };
    saved.textContent = words[state];
    if (state === "late") notice(text);
    else if (state === "taken") {
      notice("This match is open in another window, or was changed there. What you change is saved in one window only.",
        "Work here", () => saving.take());
    } else notice("");
  }

  function notice(text, button = "", then = null) {
    const bar = part("notice");
    bar.hidden = !text;
    if (part("notice-text").textContent !== text) part("notice-text").textContent = text;
    part("notice-button").hidden = !button;
    part("notice-button").textContent = button;
    part("notice-button").onclick = then;
  }

  // ---- Exports ----

  const EXPORTS = [
    ["labels", "SoccerNet labels", "Labels-v2.json, to train on"],
    ["sportscode", "Sportscode XML", "Hudl Sportscode, LongoMatch, Nacsport, Metrica Nexus"],
    ["csv", "Table (CSV)", "for spreadsheets, with the video's seconds"],
    ["webvtt", "Chapters (WebVTT)", "for VLC, mpv and web pages"],
    ["osl", "OpenSportsLab JSON", "for its annotation tool"],
    ["soccernet", "SoccerNet results", "results_spotting.json, for its evaluator"],
  ];

  function download(files) {
    for (const [name, content] of Object.entries(files)) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([content]));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }
    part("export-said").textContent = `Downloaded ${Object.keys(files).join(", ")}`;
  }

  const margins = () => [Number(part("lead").value) || 0, Number(part("lag").value) || 0];

  async function exportFormat(format) {
    try {
      if (!data.server || format === "labels") {
        download(formats.files(format, spots, ...margins()));
        return;
      }
      await saving.settle();
      const [lead, lag] = margins();
      const answer = await fetch(`export/${format}?lead=${lead}&lag=${lag}`);
      const content = await answer.json();
      if (!answer.ok) throw new Error(content.error);
      download(content);
    } catch (error) {
      part("export-said").textContent = `Not exported: ${error.message}`;
    }
  }

  async function exportClips(button) {
    button.disabled = true;
    part("export-said").textContent = "Cutting…";
    try {
      await saving.settle();
      const [lead, lag] = margins();
      const { status, content } = await storage.post("clips", "POST", { lead, lag });
      part("export-said").textContent = status === 200
        ? `${content.count} clips in ${content.folder}` : `Not cut: ${content.error}`;
    } catch {
      part("export-said").textContent = `Not cut: ${saving.late || "no connection to the server"}`;
    }
    button.disabled = false;
  }

  function showExports() {
    const count = spots.confirmed().length;
    part("export-count").textContent = `${count} confirmed ${count === 1 ? "spot" : "spots"}.`;
    part("export-said").textContent = "";
    part("export-dialog").showModal();
  }

  function fillExports() {
    const entries = data.server ? [...EXPORTS, ["clips", "Clips", "cut from the video without encoding, into the review's folder"]]
      : [...EXPORTS, ["state", "Review file", "review.json: all spots and decisions, to go on with the review command"]];
    part("exports").replaceChildren(...entries.map(([format, name, what]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.format = format;
      const small = document.createElement("small");
      small.textContent = what;
      button.append(name, small);
      button.addEventListener("click", () => (format === "clips" ? exportClips(button) : exportFormat(format)));
      return button;
    }));
    part("lead").value = data.lead;
    part("lag").value = data.lag;
  }

  // ---- Keys ----

  const KEYS = [
    ["Space", "K", "play or pause", () => video.toggle()],
    ["←", "", "back one frame", () => video.step(-1)],
    ["→", "", "forward one frame", () => video.step(1)],
    ["⇧←", "", "back one second", () => video.skip(-1)],
    ["⇧→", "", "forward one second", () => video.skip(1)],
    ["J", "", "back five seconds", () => video.skip(-5)],
    ["L", "", "forward five seconds", () => video.skip(5)],
    ["N", "↓", "next spot", () => go(1)],
    ["P", "↑", "previous spot", () => go(-1)],
    ["G", "", "play around the spot", () => around()],
    ["A", "Enter", "accept, and go to the next", () => decide("confirmed")],
    ["R", "Delete", "reject, and go to the next", () => decide("rejected")],
    [",", "", "move the spot one frame earlier", () => moveBy(-1)],
    [".", "", "move the spot one frame later", () => moveBy(1)],
    ["M", "", "move the spot to the playhead", () => current() && move(video.half.number, video.frameStart)],
    ["C", "", "change the class", () => current() && choose("Change to", relabel)],
    ["H", "", "not shown on the picture", () => current() && change({ visible: !current().visible }, "changed")],
    ["I", "", "add a spot at the playhead", () => choose("Add at the playhead", add)],
    ["1 … 0", "⇧1 … ⇧0", "add a spot of the class with this key", null],
    ["U", "Ctrl Z", "undo", () => undo(false)],
    ["⇧U", "Ctrl Y", "redo", () => undo(true)],
    ["F", "", "only the spot's class, or all", () => only()],
    ["[", "]", "lower or higher confidence", null],
    ["+", "−", "zoom the timeline", null],
    ["W", "", "the whole half", () => lanes.whole()],
    ["S", "", "the other half", () => otherHalf()],
    ["E", "", "export", () => showExports()],
    ["?", "", "this list", () => part("help-dialog").showModal()],
  ];

  const ALIASES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Backspace: "Delete" };

  function around() {
    const item = current();
    if (item) video.around(item.half, item.position);
  }

  function otherHalf() {
    const index = data.halves.findIndex((half) => half.number === video.half.number);
    video.seek(data.halves[(index + 1) % data.halves.length].number, 0);
  }

  function setThreshold(value) {
    spots.filter({ threshold: Math.min(1, Math.max(0, Math.round(100 * value) / 100)) });
  }

  function actionOf(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey) {
      const letter = key.toLowerCase();
      if (letter === "z") return () => undo(event.shiftKey);
      if (letter === "y") return () => undo(true);
      if (letter === "s") return () => saving.flush();
      return undefined;
    }
    if (event.altKey) return undefined;
    const label = classOfKey(event);
    if (label !== undefined) return () => add(label);
    if (key === "[" || key === "]") return () => setThreshold(spots.threshold + (key === "[" ? -0.05 : 0.05));
    if (key === "+" || key === "=") return () => lanes.zoom(0.5);
    if (key === "-" || key === "−") return () => lanes.zoom(2);
    const plain = ALIASES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
    const wanted = event.shiftKey && /^([A-Z]|←|→)$/.test(plain) ? `⇧${plain}` : plain;
    return KEYS.find(([first, second, , act]) => act && (first === wanted || second === wanted))?.[3];
  }

  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (document.querySelector("dialog[open]")) return;
    if (target.matches("select, input:not([type=checkbox]), textarea") && !(event.ctrlKey || event.metaKey)) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (target.matches("button, summary, input, label") && (event.key === " " || event.key === "Enter")) return;
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    action();
  });

  // A button that was pressed with the mouse does not keep the space bar.
  document.addEventListener("click", (event) => {
    const control = event.target.closest("button, input[type=checkbox]");
    if (event.detail && control && !control.closest("dialog")) control.blur();
  });

  // ---- Controls ----

  const CLICKS = {
    play: () => video.toggle(), "back-frame": () => video.step(-1), "next-frame": () => video.step(1),
    previous: () => go(-1), next: () => go(1), accept: () => decide("confirmed"), reject: () => decide("rejected"),
    around, earlier: () => moveBy(-1), later: () => moveBy(1), here: () => current() && move(video.half.number, video.frameStart),
    add: () => choose("Add at the playhead", add), undo: () => undo(false), redo: () => undo(true),
    "zoom-in": () => lanes.zoom(0.5), "zoom-out": () => lanes.zoom(2), whole: () => lanes.whole(),
    export: showExports, help: () => part("help-dialog").showModal(),
    "all-classes": () => filterClasses([]), "no-classes": () => filterClasses(spots.classes),
    copy: () => navigator.clipboard?.writeText(part("command").textContent),
  };
  for (const [id, act] of Object.entries(CLICKS)) part(id).addEventListener("click", act);
  part("video").addEventListener("click", () => video.toggle());
  part("speed").addEventListener("change", (event) => {
    part("video").defaultPlaybackRate = part("video").playbackRate = Number(event.target.value);
    event.target.blur();
  });
  part("label").addEventListener("change", (event) => relabel(event.target.value));
  part("unseen").addEventListener("change", (event) => change({ visible: !event.target.checked }, "changed"));
  part("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
  part("choose").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) video.replace(URL.createObjectURL(file));
  });
  for (const box of document.querySelectorAll("[data-status]")) {
    box.addEventListener("change", () => {
      const boxes = [...document.querySelectorAll("[data-status]:checked")];
      spots.filter({ statuses: new Set(boxes.map((checked) => checked.dataset.status)) });
    });
  }

  function fillClasses() {
    const options = spots.classes.map((name) => new Option(name, name));
    part("label").replaceChildren(...options);
    part("classes").replaceChildren(...spots.classes.map((name) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: true });
      const text = document.createElement("span");
      text.textContent = name;
      label.append(box, text);
      const key = keyName(data.classes.indexOf(name));
      if (key && data.classes.includes(name)) label.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      box.addEventListener("change", () => {
        const hidden = new Set(spots.hidden);
        if (box.checked) hidden.delete(name);
        else hidden.add(name);
        filterClasses(hidden);
      });
      return label;
    }));
  }

  const ORDINALS = { 1: "1st half", 2: "2nd half", 3: "Extra 1", 4: "Extra 2" };

  function fillHalves() {
    part("halves").replaceChildren(...data.halves.map((half) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.half = half.number;
      button.textContent = ORDINALS[half.number];
      button.addEventListener("click", () => video.seek(half.number, 0));
      return button;
    }));
  }

  function fillKeys() {
    part("keys").replaceChildren(...KEYS.map(([first, second, what]) => {
      const row = document.createElement("div");
      const keys = document.createElement("span");
      for (const key of [first, second].filter(Boolean)) {
        keys.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
      }
      row.append(keys, what);
      return row;
    }));
  }

  function tick() {
    if (video.tick()) showHead();
    requestAnimationFrame(tick);
  }

  fillClasses();
  fillHalves();
  fillKeys();
  fillExports();
  if (data.annotate) {
    part("threshold-row").hidden = true;
    part("lanes").focus({ preventScroll: true });
  }
  spots.listen(() => showModel());
  saving.start();
  video.seek(data.halves[0].number, 0);
  showPlayer();
  showModel();
  for (const warning of data.warnings) announce(warning);
  const first = spots.shown().find((item) => item.status === "candidate");
  if (first) select(first.id);
  tick();

  // For tests and the browser's console.
  window.review = { spots, video, lanes, saving, select, current };
})();
