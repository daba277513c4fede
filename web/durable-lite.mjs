/** Durable runs in a page: usable at once, without Python; the tab that executes starts it by itself. */

import { Executor } from "./executor.mjs";
import { IndexedDBStore } from "./indexeddb.mjs";
import { KnownJobs } from "./known-jobs.mjs";
import { Run } from "./run.mjs";
import { checkOptions } from "./tab-options.mjs";
import { nameOf } from "./trigger-options.mjs";
import { makeId } from "./triggers.mjs";
import { Setup } from "./setup.mjs";

export {
  Busy, Conflict, DurableError, FINAL, RESUMABLE, RunNotFound, StoreError, StoreUnavailable, TokenNotFound,
} from "./statuses.mjs";
export { Run, RunFailed } from "./run.mjs";
export { decode } from "./values.mjs";

/** @typedef {import("./host.mjs").TabStatus} TabStatus */
/** @typedef {import("./source.mjs").ListFilter} ListFilter */
/** @typedef {import("./source.mjs").Told} Told */
/** @typedef {import("./tab-options.mjs").TabOptions} TabOptions */
/** @typedef {import("./triggers.mjs").TriggerOptions} TriggerOptions */

const now = () => Date.now() / 1000;
// Like moving.mjs, few pages need these.
const OUTSIDE = () => import("./outside.mjs");
const STEERING = () => import("./steering.mjs");

/**
 * Open a store in this tab. Returns before there is any Python: trigger, list and watch at once.
 * @param {TabOptions} options
 * @returns {Promise<Tab>}
 */
export async function openTab(options) {
  const tab = new Tab(checkOptions(options));
  await tab.open();
  return tab;
}

/**
 * A store as one tab sees it. `event` of this target: every live event of every run (`detail`);
 * `status`: what the tab's Python is doing; `lead`: whether this tab executes.
 */
export class Tab extends EventTarget {
  /** @param {import("./tab-options.mjs").Checked} options */
  constructor(options) {
    super();
    this.options = options;
    this.store = new IndexedDBStore(options.store, { durability: options.durability });
    this.setup = new Setup(options);
    this.known = new KnownJobs(this.store, this.setup);
    this.executor = new Executor(this, {
      status: (status) => {
        options.onStatus?.(status);
        this.dispatchEvent(new CustomEvent("status", { detail: status }));
      },
      events: (text) => {
        this.channel?.postMessage(text);
        this.heard(text);
      },
      lead: (leads) => this.dispatchEvent(new CustomEvent("lead", { detail: leads })),
      page: (facts) => this.dispatchEvent(new CustomEvent("page", { detail: facts })),
    });
    this.closed = false;
    this.readOnly = false;
    /** @type {BroadcastChannel | null} */
    this.channel = null;
  }

  /** What the tab's Python is doing. @returns {TabStatus} */
  get status() {
    return this.executor.status;
  }

  /** Whether this tab executes runs now. */
  get leads() {
    return this.executor.leads;
  }

  async open() {
    await this.store.open();
    this.store.listen((changes) => this.executor.changed(changes));
    this.channel = new BroadcastChannel(`durable-lite:${this.options.store}:live`);
    this.channel.onmessage = ({ data }) => this.heard(data);
    this.executor.open();
  }

  // Runs

  /**
   * Store a new run; it executes here or in another tab of this origin. Throws `Busy` under `onBusy: "reject"`.
   * @param {string} job
   * @param {any} [payload]
   * @param {TriggerOptions} [options]
   * @returns {Promise<Run>}
   */
  async trigger(job, payload = null, options = {}) {
    const at = now();
    const row = await this.known.row({ id: makeId(at), now: at, job, payload, options });
    const [{ run, disposition }] = await this.store.create_runs([row]);
    return new Run(this, run.id, run, disposition);
  }

  /**
   * Runs that match all that is given, newest first.
   * @param {{status?: string | string[], job?: string, tag?: string | string[], limit?: number}} [filter] of tags, all
   * @returns {Promise<Run[]>}
   */
  async runs({ status, job = undefined, tag = undefined, limit = 50 } = {}) {
    const statuses = status === undefined ? null : [status].flat();
    const rows = await this.store.list_runs({ statuses, job: job ?? null, tags: [tag ?? []].flat(), limit });
    return rows.map((row) => new Run(this, row.id, row));
  }

  /** A page of them, with a cursor to the next, and with a search. @param {ListFilter} [filter] */
  async listRuns(filter = {}) {
    return (await STEERING()).listRuns(this, filter);
  }

