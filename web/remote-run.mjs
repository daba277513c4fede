/** A run on a server, followed by its stream of events; where a page follows many, some are asked for now and then. */

import { follow, rest } from "./event-stream.mjs";
import { isLasting } from "./problems.mjs";
import { parsed, runRow } from "./remote-rows.mjs";
import { ofRun } from "./remote-requests.mjs";
import { Run } from "./run.mjs";
import { FINAL, RunNotFound } from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Row */
/** @typedef {import("./remote.mjs").Remote} Remote */

export const STREAMS = 4; // of the six connections that a browser has to a server over HTTP/1.1
const POLL = 2000; // ms
const BATCH = 1000; // events
const NO_EVENTS = "9".repeat(18); // there is none after this

/**
 * As `Run`. A list's rows have neither payload nor output: they are undefined until `refresh()`, or until the run is
 * watched. What is live only (progress, log lines, `step.started`) is told while the server itself executes the run.
 * `broken` (an error): the server didn't answer; it is asked again.
 */
export class RemoteRun extends Run {
  /**
   * @param {Remote} source
   * @param {string} id
   * @param {Row | null} [row]
   * @param {string | null} [disposition]
   * @param {boolean} [whole] whether the row has all it should
   */
  constructor(source, id, row = null, disposition = null, whole = true) {
    super(source, id, row, disposition);
    this.remote = source;
    this.whole = whole;
    this.seq = 0;
    /** @type {(() => void) | null} */
    this.unwatch = null;
    /** Whether its stream has said that there is no more of it. */
    this.over = false;
    /** How often it was told as a whole. */
    this.frames = 0;
    this.attempt = Infinity; // of the last of them
    /** Whether somebody wants to know of all that is stored. */
    this.detailed = false;
    /** Whether the stream was asked for it; null: there is none. @type {boolean | null} */
    this.asked = null;
    this.refused = new AbortController();
  }

  get hearsEnds() {
    return this.detailed;
  }
  get payload() {
    return this.whole ? super.payload : undefined;
  }
  get output() {
    return this.whole ? super.output : undefined;
  }

  /** Look again; returns itself. `RunNotFound` when it is not there. */
  async refresh() {
    const frames = this.frames;
    const row = await this.source.store.get_run(this.id);
    if (!row) throw new RunNotFound(this.id);
    // What the stream has told meanwhile is newer.
    if (frames === this.frames) [this.row, this.whole] = [row, true];
    return this;
  }

  /** @param {AbortSignal} [signal] */
  end(signal) {
    if (this.refused.signal.aborted) this.refused = new AbortController();
    return super.end(AbortSignal.any([this.refused.signal, ...(signal ? [signal] : [])]));
  }

  /** @returns {Promise<Run[]>} */
  async children() {
    return this.remote.children(this.id);
  }

  /** Watch while anybody listens. @type {EventTarget["addEventListener"]} */
  addEventListener(type, listener, options) {
    this.detailed ||= type === "event" || type === "step";
    super.addEventListener(type, listener, options);
    if (this.asked === false && this.detailed) this.watch();
  }

  watch() {
    this.unwatch?.();
    const ended = new AbortController();
    this.remote.watched.add(this);
    this.unwatch = () => {
      ended.abort();
      this.remote.watched.delete(this);
    };
    [this.over, this.asked] = [false, null];
    // Whoever listens now may listen to more in the same breath.
    queueMicrotask(() => this.follow(ended.signal));
  }

  /** The stream reads by itself. */
  read() {}

  /** Somebody was told that it isn't over: if that isn't older than what its stream said, there is more. @param {Row} row */
  reopen(row) {
    if (this.over && !FINAL.includes(row.status)) this.watch();
  }

  /** @param {AbortSignal} signal */
  async follow(signal) {
    while (!signal.aborted && !this.over) {
      if (this.remote.streams < STREAMS) await this.stream(signal);
      else if (await this.look(signal)) this.over = true;
      else await rest(POLL * (0.75 + Math.random() / 2), signal);
    }
  }

  /** @param {AbortSignal} signal */
  async stream(signal) {
    this.remote.streams += 1;
    try {
      await follow({
        signal,
        connect: (_, cut) => {
          this.asked = this.detailed;
          const last = this.detailed ? `${this.seq}` : NO_EVENTS;
          return this.remote.http.stream(ofRun(this.id, "/stream"), { values: "tagged" }, last, cut);
        },
        opened: () => (this.live = null), // what came meanwhile was not heard
        told: (event) => (this.over = this.hear(event)),
        broken: (error) => (this.over = this.lost(error)),
      });
    } finally {
      this.remote.streams -= 1;
    }
  }

  /** Whether it is over. @param {import("./event-stream.mjs").ServerSent} event */
  hear({ type, data }) {
    if (type === "event") {
      const event = JSON.parse(data);
      if (event.seq !== null && event.seq <= this.seq) return false;
      this.seq = event.seq ?? this.seq;
      this.tell({ run_id: this.id, ...event });
    } else if (type === "run") {
      const told = parsed(data);
      const row = runRow(told);
      this.saw("payload" in told || !this.row ? row : { ...row, payload: this.row.payload }); // it is told once
    } else if (type === "gone") return this.lost(new RunNotFound(this.id));
    return type === "end";
  }

  /** @param {Row} row */
  saw(row) {
    // It may have been resumed, and have failed again, before anybody looked.
    const again = FINAL.includes(row.status) && row.attempt > this.attempt;
    this.attempt = row.attempt;
    [this.row, this.whole, this.frames] = [row, true, this.frames + 1];
    this.showProgress();
    if (row.status !== this.shown.status || again) {
      this.shown.status = row.status;
      this.emit("status", row.status);
    }
    this.remote.changed(this.id);
  }

  /** Whether to give it up. @param {any} error */
  lost(error) {
    if (error instanceof RunNotFound) {
      this.emit("gone", error);
      return true;
    }
    if (isLasting(error)) this.refused.abort(error);
    else this.emit("broken", error);
    return isLasting(error);
  }

  /** As its stream would tell it. Whether it is over. @param {AbortSignal} signal */
  async look(signal) {
    const { store } = this.remote;
    this.asked = this.detailed;
    try {
      const row = await store.get_run(this.id); // first: what it says is then among the events
      if (signal.aborted) return false;
      if (!row) return this.lost(new RunNotFound(this.id));
      for (let more = this.detailed; more; ) {
        const events = await store.read_events(this.id, this.seq, BATCH);
        if (signal.aborted) return false;
        for (const { seq, at, type, data } of events) {
          this.hear({ type: "event", data: JSON.stringify({ seq, at, type, data: JSON.parse(data) }), id: "" });
        }
        more = events.length === BATCH;
      }
      this.saw(row);
      return this.finished;
    } catch (error) {
      return !signal.aborted && this.lost(error);
    }
  }
}
