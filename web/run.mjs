/** A run as a page sees it: watched from wherever it executes, and steered. */

import { DurableError, FINAL, RunNotFound, StoreUnavailable } from "./statuses.mjs";
import { decode } from "./values.mjs";

/** @typedef {import("./records.mjs").Run} Row */

const PAUSE = 100; // ms between two looks at a run's steps
const BATCH = 1000; // events
const MOST = 1000; // children
const PAST = 1000; // steps whose end is remembered
const ENDS = ["step.completed", "step.failed"];
/** Nothing of an execution is in flight after these. */
const LEAVES = [...FINAL, "STALE", "RELEASED", "WAITING", "RETRYING"].map((status) => `run.${status.toLowerCase()}`);

/** A run ended without a result; `status` and `error` (type, message) say how. */
export class RunFailed extends DurableError {
  /** @param {string} id @param {string} status @param {any} error */
  constructor(id, status, error) {
    super(`run ${id} is ${status}${error?.message ? `: ${error.message}` : ""}`);
    this.id = id;
    this.status = status;
    this.error = error;
  }
}

/** Progress that was told live, when, and of which execution as far as that is known. @typedef {{at: number, generation: number | null, progress: any}} Live */

/** @param {{at: number, data: any}} event @param {Row | null | undefined} row as it is known @returns {Live} */
export function live({ at, data }, row) {
  return { at, generation: row?.status === "EXECUTING" ? row.generation : null, progress: data };
}

/** Whether it is newer than what the row has, which is the last heartbeat's. @param {Live | null} live @param {Row | null | undefined} row */
export function isAhead(live, row) {
  if (!live || row?.status !== "EXECUTING") return false;
  if (row.last_seen_at !== null) return live.at >= row.last_seen_at; // when it was claimed
  live.generation ??= row.generation; // servers don't tell that
  return live.generation === row.generation;
}

/**
 * The handle on one run. Its events, each with a `detail`, begin with what is stored: `status` (text),
 * `progress` ({current, total, message}), `step`, `log`, and `event` for each event of any kind. `gone` (an error):
 * the run was there, and is no more.
 */
export class Run extends EventTarget {
  /**
   * @param {import("./source.mjs").Source} source
   * @param {string} id
   * @param {Row | null} [row] as it was when last looked at
   * @param {string | null} [disposition] of a trigger: "created", "idempotent" or "coalesced"
   */
  constructor(source, id, row = null, disposition = null) {
    super();
    this.source = source;
    this.id = id;
    this.row = row;
    this.disposition = disposition;
    /** @type {(() => void) | null} */
    this.unwatch = null;
    this.seq = 0;
    /** @type {Map<string, number>} when steps have ended, the newest ones; by path */
    this.past = new Map();
    /**
     * When the steps in flight have begun (epoch seconds), by path, while somebody listens to `step` or `event`.
     * @type {Map<string, number>}
     */
    this.inFlight = new Map();
    /** @type {Live | null} */
    this.live = null;
    this.shown = { status: "", progress: "" };
    /** @type {Promise<void> | null} */
    this.reading = null;
    this.again = false;
    /** Whether anybody wants to know of each step, not only how it ends. */
    this.close_up = false;
    this.waiting = 0; // for its end
    this.listened = false; // by anybody else
    this.timer = 0;
  }

  get job() {
    return this.row?.job ?? null;
  }
  get status() {
    return this.row?.status ?? null;
  }
  get finished() {
    return FINAL.includes(this.row?.status ?? "");
  }
  get payload() {
    return this.row && decode(this.row.payload);
  }
  get output() {
    return this.row?.output ? decode(this.row.output) : null;
  }
  get error() {
    return this.row?.error ? JSON.parse(this.row.error) : null;
  }
  get progress() {
    const { row, live } = this;
    return isAhead(live, row) ? live?.progress : JSON.parse(row?.progress || "null");
  }
  get createdAt() {
    return this.row && new Date(this.row.created_at * 1000);
  }

  /** Whether stored events are told, too. */
  get hearsEnds() {
    return this.close_up;
  }

  /** Look again; returns itself. `RunNotFound` when it is not there. */
  async refresh() {
    const row = await this.source.store.get_run(this.id);
    if (!row) throw new RunNotFound(this.id);
    this.row = row;
    return this;
  }

  /**
   * The job's output, once it has ended, whichever tab executes it. Throws `RunFailed`; `RunNotFound` when it is
   * not there, or no more: the site's data was cleared; `StoreUnavailable` when its tab is closed.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<any>}
   */
  async result({ signal } = {}) {
    signal?.throwIfAborted();
    await this.refresh();
    if (!this.finished) await this.end(signal);
    if (this.status === "COMPLETED") return this.output;
    throw new RunFailed(this.id, this.status ?? "", this.error);
  }

