// Times as text, and the exports of a page that has no server, equal to those of data/exports.py.
const formats = (() => {
  "use strict";

  const pad = (value, width = 2) => String(value).padStart(width, "0");

  // Milliseconds as mm:ss.mmm.
  function clock(ms) {
    const total = Math.max(0, Math.round(ms));
    return `${pad(Math.floor(total / 60000))}:${pad(Math.floor(total / 1000) % 60)}.${pad(total % 1000, 3)}`;
  }

  const shortClock = (ms) => clock(Math.floor(Math.max(0, ms) / 1000) * 1000).slice(0, -4);

  function halfEven(value) {
    const floor = Math.floor(value);
    if (value - floor !== 0.5) return Math.round(value);
    return floor % 2 ? floor + 1 : floor;
  }

  function gameTime(half, ms) {
    const seconds = halfEven(ms / 1000);
    return `${half} - ${Math.floor(seconds / 60)}:${pad(seconds % 60)}`;
  }

  const REGULAR = { 1: 45, 2: 45, 3: 15, 4: 15 };

  function minute(half, ms) {
    if (half.minute === null || half.minute === undefined) return "";
    const count = Math.floor(ms / 60000) + 1;
    const regular = REGULAR[half.number];
    return count > regular ? `${half.minute + regular}+${count - regular}` : String(half.minute + count);
  }

  const json = (value) => JSON.stringify(value, null, 1) + "\n";

  function labels(model) {
    const annotations = model.confirmed().map((item) => ({
      gameTime: gameTime(item.half, item.position),
      label: item.label,
      position: String(item.position),
      ...(item.extra ?? {}),
      visibility: item.visible ? "visible" : "not shown",
    }));
    return json({ UrlLocal: model.data.game, ...(model.data.document ?? {}), annotations });
  }

  // As Python writes a float.
  const float = (value) => (Number.isInteger(value) ? `${value}.0` : String(value));

  function soccernet(model) {
    const predictions = model.confirmed().map((item) => ({
      gameTime: gameTime(item.half, item.position),
      half: String(item.half),
      position: String(item.position),
      label: item.label,
      confidence: float(item.confidence ?? 1),
    }));
    return json({ UrlLocal: model.data.game, predictions });
  }

  function cell(text) {
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv(model) {
    const minutes = model.data.halves.some((half) => half.minute !== null);
    const header = ["game", "half", "time", "seconds", "class", "confidence", "video_seconds"];
    const rows = [minutes ? [...header, "minute"] : header];
    for (const item of model.confirmed()) {
      const half = model.halves.get(item.half);
      const row = [model.data.game, String(item.half), clock(item.position), (item.position / 1000).toFixed(3)];
      row.push(item.label, item.confidence === null ? "" : item.confidence.toFixed(6));
      row.push((half.start + item.position / 1000).toFixed(3));
      if (minutes) row.push(minute(half, item.position));
      rows.push(row);
    }
    return rows.map((row) => row.map(cell).join(",") + "\n").join("");
  }

  // Confirmed spots by video: [{suffix, items: [[seconds in the video, spot]]}].
  function byVideo(model) {
    const videos = new Map();
    for (const half of [...model.data.halves].sort((a, b) => a.number - b.number)) {
      if (!videos.has(half.video)) videos.set(half.video, { video: half.video, first: half.number, items: [] });
    }
    for (const item of model.confirmed()) {
      const half = model.halves.get(item.half);
      videos.get(half.video).items.push([half.start + item.position / 1000, item]);
    }
    const list = [...videos.values()];
    for (const entry of list) {
      entry.items.sort((a, b) => a[0] - b[0]);
      entry.suffix = list.length > 1 ? `_${entry.first}` : "";
    }
    return list;
  }

  const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  function cueTime(ms) {
    const minutes = Math.floor(ms / 60000);
    return `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}:${pad(Math.floor(ms / 1000) % 60)}.${pad(ms % 1000, 3)}`;
  }

  function webvtt(items, seconds = 5) {
    const chapters = new Map();
    for (const [start, item] of items) {
      const ms = Math.max(0, halfEven(1000 * start));
      if (!chapters.has(ms)) chapters.set(ms, new Set());
      chapters.get(ms).add(item.label);
    }
    const starts = [...chapters.keys()];
    const blocks = starts.map((start, k) => {
      const end = Math.min(start + 1000 * seconds, starts[k + 1] ?? Infinity);
      const text = [...chapters.get(start)].map((label) => escape(label.split(/\s+/).join(" ").trim())).join(", ");
      return `${k + 1}\n${cueTime(start)} --> ${cueTime(end)}\n${text}`;
    });
    return ["WEBVTT", ...blocks].join("\n\n") + "\n";
  }

  // XML's own marks, and everything beyond ASCII as a character reference.
  const xml = (text) =>
    [...escape(text.replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd"))]
      .map((c) => (c.codePointAt(0) > 126 ? `&#${c.codePointAt(0)};` : c)).join("");

  const COLOURS = ["0067b1", "d04a00", "2b9696", "9a4fd0", "a07a00", "d6438a", "5a5a5a", "3f7d20"];

  function sportscode(items, labels, lead, lag) {
    const lines = ["<?xml version='1.0' encoding='us-ascii'?>", "<file>", " <SORT_INFO>",
      "  <sort_type>sort order</sort_type>", " </SORT_INFO>"];
    const label = (group, text) => ["   <label>", `    <group>${group}</group>`, `    <text>${text}</text>`, "   </label>"];
    const instances = items.flatMap(([seconds, item], k) => {
      const tenth = Math.min(9, Math.max(0, Math.floor(10 * item.confidence)));
      return ["  <instance>", `   <ID>${k + 1}</ID>`, `   <start>${Math.max(0, seconds - lead).toFixed(3)}</start>`,
        `   <end>${Math.max(0, seconds + lag).toFixed(3)}</end>`, `   <code>${xml(item.label)}</code>`,
        ...label("Half", item.half),
        ...(item.confidence === null ? [] : label("Confidence", `${10 * tenth}-${10 * tenth + 10}`)), "  </instance>"];
    });
    lines.push(...(instances.length ? [" <ALL_INSTANCES>", ...instances, " </ALL_INSTANCES>"] : [" <ALL_INSTANCES />"]));
    const rows = [...new Set(labels)].sort().flatMap((name, k) => {
      const value = (start) => 257 * parseInt(COLOURS[k % COLOURS.length].slice(start, start + 2), 16);
      return ["  <row>", `   <code>${xml(name)}</code>`, `   <R>${value(0)}</R>`, `   <G>${value(2)}</G>`,
        `   <B>${value(4)}</B>`, "  </row>"];
    });
    lines.push(...(rows.length ? [" <ROWS>", ...rows, " </ROWS>"] : [" <ROWS />"]), "</file>");
    return lines.join("\n") + "\n";
  }

  function osl(model) {
    const videos = byVideo(model);
    const data = videos.map(({ video, items }, k) => {
      const { name, frameRate } = model.data.videos[video];
      const events = items.map(([seconds, item]) => {
        const ms = Math.max(0, halfEven(1000 * seconds));
        const event = { head: "action", label: item.label, position_ms: ms, gameTime: gameTime(item.half, item.position) };
        if (item.confidence !== null) event.confidence = item.confidence;
        if (frameRate) event.frame = Math.floor((ms / 1000) * frameRate + 1e-3);
        return event;
      });
      const id = videos.length > 1 ? `${model.data.game}#${k + 1}` : model.data.game;
      return { id, inputs: [{ type: "video", path: name, fps: frameRate || 25 }], events };
    });
    const today = new Date();
    const date = `${today.getFullYear()}-${pad(today.getMonth() + 1)}-${pad(today.getDate())}`;
    const heads = { action: { type: "single_label", labels: model.data.classes } };
    return json({ version: "2.0", date, task: "action_spotting", labels: heads, data });
  }

  function state(model) {
    const { game, source, classes, document = {} } = model.data;
    return json({ format: 1, game, revision: 1, source, labels: [], document, classes, items: [...model.items.values()] });
  }

  // The files of a format, by name.
  function files(format, model, lead, lag) {
    if (format === "labels") return { "Labels-v2.json": labels(model) };
    if (format === "state") return { "review.json": state(model) };
    if (format === "soccernet") return { "results_spotting.json": soccernet(model) };
    if (format === "csv") return { "events.csv": csv(model) };
    if (format === "osl") return { "osl.json": osl(model) };
    const all = model.confirmed().map((item) => item.label);
    return Object.fromEntries(byVideo(model).map(({ suffix, items }) =>
      format === "webvtt" ? [`chapters${suffix}.vtt`, webvtt(items)]
        : [`sportscode${suffix}.xml`, sportscode(items, all, lead, lag)]));
  }

  return { clock, shortClock, gameTime, minute, files };
})();
