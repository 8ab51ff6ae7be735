// The video and the playhead: a half and milliseconds in it, whether there is a picture or not.
const player = (() => {
  "use strict";

  class Player {
    // `tell()` is called when the playhead, playing or the picture has changed.
    constructor(video, data, tell) {
      this.video = video;
      this.data = data;
      this.tell = tell;
      this.halves = new Map(data.halves.map((half) => [half.number, half]));
      this.half = data.halves[0];
      this.ms = 0;
      this.loaded = -1;
      this.failed = new Set();
      this.sources = data.videos.map((entry) => entry.source);
      this.stopAt = null;
      for (const name of ["play", "pause", "ratechange"]) video.addEventListener(name, tell);
      video.addEventListener("loadedmetadata", () => {
        if (!video.videoWidth) this.fail();
        else this.aim();
      });
      video.addEventListener("loadeddata", tell);
      video.addEventListener("seeked", () => this.wanted !== null && this.aim());
      video.addEventListener("error", () => this.fail());
      this.wanted = null;
    }

    get hasPicture() {
      return this.loaded >= 0 && !this.failed.has(this.loaded);
    }

    get isPlaying() {
      return !this.video.paused && !this.video.ended;
    }

    get frameRate() {
      return this.data.videos[this.half.video].frameRate || 25;
    }

    // Milliseconds of a frame's beginning, and the frame that is shown at some milliseconds.
    frameAt(half, ms) {
      return Math.floor((half.start + ms / 1000) * this.rateOf(half) + 0.05);
    }

    startOf(half, frame) {
      return Math.round(1000 * (frame / this.rateOf(half) - half.start));
    }

    rateOf(half) {
      return this.data.videos[half.video].frameRate || 25;
    }

    load(index) {
      if (this.loaded === index) return;
      this.loaded = index;
      this.wanted = null;
      if (this.failed.has(index)) {
        this.video.removeAttribute("src");
        this.video.load();
      } else {
        this.video.src = this.sources[index];
      }
    }

    fail() {
      if (!this.video.getAttribute("src")) return;
      this.failed.add(this.loaded);
      this.tell();
    }

    // Another file for the video of the present half.
    replace(address) {
      const index = this.half.video;
      this.sources[index] = address;
      this.failed.delete(index);
      this.loaded = -1;
      this.seek(this.half.number, this.ms);
    }

    seek(number, ms, stop = null) {
      this.half = this.halves.get(number);
      this.ms = Math.min(Math.max(0, Math.round(ms)), Math.round(1000 * this.half.seconds));
      this.stopAt = stop;
      this.load(this.half.video);
      this.aim();
      this.tell();
    }

    // The picture follows the playhead. Seeks that come while one is under way become one.
    aim() {
      this.wanted = null;
      if (!this.hasPicture || this.video.readyState < 1) return;
      if (this.video.seeking) {
        this.wanted = this.ms;
        return;
      }
      // The middle of the frame, as times of frames are rounded.
      const rate = this.frameRate;
      const time = (this.frameAt(this.half, this.ms) + 0.5) / rate;
      if (Math.abs(this.video.currentTime - time) > 0.25 / rate) this.video.currentTime = time;
    }

    step(frames) {
      this.pause();
      const frame = this.frameAt(this.half, this.ms) + frames;
      this.seek(this.half.number, this.startOf(this.half, frame));
    }

    skip(seconds) {
      this.seek(this.half.number, this.ms + 1000 * seconds, null);
    }

    pause() {
      this.video.pause();
      this.stopAt = null;
    }

    toggle() {
      if (!this.hasPicture) return;
      if (this.isPlaying) this.pause();
      else this.play();
    }

    play() {
      if (this.hasPicture) this.video.play().catch(() => {});
    }

    // From a little before some time to a little after it, and back.
    around(number, ms, before = 3000, after = 2500) {
      this.seek(number, Math.max(0, ms - before), { at: ms + after, back: ms });
      this.play();
    }

    // Called for each picture of the page. True if the playhead moved.
    tick() {
      if (!this.isPlaying || this.video.seeking || this.video.readyState < 2) return false;
      const ms = Math.round(1000 * (this.video.currentTime - this.half.start));
      if (this.stopAt && ms >= this.stopAt.at) {
        const { back } = this.stopAt;
        this.pause();
        this.seek(this.half.number, back);
        return true;
      }
      if (ms > 1000 * this.half.seconds) {
        this.pause();
        return true;
      }
      const moved = ms !== this.ms;
      this.ms = Math.max(0, ms);
      return moved;
    }

    // The playhead on the beginning of the frame that is shown.
    get frameStart() {
      return Math.max(0, this.startOf(this.half, this.frameAt(this.half, this.ms)));
    }
  }

  return { Player };
})();