  /** @param {AbortSignal} [signal] */
  end(signal) {
    const { promise, resolve, reject } = Promise.withResolvers();
    const hear = () => this.finished && resolve(undefined);
    const lose = (/** @type {any} */ { detail }) => reject(detail);
    const give_up = () => reject(signal?.reason);
    const close = () => reject(new StoreUnavailable(`closed while the result of ${this.id} was awaited`));
    signal?.addEventListener("abort", give_up);
    this.source.addEventListener("closed", close);
    super.addEventListener("gone", lose);
    super.addEventListener("status", hear);
    this.waiting += 1;
    if (!this.unwatch) this.watch();
    return promise.finally(() => {
      this.removeEventListener("gone", lose);
      this.removeEventListener("status", hear);
      signal?.removeEventListener("abort", give_up);
      this.source.removeEventListener("closed", close);
      this.waiting -= 1;
      if (!this.waiting && !this.listened) this.close(); // a page may wait for thousands
    });
  }

  /** Steps and waits: completed ones in order, then the others. */
  steps() {
    return this.source.store.load_steps(this.id);
  }
  /** Lines of the run log. */
  logs() {
    return this.source.store.read_logs(this.id);
  }
  /** All stored events, in order; those after a `seq`. @returns {Promise<import("./source.mjs").HistoryEvent[]>} */
  async history(after = 0) {
    /** @type {import("./source.mjs").HistoryEvent[]} */
    const found = [];
    for (let more = true; more; ) {
      const batch = await this.source.store.read_events(this.id, found.at(-1)?.seq ?? after, BATCH);
      for (const { seq, at, type, data } of batch) found.push({ seq, at, type, data: JSON.parse(data) });
      more = batch.length === BATCH;
    }
    return found;
  }
  /** The runs that this one has started, at most 1,000. @returns {Promise<Run[]>} */
  async children() {
    return (await import("./steering.mjs")).children(this.source, this.id, MOST);
  }
  cancel() {
    return this.source.cancel(this.id);
  }
  resume() {
    return this.source.resume(this.id);
  }

  /** Watch while anybody listens. @type {EventTarget["addEventListener"]} */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
    this.listened = true;
    const close_up = type !== "status" && type !== "gone";
    if (this.unwatch && close_up && !this.close_up) this.read(); // what was passed over so far
    this.close_up ||= close_up;
    if (!this.unwatch) this.watch();
  }

  /** Hear no more. */
  close() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.unwatch?.();
    this.unwatch = this.live = null;
    this.inFlight.clear();
  }

  watch() {
    const unlisten = this.source.store.listen((changes) => {
      const ours = changes.filter(({ run_id }) => run_id === null || run_id === this.id);
      if (ours.some((change) => !change.step)) this.read();
      else if (ours.length && this.close_up) this.readSoon();
    });
    const hear = (/** @type {any} */ { detail }) => {
      if (detail.run_id === this.id && detail.type !== "run.cancelled") this.tell(detail);
    };
    this.source.addEventListener("event", hear);
    this.unwatch = () => {
      unlisten();
      this.source.removeEventListener("event", hear);
    };
    this.read();
  }

  /** To read after each step would keep the next one waiting: a read and a write take turns. */
  readSoon() {
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      this.read();
    }, PAUSE);
  }

  /** Tell what has been stored since the last look. */
  read() {
    this.again = true;
    this.reading ??= this.readAll().finally(() => (this.reading = null));
  }

  async readAll() {
    while (this.again && this.unwatch) {
      this.again = false;
      try {
        // First the row: what it says is then among the events.
        await this.refresh();
        const events = this.close_up ? await this.source.store.read_events(this.id, this.seq, BATCH) : [];
        this.again ||= events.length === BATCH;
        for (const event of events) {
          this.seq = event.seq;
          this.tell({ ...event, data: JSON.parse(event.data) });
        }
      } catch (error) {
        if (error instanceof RunNotFound) {
          if (this.row) this.emit("gone", error);
          return;
        }
        if (!this.source.closed) setTimeout(() => this.read(), 1000); // the store is down for the moment
        return;
      }
      this.showProgress();
      if (this.row && this.row.status !== this.shown.status) {
        this.shown.status = this.row.status;
        this.emit("status", this.row.status);
      }
    }
  }

  showProgress() {
    const { progress } = this;
    const text = JSON.stringify(progress);
    if (!progress || text === this.shown.progress) return;
    this.shown.progress = text;
    this.emit("progress", progress);
  }

  /** @param {{type: string, at: number, data: any}} event */
  tell(event) {
    const { type, at, data } = event;
    // What is live and what is stored come by two ways: of a short step the end may be heard before its start.
    if (type === "step.started") {
      if (at <= (this.past.get(data.path) ?? -Infinity)) return;
      if (this.hearsEnds) this.inFlight.set(data.path, at);
    } else if (ENDS.includes(type)) {
      this.past.delete(data.path); // so that it is the newest
      this.past.set(data.path, at);
      if (this.past.size > PAST) this.past.delete(/** @type {string} */ (this.past.keys().next().value));
      if (at >= (this.inFlight.get(data.path) ?? Infinity)) this.inFlight.delete(data.path);
    } else if (LEAVES.includes(type)) {
      for (const [path, begun] of [...this.inFlight]) if (begun <= at) this.inFlight.delete(path);
    }
    if (type === "run.progress") {
      this.live = live(event, this.row);
      this.shown.progress = JSON.stringify(data);
      this.emit("progress", data);
    } else if (type.startsWith("step.")) this.emit("step", event);
    else if (type === "run.log") this.emit("log", data);
    this.emit("event", event);
  }

  /** @param {string} type @param {any} detail */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
