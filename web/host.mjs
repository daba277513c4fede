/** The page's side of the worker: starts it when this tab is to execute, and restarts what has died. */

import { onReturn } from "./lifecycle.mjs";

/**
 * What the worker is told first.
 * @typedef {object} Init
 * @property {string} pyodide folder of Pyodide's files, with a slash at its end
 * @property {string} base what the lock's file names are relative to
 * @property {string | null} version of Pyodide that the build is for
 * @property {string} stdlib
 * @property {object} lock
 * @property {string | null} library durable_lite's wheel, unless it is among `wheels`
 * @property {string[]} packages of the lock
 * @property {string[]} wheels to load besides, by URL
 * @property {boolean} micropip installs them, by name too
 * @property {Record<string, number>} sizes of files, by URL
 * @property {number} bytes all of them
 * @property {string[]} jobs
 * @property {string} store
 * @property {string} durability
 * @property {string | null} files folder that survives
 * @property {string} via
 * @property {boolean} leads
 * @property {object} options of Python's `Durable`
 */

/**
 * What a tab is doing: `stage` is "idle" (no Python), "download", "jobs", "ready" or "failed"; one that has failed
 * is started again after so many seconds, if there is work.
 * @typedef {{stage: string, loaded?: number, total?: number, kind?: string, message?: string, detail?: string, again?: number}} TabStatus
 */

/**
 * What the worker is told later.
 * @typedef {{op: "lead" | "leave" | "rest" | "beat" | "stop", on?: boolean} | {op: "detour", on: boolean, turn: number}
 *   | {op: "answer", number: number, answer: string}} Order
 */

const SILENCE = 30; // seconds
const DOWNLOAD = 300; // seconds, for one file: only of whole ones is told
const LAST_WORDS = 15; // ms
const [AGAIN, LONGEST] = [30, 600]; // seconds until the next try, twice as many each time

export class Host {
  /**
   * @param {() => Promise<Init>} init
   * @param {{onstatus: (status: TabStatus) => void, onevents: (events: string) => void, onready: (manifest: string, files: string) => void, onagain: () => void, perform: import("./bridge.mjs").Route}} hear
   */
  constructor(init, hear) {
    this.init = init;
    this.hear = hear;
    /** @type {Worker | null} */
    this.worker = null;
    /** @type {TabStatus} */
    this.status = { stage: "idle" };
    this.timer = 0;
    this.stopped = () => {};
    this.left = () => {};
    this.failures = 0; // since Python was ready
    /** @type {(() => void) | null} ends its rest after a failure */
    this.rested = null;
    this.hidden = false;
    this.turn = 0; // how often that was told
    this.detoured = false; // whether the worker has no transaction, and begins none
  }

  /** Whether it has failed, and isn't to be tried again yet. */
  get failed() {
    return this.rested !== null;
  }

  /** Start Python, unless it runs or has just failed. */
  async boot() {
    if (this.worker || this.failed) return;
    const worker = (this.worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" }));
    worker.onmessage = ({ data }) => this.worker === worker && this.take(data);
    worker.onerror = ({ message }) => {
      if (this.worker === worker) this.fail("setup", `worker.mjs can't run: ${message || "is it there, as text/javascript?"}`);
    };
    this.patience();
    if (this.hidden) this.hide(true);
    try {
      const init = await this.init();
      if (this.worker === worker) worker.postMessage({ op: "init", ...init });
    } catch (error) {
      if (this.worker === worker) this.fail("setup", /** @type {Error} */ (error).message);
    }
  }

  /** @param {Order} message */
  post(message) {
    this.worker?.postMessage(message);
  }

  /** @param {any} message */
  take(message) {
    const { op } = message;
    if (op === "events") this.hear.onevents(message.events);
    else if (op === "stage") {
      this.tell({ stage: message.stage, loaded: message.loaded, total: message.total });
      this.patience();
    } else if (op === "ready") {
      clearTimeout(this.timer);
      this.failures = 0;
      this.tell({ stage: "ready" });
      this.hear.onready(message.manifest, message.files);
    } else if (op === "failed") this.fail(message.kind, message.message, message.detail);
    else if (op === "stopped") this.stopped();
    else if (op === "left") this.left();
    else if (op === "ask") this.carryOut(message);
    else if (op === "detoured" && message.turn === this.turn) this.detoured = this.hidden;
  }

  /**
   * A hidden page may be frozen, and with it the worker in the middle of a transaction, which blocks all other tabs
   * for a minute. So what its Python asks of the store is carried out here, where `freeze` is heard.
   * @param {boolean} hidden
   */
  hide(hidden) {
    this.hidden = hidden;
    this.detoured = false;
    this.turn += 1;
    this.post({ op: "detour", on: hidden, turn: this.turn });
  }

  /** @param {{number: number, verb: string, given: string}} asked */
  async carryOut({ number, verb, given }) {
    const worker = this.worker;
    const answer = await this.hear.perform(verb, given);
    if (this.worker === worker) this.post({ op: "answer", number, answer });
  }

  /** Have Python claim nothing more, until it is told to lead; what it has claimed stands in the store then. */
  async leave() {
    if (!this.worker) return;
    const left = new Promise((resolve) => (this.left = () => resolve(undefined)));
    this.post({ op: "leave" });
    await left;
  }

  /** The page is frozen or comes back: time that passed meanwhile is no delay. @param {boolean} on */
  rest(on) {
    this.post({ op: "rest", on });
    if (on) clearTimeout(this.timer);
    else if (this.worker && this.status.stage !== "ready") this.patience();
  }

  /**
   * Within the page's `freeze`: the worker is stopped when that is over. One that had no time yet to leave its
   * transactions to the page gets some to end them, and a page can wait only so.
   */
  lastWords() {
    if (!this.worker || this.detoured) return;
    const until = performance.now() + LAST_WORDS;
    while (performance.now() < until);
  }

  /** A start that says nothing for so long has failed. */
  patience() {
    clearTimeout(this.timer);
    if (!this.worker) return; // whoever was told has stopped it
    const { stage, loaded = 0, total = 0 } = this.status;
    const seconds = stage === "download" && loaded < total ? DOWNLOAD : SILENCE;
    this.timer = setTimeout(() => {
      this.fail("setup", `Python has not started: nothing happened for ${seconds} s after "${stage}"`);
    }, seconds * 1000);
  }

  /** @param {string} kind @param {string} message @param {string} [detail] */
  fail(kind, message, detail = "") {
    this.end();
    const again = Math.min(LONGEST, AGAIN * 2 ** this.failures++);
    const timer = setTimeout(() => this.again(), again * 1000);
    const forget = onReturn(() => this.again()); // or it is online
    this.rested = () => (clearTimeout(timer), forget(), (this.rested = null));
    this.tell({ stage: "failed", kind, message, detail, again });
  }

  /** What was in its way may be over. */
  again() {
    this.rested?.();
    this.hear.onagain();
  }

  /** @param {TabStatus} status */
  tell(status) {
    this.status = status;
    this.hear.onstatus(status);
  }

  /** Release what executes, and end the worker. */
  async stop() {
    this.rested?.();
    if (!this.worker) return;
    const limit = new Promise((resolve) => setTimeout(resolve, 2000));
    const stopped = new Promise((resolve) => (this.stopped = () => resolve(undefined)));
    if (this.status.stage === "ready") {
      this.post({ op: "stop" });
      await Promise.race([stopped, limit]);
    }
    this.end();
    this.tell({ stage: "idle" });
  }

  end() {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
    this.left();
  }
}