  /** Tell the newest of them now, and whenever they have changed; returns what ends it. @param {ListFilter} filter @param {Told} told */
  live(filter, told) {
    const ended = new AbortController();
    STEERING().then(({ live }) => live(this, filter, told, ended.signal));
    return () => ended.abort();
  }

  /** The jobs that the last worker knew, by name. */
  async knownJobs() {
    return (await STEERING()).knownJobs(this);
  }

  /** The handle on a run, whether or not it is there. @param {string} id @returns {Run} */
  run(id) {
    return new Run(this, id);
  }

  /** @param {string} id */
  async cancel(id) {
    await this.store.cancel_run(id, now());
    const text = JSON.stringify([{ run_id: id, seq: null, at: now(), type: "run.cancelled", data: {} }]);
    this.channel?.postMessage(text);
    this.heard(text);
  }

  /** @param {string} id */
  async resume(id) {
    await this.store.resume_run(id, now());
  }

  /** Remove a finished run with all it has. @param {string} id */
  async delete(id) {
    await this.store.delete_run(id);
  }

  /** A new run of the same job, without checkpoints; with the same payload unless another is given. @param {string} id @param {any} [payload] */
  async replay(id, payload = undefined) {
    return (await STEERING()).replay(this, id, payload, now());
  }

  /** A new run with the checkpoints that were stored before this step's. @param {string} id @param {string} fromStep its path */
  async fork(id, fromStep) {
    return (await STEERING()).fork(this, id, fromStep, now());
  }

  /** Hand an unfinished run over: it is MOVED here, and goes on where this document is imported. @param {string} id */
  async exportRun(id) {
    const { exportRun } = await import("./moving.mjs");
    return exportRun(this.store, id, now());
  }

  /** Go on here with a run from elsewhere. Throws `InvalidDocument`, `TooLarge`; `Conflict` if it is here. @param {string} text */
  async importRun(text) {
    const { read } = await import("./moving.mjs");
    const run = await this.store.import_run(read(text), now());
    return new Run(this, run.id, run);
  }

  /**
   * Keep the promise of a token; again is a no-op, the first value counts. Throws `TokenNotFound`, and `Conflict`
   * once it has expired or its run has ended. @param {string} id @param {any} [value] plain data
   */
  async completeToken(id, value = null) {
    return (await OUTSIDE()).completeToken(this.store, id, value, now());
  }

  /** Let whoever waits for a token get `TokenFailed` with this message. @param {string} id @param {string} message */
  async failToken(id, message) {
    return (await OUTSIDE()).failToken(this.store, id, message, now());
  }

  /** Newest first; `state` is pending, completed, failed or expired. @param {{state?: string, run?: string, limit?: number}} [filter] */
  async tokens(filter = {}) {
    return (await OUTSIDE()).tokens(this.store, filter);
  }

  /**
   * Start the jobs that are on such an event, and wake the runs that wait for one: once for an id (of 30 days).
   * @param {string} name
   * @param {any} [payload] plain data
   * @param {{id?: string | null}} [options]
   */
  async sendEvent(name, payload = null, { id = null } = {}) {
    return (await OUTSIDE()).sendEvent(this.store, name, payload, id, now());
  }

  /** Let no run of a queue start, nor go on after a wait; what executes goes on. @param {string} name */
  async pauseQueue(name) {
    await this.store.pause_queue(nameOf(name, "queue"), true, now());
  }

  /** Let them go on. @param {string} name */
  async resumeQueue(name) {
    await this.store.pause_queue(nameOf(name, "queue"), false, now());
  }

  /** The queues with limits, or that are or were paused, by name, and how many runs are there. */
  queues() {
    return this.store.list_queues();
  }

  /** What starts runs by the clock, by job and name. */
  schedules() {
    return this.store.list_schedules();
  }

  /** Start no runs by it, until it is resumed. @param {string} job @param {string} name */
  async pauseSchedule(job, name) {
    await (await STEERING()).pauseSchedule(this, job, name, true, now());
  }

  /** Go on from now. @param {string} job @param {string} name */
  async resumeSchedule(job, name) {
    await (await STEERING()).pauseSchedule(this, job, name, false, now());
  }

  /** Let go: what executes here is released, for another tab or the next visit. */
  async close() {
    this.closed = true;
    await this.executor.close();
    this.channel?.close();
    await this.store.close();
    this.dispatchEvent(new Event("closed"));
  }

  /** Live events as JSON, of this tab's worker or of another tab. @param {string} text */
  heard(text) {
    for (const event of JSON.parse(text)) {
      this.dispatchEvent(new CustomEvent("event", { detail: event }));
    }
  }
}
