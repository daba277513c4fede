/** "What just happened": the events of a run, of the page and of the lock, in plain words. */

/** @typedef {import("../run.mjs").Run} Run */
/** @typedef {"" | "good" | "tab" | "warn" | "bad"} Kind */

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** @param {number} n */
const kept = (n) => `${n} step${n === 1 ? "" : "s"} answered from checkpoints`;

export class Story {
  /** @param {HTMLElement} list @param {import("../durable-lite.mjs").Tab} tab */
  constructor(list, tab) {
    this.list = list;
    this.tab = tab;
    this.began = Date.now() / 1000;
    this.told = new Set();
    this.taker = "";
    this.worker = "";
    this.steps = 0;
    this.disturbed = false;
    /** @type {Run | null} */
    this.latest = null;
    this.hidden = document.visibilityState === "hidden" ? this.began : 0;
    const [how] = performance.getEntriesByType("navigation");
    const { type } = /** @type {PerformanceNavigationTiming} */ (how);
    const again = type === "reload" ? "This page was loaded again." : "This page was opened.";
    const discarded = /** @type {any} */ (document).wasDiscarded;
    this.tell("tab", discarded ? "The browser had discarded this tab, and loaded it again." : again);
    tab.addEventListener("page", (event) => this.page(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {Kind} kind @param {string} text @param {number} [at] */
  tell(kind, text, at = Date.now() / 1000) {
    const line = document.createElement("li");
    const time = document.createElement("time");
    const words = document.createElement("span");
    const date = new Date(at * 1000);
    time.dateTime = date.toISOString();
    time.textContent = date.toTimeString().slice(0, 8);
    words.textContent = text;
    line.dataset.kind = kind;
    line.dataset.at = String(at);
    line.append(time, words);
    // Newest first; what is read from the store may be older than what was seen here.
    const lines = /** @type {HTMLElement[]} */ ([...this.list.children]);
    this.list.insertBefore(line, lines.find((other) => Number(other.dataset.at) <= at) ?? null);
  }

  /** @param {{state: string, away: number}} detail */
  page({ state, away }) {
    const now = Date.now() / 1000;
    // Python wakes up at the same moment, and its words are to come after these.
    if (away) {
      this.tell("tab", `This tab was frozen for ${span(away)}: neither the page nor Python ran.`, now - 0.5);
      this.disturbed = false;
      setTimeout(() => {
        const idle = this.disturbed || !this.latest || this.latest.finished;
        if (!idle) this.tell("good", "Nothing was lost by it: the run goes on where it was.");
      }, 3000);
    }
    if (state === "hidden" && !this.hidden) {
      this.hidden = now;
      this.tell("tab", "This tab went to the background. Python goes on.");
    } else if (state === "visible" && this.hidden) {
      if (!away) this.tell("tab", `This tab is in front again, after ${span(now - this.hidden)}.`);
      this.hidden = 0;
    } else if (state === "frozen") {
      this.tell("tab", "The browser freezes this tab, which lets go of the run first.");
    }
  }

  /** Another run is on show. */
  begin() {
    Object.assign(this, { worker: "", steps: 0 });
  }

  /** @param {Run} run @param {{type: string, seq: number | null, at: number, data: any}} event */
  run(run, { type, seq, at, data }) {
    const key = `${run.id} ${seq}`;
    if (!seq || this.told.has(key)) return;
    this.told.add(key);
    this.latest = run;
    this.disturbed ||= type === "run.stale" || type === "run.resumed";
    const words = run.job === "make_database" ? this.making(run, type, data) : this.exporting(run, type, data, at);
    if (words) this.tell(words[0], words[1], at);
  }

  /** @param {Run} run @param {string} type @param {any} data @returns {[Kind, string] | null} */
  making(run, type, data) {
    if (type === "run.triggered") {
      const { invoices } = run.payload;
      return ["", `A database with ${invoices.toLocaleString("en")} invoices is to be made, by a durable job too.`];
    }
    if (type === "run.completed") return ["good", "The database is made."];
    return type === "run.failed" ? ["bad", `The database can't be made: ${failure(data)}`] : null;
  }

  /** @param {Run} run @param {string} type @param {any} data @param {number} at @returns {[Kind, string] | null} */
  exporting(run, type, data, at) {
    switch (type) {
      case "step.completed":
        this.steps += 1;
        return null;
      case "run.triggered":
        return ["", "The export is stored in this browser: from here on it survives its tab."];
      case "run.claimed": {
        const ours = this.tab.leads && at >= this.began;
        this.taker = at < this.began ? "" : ours ? "This tab" : "Another tab";
        const before = this.worker;
        this.worker = data.worker;
        if (!before) return ["", `${this.taker || "A tab"} began with it.`];
        if (data.from !== "WAITING" || before === data.worker) return null; // others are told of as resumed
        return ["good", `${this.taker || "Another tab"} went on with the run, which was in a pause: ${kept(this.steps)}.`];
      }
      case "run.stale": {
        const silence = span(at - data.heartbeat_at);
        if (data.reason === "suspended") {
          return ["warn", `Python had stood still: no sign of life for ${silence}. The run was marked stale.`];
        }
        if (data.reason === "worker gone") {
          return ["warn", "The tab that executed the run is gone: frozen, loaded again, closed or crashed. The run was marked stale."];
        }
        return ["warn", `No sign of life for ${silence}: the run was marked stale.`];
      }
      case "run.resumed": {
        if (!("replayed" in data)) return ["tab", "Resume: the run goes on from its checkpoints."];
        const gap = data.gap_ms ? ` after ${span(data.gap_ms / 1000)}` : "";
        const who = this.taker ? `${this.taker} resumed the run` : "The run was resumed";
        return ["good", `${who}${gap}: ${kept(data.replayed)}.`];
      }
      case "run.released":
        return ["tab", "The tab let go of the run in good order."];
      case "step.failed":
        return ["warn", `Step ${data.path} failed: ${failure(data)}`];
      case "run.retrying":
        return ["warn", `It failed, and is tried again: ${failure(data)}`];
      case "run.failed":
        return ["bad", `The export failed: ${failure(data)}`];
      case "run.timed_out":
        return ["bad", "The export took too long, and was ended."];
      case "run.cancelled":
        return ["warn", "The export was cancelled. What is done stays done: resume goes on from there."];
      case "run.completed":
        return ["good", "The export is done: every invoice once, in one file."];
      default:
        return null;
    }
  }
}

/** @param {any} data */
const failure = ({ error }) => (error ? `${error.type}: ${error.message}` : "");
