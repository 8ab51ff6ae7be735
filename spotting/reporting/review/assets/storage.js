// Keeps what is decided: on the server, and in this browser until the server has it.
const storage = (() => {
  "use strict";

  const SAVE_AFTER = 150;
  const RETRY_AFTER = 2000;
  const ASK_EVERY = 4000;

  const sent = ({ half, position, label, status, visible }) => ({ half, position, label, status, visible });

  function windowId() {
    let id = null;
    try {
      id = sessionStorage.getItem("spotting window");
    } catch { /* Storage may be forbidden. */ }
    id ??= crypto.getRandomValues(new Uint32Array(3)).join("-");
    try {
      sessionStorage.setItem("spotting window", id);
    } catch { /* A new one next time, then. */ }
    return id;
  }

  async function post(address, method, body) {
    const answer = await fetch(address, {
      method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const content = await answer.json().catch(() => ({}));
    return { status: answer.status, content };
  }

  // Changes kept in this browser: {id: what `sent` makes, or null}.
  class Journal {
    constructor(key) {
      this.key = `spotting review ${key}`;
      this.works = true;
    }

    read() {
      try {
        const value = JSON.parse(localStorage.getItem(this.key) ?? "{}");
        return value && typeof value === "object" ? value : {};
      } catch {
        return {};
      }
    }

    write(changes) {
      try {
        if (changes.size) localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(changes)));
        else localStorage.removeItem(this.key);
        this.works = true;
      } catch {
        this.works = false;
      }
    }
  }

  class Storage {
    // `say(state, text)`: state is saved, saving, late, or taken (by another window).
    constructor(model, say) {
      this.model = model;
      this.say = say;
      this.server = model.data.server;
      this.revision = model.data.revision;
      this.window = windowId();
      this.journal = new Journal(model.data.id);
      this.pending = new Map();
      this.busy = false;
      this.work = Promise.resolve();  // the save that is under way
      this.pen = true;
      this.timer = 0;
    }

    static async open() {
      const embedded = document.getElementById("data");
      if (embedded) return JSON.parse(embedded.textContent);
      const { content } = await post("pen", "POST", { window: windowId(), opens: true });
      const answer = await fetch("data.json");
      if (!answer.ok) throw new Error((await answer.json()).error);
      return { ...(await answer.json()), pen: content.pen };
    }

    start() {
      this.pen = !this.server || this.model.data.pen;
      if (this.pen) this.restore();
      else this.say("taken");
      this.model.listen((ids) => ids && this.note(ids));
      if (!this.server) {
        this.tell();
        return;
      }
      setInterval(() => this.ask(), ASK_EVERY);
      addEventListener("pagehide", () => this.leave());
      addEventListener("pageshow", (event) => event.persisted && location.reload());
      document.addEventListener("visibilitychange", () => document.hidden && this.flush());
      if (this.pending.size) this.flush();
      else if (this.pen) this.say("saved");
    }

    // Takes up what an earlier page could not save.
    restore() {
      const values = {};
      for (const [id, change] of Object.entries(this.journal.read())) {
        const item = this.model.get(id);
        if (change === null) {
          if (item?.by === "person") values[id] = null;
        } else if (this.model.halves.has(change.half)) {
          const base = item ?? (id.startsWith("a") ? { id, confidence: null, by: "person" } : null);
          if (base) values[id] = { ...base, ...change };
        }
        if (id in values) this.pending.set(id, change);
      }
      if (Object.keys(values).length) this.model.put(values);
    }

    note(ids) {
      for (const id of ids) {
        const item = this.model.get(id);
        this.pending.set(id, item ? sent(item) : null);
      }
      this.journal.write(this.pending);
      if (!this.server) {
        this.tell();
        return;
      }
      this.say(this.late ? "late" : "saving", this.late);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.flush(), SAVE_AFTER);
    }

    tell() {
      if (this.journal.works) this.say("kept");
      else this.say("late", "Not kept by this browser: export before you close the page");
    }

    flush() {
      if (!this.busy && this.pending.size && this.server && this.pen) this.work = this.send();
      return this.work;
    }

    // Waits until all that was changed is saved, also what was while a save was under way.
    async settle() {
      while (this.server && this.pen && (this.busy || this.pending.size)) {
        await this.flush();
        if (this.late) throw new Error(this.late);
      }
    }

    async send() {
      this.busy = true;
      clearTimeout(this.timer);
      const changes = Object.fromEntries(this.pending);
      let wait = SAVE_AFTER;
      try {
        const { status, content } = await post("changes", "PUT", { window: this.window, revision: this.revision, changes });
        if (status === 200) {
          this.revision = content.revision;
          this.late = "";
          for (const [id, value] of Object.entries(changes)) {
            if (this.pending.get(id) === value) this.pending.delete(id);
          }
          this.journal.write(this.pending);
          if (!this.pending.size) this.say("saved");
        } else if (status === 409) {
          this.pen = false;
          this.say("taken");
        } else {
          this.fail(content.error ?? `the server answers ${status}`);
          wait = RETRY_AFTER;
        }
      } catch {
        this.fail("no connection to the server; start the same command again");
        wait = RETRY_AFTER;
      }
      this.busy = false;
      if (this.pending.size && this.pen) this.timer = setTimeout(() => this.flush(), wait);
    }

    fail(reason) {
      const kept = this.journal.works ? "Your changes are kept in this browser" : "Keep this page open";
      this.late = `${kept} until they can be saved: ${reason}`;
      this.say("late", this.late);
    }

    async ask() {
      try {
        const { status, content } = await post("pen", "POST", { window: this.window });
        if (status !== 200) throw new Error(content.error);
        if (!content.pen) {
          if (this.pen) this.say("taken");
          this.pen = false;
        } else if (!this.pen) {
          // The other window was closed. It may have saved since.
          location.reload();
        } else if (this.late && !this.pending.size) {
          this.late = "";
          this.say("saved");
        }
      } catch {
        if (this.pen) this.fail("no connection to the server; start the same command again");
      }
    }

    async take() {
      await post("pen", "POST", { window: this.window, take: true });
      location.reload();
    }

    leave() {
      if (!this.pen) return;
      if (this.pending.size) {
        // Browsers send this even when the page is gone; if not, the journal has it.
        fetch("changes", {
          method: "PUT", keepalive: true, headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ window: this.window, revision: this.revision, changes: Object.fromEntries(this.pending) }),
        }).catch(() => {});
      }
      navigator.sendBeacon("pen", JSON.stringify({ window: this.window, drop: true }));
    }
  }

  return { Storage, post };
})();
