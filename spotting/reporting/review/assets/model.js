// The spots of a match and what is decided about them: changes, undo, filters. Knows no page.
const model = (() => {
  "use strict";

  const inOrder = (a, b) =>
    a.half - b.half || a.position - b.position || (a.label < b.label ? -1 : a.label > b.label ? 1 : 0) ||
    (a.id < b.id ? -1 : 1);

  class Model {
    constructor(data) {
      this.data = data;
      this.halves = new Map(data.halves.map((half) => [half.number, half]));
      this.items = new Map(data.items.map((item) => [item.id, item]));
      // Labels of an older list of classes stay choosable for the spots that have them.
      this.classes = [...new Set([...data.classes, ...data.items.map((item) => item.label)])];
      this.threshold = data.threshold;
      this.statuses = new Set(["candidate", "confirmed"]);
      this.hidden = new Set();
      this.undone = [];
      this.done = [];
      this.listeners = [];
      this.cache = null;
    }

    // Calls `listener(ids)` after changes of spots, and with null after changes of filters.
    listen(listener) {
      this.listeners.push(listener);
    }

    get(id) {
      return this.items.get(id);
    }

    // Makes one step that can be undone. `values`: by id the new spot, or null for none.
    change(values, what) {
      const step = { what, before: {}, after: values };
      for (const id of Object.keys(values)) step.before[id] = this.items.get(id) ?? null;
      this.done.push(step);
      this.undone = [];
      this.put(values);
    }

    undo() {
      const step = this.done.pop();
      if (!step) return null;
      this.undone.push(step);
      this.put(step.before);
      return step;
    }

    redo() {
      const step = this.undone.pop();
      if (!step) return null;
      this.done.push(step);
      this.put(step.after);
      return step;
    }

    // Sets spots without a step of their own.
    put(values) {
      for (const [id, item] of Object.entries(values)) {
        if (item === null) this.items.delete(id);
        else this.items.set(id, item);
      }
      this.refresh(Object.keys(values));
    }

    filter(settings) {
      Object.assign(this, settings);
      this.refresh(null);
    }

    refresh(ids) {
      this.cache = null;
      for (const listener of this.listeners) listener(ids);
    }

    // A person's own spots are shown whatever the threshold, and so is what is decided.
    isShown(item) {
      if (!this.statuses.has(item.status) || this.hidden.has(item.label)) return false;
      return item.status !== "candidate" || item.confidence === null || item.confidence >= this.threshold;
    }

    // The spots that the filters let through, in order of time.
    shown() {
      if (!this.cache) {
        this.cache = [...this.items.values()].filter((item) => this.isShown(item)).sort(inOrder);
      }
      return this.cache;
    }

    confirmed() {
      return [...this.items.values()].filter((item) => item.status === "confirmed").sort(inOrder);
    }

    // How many spots are in each state; candidates from the threshold on, and of all classes.
    counts() {
      const counts = { candidate: 0, confirmed: 0, rejected: 0 };
      for (const item of this.items.values()) {
        const low = item.status === "candidate" && item.confidence !== null && item.confidence < this.threshold;
        if (!low) counts[item.status]++;
      }
      return counts;
    }

    // The shown spot after (`step` 1) or before (-1) a spot or a time; undefined if there is none.
    neighbour(from, step, accepts = () => true) {
      const list = step > 0 ? this.shown() : [...this.shown()].reverse();
      return list.find((item) => step * inOrder(item, from) > 0 && item.id !== from.id && accepts(item));
    }

    newId() {
      const random = crypto.getRandomValues(new Uint32Array(2));
      return "a" + [...random].map((value) => value.toString(36)).join("");
    }
  }

  return { Model, inOrder };
})();
