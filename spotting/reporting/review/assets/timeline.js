// Spots of a half by class on a time axis, drawn on a canvas.
const timeline = (() => {
  "use strict";

  const AXIS = 22;
  const REACH = 9;
  const SHORTEST = 4000;
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800].map((seconds) => 1000 * seconds);
  const SHADES = 5;
  const STAMP = 12;

  class Timeline {
    // `actions`: seek(ms) and select(id).
    constructor(box, canvas, tip, model, actions) {
      Object.assign(this, { box, canvas, tip, model, actions });
      this.context = canvas.getContext("2d");
      this.marks = document.createElement("canvas");
      this.marksContext = this.marks.getContext("2d");
      this.from = 0;
      this.to = 1;
      this.half = null;
      this.head = 0;
      this.selected = null;
      this.stale = true;
      this.pointers = new Map();
      this.drawing = 0;
      this.drawn = 0;
      new ResizeObserver(() => this.resize()).observe(box);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.resize());
      canvas.addEventListener("pointerdown", (event) => this.press(event));
      canvas.addEventListener("pointermove", (event) => this.hover(event));
      for (const name of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
      }
      canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
      canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    }

    // Lanes: classes that are not hidden and of which there is, or may come, a spot.
    setLanes() {
      const used = new Set([...this.model.items.values()].map((item) => item.label));
      const all = this.model.data.annotate ? this.model.classes : this.model.classes.filter((name) => used.has(name));
      const lanes = (all.length ? all : this.model.classes).filter((name) => !this.model.hidden.has(name));
      if (lanes.join("\n") === this.lanes?.join("\n")) return;
      this.lanes = lanes;
      this.resize();
    }

    setHalf(half) {
      if (this.half === half) return;
      this.half = half;
      this.whole();
    }

    whole() {
      this.show(0, 1000 * this.half.seconds);
    }

    show(from, to) {
      const length = 1000 * this.half.seconds;
      const span = Math.min(Math.max(to - from, Math.min(SHORTEST, length)), length);
      this.from = Math.min(Math.max(0, from), length - span);
      this.to = this.from + span;
      this.refresh();
    }

    zoom(factor, around = this.head) {
      const anchor = Math.min(Math.max(around, this.from), this.to);
      const span = (this.to - this.from) * factor;
      const share = (anchor - this.from) / (this.to - this.from);
      this.show(anchor - share * span, anchor + (1 - share) * span);
    }

    // Brings a time into view.
    reveal(ms) {
      const span = this.to - this.from;
      if (ms < this.from || ms > this.to) this.show(ms - span / 2, ms + span / 2);
    }

    setHead(ms, follow) {
      this.head = ms;
      if (follow && (ms > this.to || ms < this.from)) {
        const span = this.to - this.from;
        this.show(ms - 0.1 * span, ms + 0.9 * span);
      }
      this.request();
    }

    refresh() {
      this.stale = true;
      this.request();
    }

    request() {
      if (this.drawing) return;
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0;
        this.draw();
      });
    }

    resize() {
      if (!this.lanes) return;
      const style = getComputedStyle(document.documentElement);
      const probe = document.createElement("span");
      document.body.append(probe);
      const colour = (name) => {
        probe.style.color = style.getPropertyValue(name).trim();
        return getComputedStyle(probe).color;
      };
      this.colours = Object.fromEntries(
        ["page", "panel", "ink", "muted", "line", "accent", "chosen"].map((name) => [name, colour(`--${name}`)]));
      probe.remove();
      this.width = Math.max(200, this.box.clientWidth);
      const narrow = this.width < 600;
      this.laneHeight = narrow ? 26 : this.lanes.length > 12 ? 16 : 20;
      this.gutter = narrow ? 0 : 136;
      this.padding = 10;
      this.height = AXIS + this.laneHeight * this.lanes.length + 4;
      const ratio = devicePixelRatio || 1;
      for (const canvas of [this.canvas, this.marks]) {
        canvas.width = Math.round(this.width * ratio);
        canvas.height = Math.round(this.height * ratio);
      }
      this.canvas.style.height = `${this.height}px`;
      this.refresh();
    }

    x(ms) {
      const width = this.width - this.gutter - 2 * this.padding;
      return this.gutter + this.padding + ((ms - this.from) / (this.to - this.from)) * width;
    }

    ms(x) {
      const width = this.width - this.gutter - 2 * this.padding;
      return this.from + ((x - this.gutter - this.padding) / width) * (this.to - this.from);
    }

    y(lane) {
      return AXIS + this.laneHeight * (lane + (this.gutter ? 0.5 : 0.68));
    }

    drawMarks() {
      const { marksContext: c, colours } = this;
      const ratio = devicePixelRatio || 1;
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      c.fillStyle = colours.page;
      c.fillRect(0, 0, this.width, this.height);
      const font = getComputedStyle(document.body).fontFamily;
      this.lanes.forEach((name, lane) => {
        const top = AXIS + lane * this.laneHeight;
        if (lane % 2 === 0) {
          c.fillStyle = colours.panel;
          c.fillRect(0, top, this.width, this.laneHeight);
        }
        c.fillStyle = this.gutter ? colours.ink : colours.muted;
        c.font = `${this.gutter ? 12 : 10}px ${font}`;
        c.textBaseline = this.gutter ? "middle" : "top";
        c.textAlign = "start";
        c.fillText(name, this.gutter ? 16 : 8, this.gutter ? top + this.laneHeight / 2 : top + 3, this.gutter ? this.gutter - 22 : 200);
      });
      this.drawAxis(c, font);
      c.save();
      c.beginPath();
      c.rect(this.gutter, 0, this.width - this.gutter, this.height);
      c.clip();
      this.placed = this.place();
      this.drawSpots(c);
      c.restore();
    }

    drawAxis(c, font) {
      const { colours } = this;
      const span = this.to - this.from;
      const most = (this.width - this.gutter) / 70;
      const step = STEPS.find((value) => span / value <= most) ?? STEPS.at(-1);
      c.font = `11px ${font}`;
      c.textBaseline = "middle";
      c.textAlign = "center";
      c.strokeStyle = colours.line;
      c.lineWidth = 1;
      c.beginPath();
      for (let ms = Math.ceil(this.from / step) * step; ms <= this.to; ms += step) {
        const x = Math.round(this.x(ms)) + 0.5;
        c.moveTo(x, AXIS - 4);
        c.lineTo(x, this.height);
        c.fillStyle = colours.muted;
        const half = c.measureText("00:00").width / 2;
        c.fillText(formats.shortClock(ms), Math.min(Math.max(x, this.gutter + half), this.width - half - 2), AXIS / 2);
      }
      c.stroke();
      c.textAlign = "start";
    }

    // The shown spots of the half in view, as {item, x, y}.
    place() {
      const lane = new Map(this.lanes.map((name, k) => [name, k]));
      const placed = [];
      for (const item of this.model.shown()) {
        if (item.half !== this.half.number || !lane.has(item.label)) continue;
        const x = this.x(item.position);
        if (x > this.gutter - 10 && x < this.width + 10) placed.push({ item, x, y: this.y(lane.get(item.label)) });
      }
      return placed;
    }

    // Thousands of spots are stamped from one drawing for each look, once for each place on screen.
    drawSpots(c) {
      const layers = new Map([["rejected", []], ...[...Array(SHADES).keys()].map((k) => [k, []]), ["confirmed", []]]);
      for (const spot of this.placed) {
        const { status, confidence } = spot.item;
        const look = status === "candidate" ? Math.min(SHADES - 1, Math.floor(SHADES * (confidence ?? 1))) : status;
        layers.get(look).push(spot);
      }
      const ratio = devicePixelRatio || 1;
      for (const [look, spots] of layers) {
        if (!spots.length) continue;
        const stamp = this.stamp(look, ratio);
        const there = new Set();
        for (const { x, y } of spots) {
          const place = Math.round(x * ratio) + 100000 * y;
          if (there.has(place)) continue;
          there.add(place);
          c.drawImage(stamp, Math.round((x - STAMP / 2) * ratio) / ratio, y - STAMP / 2, STAMP, STAMP);
        }
      }
    }

    stamp(look, ratio) {
      const key = `${look} ${ratio} ${this.laneHeight} ${this.colours.ink}`;
      this.stamps ??= new Map();
      if (this.stamps.has(key)) return this.stamps.get(key);
      const stamp = document.createElement("canvas");
      stamp.width = stamp.height = Math.round(STAMP * ratio);
      const c = stamp.getContext("2d");
      c.setTransform(ratio, 0, 0, ratio, (STAMP * ratio) / 2, (STAMP * ratio) / 2);
      c.lineWidth = 1.4;
      c.globalAlpha = typeof look === "number" ? 0.35 + (0.65 * look) / (SHADES - 1) : 1;
      if (look === "rejected") {
        c.strokeStyle = this.colours.muted;
        c.moveTo(-3, -3);
        c.lineTo(3, 3);
        c.moveTo(3, -3);
        c.lineTo(-3, 3);
        c.stroke();
      } else {
        c.arc(0, 0, this.laneHeight < 18 ? 3.4 : 4.2, 0, 2 * Math.PI);
        c.fillStyle = this.colours.accent;
        c.strokeStyle = this.colours.ink;
        if (look === "confirmed") c.fill();
        else c.stroke();
      }
      this.stamps.set(key, stamp);
      return stamp;
    }

    draw() {
      if (!this.half || !this.lanes || !this.width) return;
      const began = performance.now();
      if (this.stale) {
        this.stale = false;
        this.drawMarks();
      }
      const { context: c, colours } = this;
      const ratio = devicePixelRatio || 1;
      c.setTransform(1, 0, 0, 1, 0, 0);
      c.drawImage(this.marks, 0, 0);
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      const chosen = this.placed.find(({ item }) => item.id === this.selected);
      if (chosen) {
        c.strokeStyle = colours.accent;
        c.lineWidth = 2;
        c.beginPath();
        c.arc(chosen.x, chosen.y, 7.5, 0, 2 * Math.PI);
        c.stroke();
      }
      const x = Math.round(this.x(this.head)) + 0.5;
      if (x >= this.gutter) {
        c.strokeStyle = c.fillStyle = colours.accent;
        c.lineWidth = 1.5;
        c.beginPath();
        c.moveTo(x, AXIS - 6);
        c.lineTo(x, this.height);
        c.stroke();
        c.beginPath();
        c.moveTo(x - 5, AXIS - 11);
        c.lineTo(x + 5, AXIS - 11);
        c.lineTo(x, AXIS - 4);
        c.fill();
      }
      this.drawn = performance.now() - began;
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    hit(x, y) {
      let best = null;
      let least = REACH;
      for (const spot of this.placed ?? []) {
        const distance = Math.hypot(spot.x - x, spot.y - y);
        if (distance < least) [best, least] = [spot, distance];
      }
      return best;
    }

    press(event) {
      if (event.button) return;
      const [x, y] = this.at(event);
      this.pointers.set(event.pointerId, x);
      this.canvas.setPointerCapture(event.pointerId);
      this.box.focus({ preventScroll: true });
      if (this.pointers.size > 1) return;
      const spot = this.hit(x, y);
      this.scrubs = !spot;
      if (spot) this.actions.select(spot.item.id);
      else if (x >= this.gutter) this.actions.seek(this.ms(x));
    }

    hover(event) {
      const [x, y] = this.at(event);
      if (this.pointers.size === 2 && this.pointers.has(event.pointerId)) {
        this.pinch(event.pointerId, x);
        return;
      }
      if (this.pointers.has(event.pointerId)) {
        this.pointers.set(event.pointerId, x);
        if (this.scrubs) this.actions.seek(this.ms(Math.max(x, this.gutter + this.padding)));
        return;
      }
      const spot = event.pointerType === "mouse" ? this.hit(x, y) : null;
      this.tip.hidden = !spot;
      if (!spot) return;
      const { item } = spot;
      const confidence = item.confidence === null ? "" : `  ${item.confidence.toFixed(2)}`;
      this.tip.textContent = `${item.label}  ${formats.clock(item.position)}${confidence}`;
      this.tip.style.top = `${Math.max(0, spot.y - 36)}px`;
      this.tip.style.left = `${Math.min(Math.max(4, spot.x - this.tip.offsetWidth / 2), this.width - this.tip.offsetWidth - 4)}px`;
    }

    // Two fingers keep the times that they touch.
    pinch(id, x) {
      const other = [...this.pointers.entries()].find(([key]) => key !== id)[1];
      const before = this.pointers.get(id);
      const fixed = this.ms(other);
      const [was, now] = [Math.abs(before - other), Math.abs(x - other)];
      this.pointers.set(id, x);
      if (was > 10 && now > 10) this.zoom(was / now, fixed);
    }

    wheel(event) {
      const [x] = this.at(event);
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.zoom(Math.exp(0.004 * Math.min(60, Math.max(-60, event.deltaY))), this.ms(x));
      } else if (event.deltaX || event.shiftKey) {
        event.preventDefault();
        const pixels = event.deltaX || event.deltaY;
        const by = (pixels / (this.width - this.gutter)) * (this.to - this.from);
        this.show(this.from + by, this.to + by);
      }
    }
  }

  return { Timeline };
})();
