// The spots as a list of which only the rows in sight are there.
const list = (() => {
  "use strict";

  const SPARE = 6;

  class List {
    constructor(box, model, select) {
      Object.assign(this, { box, model, select });
      this.selected = null;
      this.inner = document.createElement("div");
      box.append(this.inner);
      this.rows = new Map();
      box.addEventListener("scroll", () => this.request());
      new ResizeObserver(() => this.request()).observe(box);
      this.inner.addEventListener("click", (event) => {
        const row = event.target.closest(".row");
        if (row) select(row.dataset.id);
      });
      this.drawing = 0;
    }

    get rowHeight() {
      return matchMedia("(max-width: 860px)").matches ? 44 : 36;
    }

    request() {
      this.drawing ||= requestAnimationFrame(() => {
        this.drawing = 0;
        this.draw();
      });
    }

    // Draws anew, and brings the selected row into sight if asked to.
    refresh(selected, reveal) {
      this.selected = selected;
      const index = this.model.shown().findIndex((item) => item.id === selected);
      this.index = index;
      if (reveal && index >= 0) {
        const height = this.rowHeight;
        this.inner.style.height = `${height * this.model.shown().length}px`;
        const top = index * height;
        const { scrollTop, clientHeight } = this.box;
        if (top < scrollTop + height) this.box.scrollTop = top - height;
        else if (top + 2 * height > scrollTop + clientHeight) this.box.scrollTop = top + 2 * height - clientHeight;
      }
      this.request();
    }

    draw() {
      const items = this.model.shown();
      const height = this.rowHeight;
      this.inner.style.height = `${height * items.length}px`;
      const first = Math.max(0, Math.floor(this.box.scrollTop / height) - SPARE);
      const last = Math.min(items.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + SPARE);
      const wanted = new Map();
      for (let k = first; k < last; k++) wanted.set(items[k].id, k);
      if (this.index >= 0) wanted.set(this.selected, this.index);
      for (const [id, row] of this.rows) {
        if (!wanted.has(id)) {
          row.remove();
          this.rows.delete(id);
        }
      }
      for (const [id, k] of wanted) {
        let row = this.rows.get(id);
        if (!row) {
          row = this.makeRow(id);
          this.rows.set(id, row);
          this.inner.append(row);
        }
        this.fill(row, items[k], k, items.length, k * height);
      }
      const selected = this.rows.get(this.selected);
      if (selected) this.box.setAttribute("aria-activedescendant", selected.id);
      else this.box.removeAttribute("aria-activedescendant");
      this.empty(items.length === 0);
    }

    makeRow(id) {
      const row = document.createElement("div");
      row.id = `row-${id}`;
      row.dataset.id = id;
      row.setAttribute("role", "option");
      for (const [tag, name] of [["i", ""], ["span", "when"], ["span", "name"], ["span", "confidence"]]) {
        const part = document.createElement(tag);
        part.className = name;
        if (tag === "i") part.setAttribute("aria-hidden", "true");
        row.append(part);
      }
      return row;
    }

    fill(row, item, k, count, top) {
      if (row.item !== item) {
        row.item = item;
        const [, when, name, confidence] = row.children;
        row.className = `row ${item.status}`;
        const half = this.model.halves.size > 1 ? `${item.half} – ` : "";
        when.textContent = half + formats.shortClock(item.position);
        name.textContent = item.label;
        name.title = item.label;
        confidence.textContent = item.confidence === null ? "" : item.confidence.toFixed(2);
        const words = { candidate: "to look at", confirmed: "confirmed", rejected: "rejected" };
        row.setAttribute("aria-label",
          `${item.label}, half ${item.half}, ${formats.shortClock(item.position)}, ${words[item.status]}` +
          (item.confidence === null ? "" : `, confidence ${item.confidence.toFixed(2)}`));
      }
      row.style.top = `${top}px`;
      row.setAttribute("aria-selected", String(item.id === this.selected));
      row.setAttribute("aria-posinset", k + 1);
      row.setAttribute("aria-setsize", count);
    }

    empty(isEmpty) {
      this.note ??= Object.assign(document.createElement("p"), { className: "empty" });
      this.note.textContent = this.model.items.size
        ? "No spot with these filters." : "No spots yet. A class's key adds one at the playhead.";
      if (isEmpty) this.box.append(this.note);
      else this.note.remove();
    }
  }

  return { List };
})();
