// Pure functions of the timeline: times as text, and hits as SoccerNet's evaluator finds them.
const matching = (() => {
  "use strict";

  // Milliseconds as mm:ss.mmm.
  function clock(ms) {
    const total = Math.round(ms);
    const pad = (value, width) => String(value).padStart(width, "0");
    return `${pad(Math.floor(total / 60000), 2)}:${pad(Math.floor(total / 1000) % 60, 2)}` +
      `.${pad(total % 1000, 3)}`;
  }

  function lateness(ms) {
    return ms === 0 ? "on time" : `${(Math.abs(ms) / 1000).toFixed(3)} s ${ms > 0 ? "late" : "early"}`;
  }

  // The match's minute as people say it, 45+2; nothing where the half's first minute is unknown.
  // `period` is [minute at which the half begins, its minutes before stoppage time].
  function minute(ms, period) {
    if (!period) return "";
    const [start, regular] = period;
    const running = Math.floor(ms / 60000) + 1;
    return running > regular ? `${start + regular}+${running - regular}` : String(start + running);
  }

  // Text for HTML, what would be invisible or change the direction of text shown as its code.
  function escape(text) {
    return String(text)
      .replace(/[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  }

  // The triples (class, milliseconds, value) of a flat list, in order of time.
  function triples(flat, makeItem) {
    const list = [];
    for (let i = 0; i < flat.length; i += 3) list.push(makeItem(flat[i], flat[i + 1], flat[i + 2]));
    return list.sort((a, b) => a.ms - b.ms);
  }

  const readTruths = (flat) =>
    triples(flat, (label, ms, value) => ({ label, ms, visible: Boolean(value), what: "miss", isTruth: true }));
  const readSpots = (flat) =>
    triples(flat, (label, ms, value) => ({ label, ms, confidence: value / 10000, what: "false" }));

  const frame = (ms) => Math.floor((2 * ms) / 1000);

  // Truths choose in order of time; each takes the free spot of highest confidence in reach.
  // Matched pairs refer to each other by `partner`.
  function match(truths, spots, tolerance) {
    const reach = Math.floor(Math.floor(2 * tolerance) / 2);
    for (const truth of truths) {
      let best = null;
      for (const spot of spots) {
        const free = spot.label === truth.label && !spot.partner;
        if (free && Math.abs(frame(spot.ms) - frame(truth.ms)) <= reach &&
            (!best || spot.confidence > best.confidence)) best = spot;
      }
      if (best) {
        Object.assign(best, { partner: truth, what: "hit" });
        Object.assign(truth, { partner: best, what: "found" });
      }
    }
  }

  // What a half shows: `limits` are the classes' thresholds; without truth spots are just spots.
  function evaluate(truth, flatSpots, limits, tolerance) {
    const all = readSpots(flatSpots);
    const spots = all.filter((spot) => spot.confidence >= limits[spot.label]);
    const below = all.filter((spot) => spot.confidence < limits[spot.label]);
    const truths = readTruths(truth || []);
    if (truth) match(truths, spots, tolerance);
    else spots.forEach((spot) => { spot.what = "spot"; });
    return { limits, truths, spots, below };
  }

  return { clock, minute, escape, lateness, evaluate };
})();
