/** Runs on a server, over its HTTP API, with the interface that a tab has: `openRemote` instead of `openTab`. */

import { described } from "./brief.mjs";
import {
  eventRow, logRow, optionsTold, queueState, runRow, scheduleRow, stepRow, text, tokenRow,
} from "./remote-rows.mjs";
import { live } from "./remote-live.mjs";
import { idPart, ofRun, part, Requests } from "./remote-requests.mjs";
import { RemoteRun } from "./remote-run.mjs";
import { RunNotFound, TokenNotFound } from "./statuses.mjs";
import { InvalidOption, moment, nameOf } from "./trigger-options.mjs";
import { encode } from "./values.mjs";

export {
  Busy, Conflict, DurableError, FINAL, RESUMABLE, RunNotFound, StoreError, StoreUnavailable, TokenNotFound,
} from "./statuses.mjs";
export { Unauthorized } from "./problems.mjs";
export { RunFailed } from "./run.mjs";
export { decode } from "./values.mjs";
export { RemoteRun } from "./remote-run.mjs";

/** @typedef {import("./records.mjs").Run} Row */
/** @typedef {import("./run.mjs").Run} Run */
/** @typedef {import("./source.mjs").ListFilter} ListFilter */
/** @typedef {import("./source.mjs").Told} Told */
/** @typedef {import("./triggers.mjs").TriggerOptions} TriggerOptions */

const TOGETHER = 4; // requests for what the API has no list of

/** @typedef {import("./remote-requests.mjs").Query} Query */
/**
 * @typedef {object} RemoteOptions
 * @property {string | null} [token] what the server wants to be shown
 * @property {typeof globalThis.fetch} [fetch] instead of the browser's
 * @property {boolean} [readOnly] for a token that may only look: what shows runs then has no buttons
 */

/**
 * Open a server's runs. Asks nothing yet.
 * @param {string | URL} url where the server is, such as `"https://example.org/runs"`: its API is below it at `/api`
 * @param {RemoteOptions} [options]
 * @returns {Promise<Remote>}
 */
export async function openRemote(url, { token = null, fetch, readOnly = false, ...unknown } = {}) {
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw new InvalidOption(name, "openRemote has no such option");
  return new Remote(new Requests(url, token, fetch), Boolean(readOnly));
}

/**
 * A server as one page sees it. `unauthorized` of this target: the token isn't, or no more, what the server wants
 * (`detail`: the error); told once.
 */
export class Remote extends EventTarget {
  /** @param {Requests} http @param {boolean} readOnly */
  constructor(http, readOnly) {
    super();
    this.http = http;
    http.onrefused = (error) => this.dispatchEvent(new CustomEvent("unauthorized", { detail: error }));
    this.readOnly = readOnly;
    this.closed = false;
    this.streams = 0;
    /** Handles that somebody listens to. @type {Set<RemoteRun>} */
    this.watched = new Set();
    /** @type {Set<(changes: import("./records.mjs").Change[]) => void>} */
    this.listeners = new Set();
    /** @type {import("./source.mjs").RunStore} */
    this.store = {
      announces_all: false,
      get_run: (id) => this.row(id),
      get_runs: (ids) => this.rows(ids),
      load_steps: async (id) => {
        const { steps } = await this.http.ask("GET", ofRun(id, "/steps"), { query: { values: "tagged" } });
        return steps.map((/** @type {any} */ told) => stepRow(id, told));
      },
      read_logs: async (id) => {
        const { logs } = await this.http.ask("GET", ofRun(id, "/logs"));
        return logs.map((/** @type {any} */ told, /** @type {number} */ at) => logRow(id, told, at));
      },
      read_events: async (id, after, limit) => {
        const { events } = await this.http.ask("GET", ofRun(id, "/events"), { query: { after, limit } });
        return events.map((/** @type {any} */ told) => eventRow(id, told));
      },
      listen: (listener) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
      },
    };
  }

  // Runs

  /**
   * A new run, on the server. If no answer comes it may be there all the same: with an `idempotencyKey` it is safe to
   * try again.
   * @param {string} job
   * @param {any} [payload]
   * @param {TriggerOptions} [options]
   * @returns {Promise<Run>}
   */
  async trigger(job, payload = null, options = {}) {
    const body = { job: text(nameOf(job, "job")), payload: encode(payload, `payload of ${job}`) };
    return this.made("runs", { ...body, options: encode(optionsTold(options), "options") });
  }

  /**
   * Runs that match all that is given, newest first.
   * @param {{status?: string | string[], job?: string, tag?: string | string[], limit?: number}} [filter] of tags, all
   * @returns {Promise<Run[]>}
   */
  async runs(filter = {}) {
    return (await this.listRuns(filter)).runs;
  }

  /** A page of them, with a cursor to the next, and with a search. @param {ListFilter} [filter] @returns {Promise<import("./source.mjs").RunPage>} */
  async listRuns(filter = {}) {
    const query = this.query(filter);
    if (!query) return { runs: [], cursor: null, searched: null };
    const { runs, cursor, searched } = await this.http.ask("GET", "runs", { query: { ...query, values: "tagged" } });
    return { runs: runs.map((/** @type {any} */ told) => this.handle(told)), cursor, searched };
  }

  /** Tell the newest of them now, and whenever they have changed; returns what ends it. @param {ListFilter} filter @param {Told} told */
  live(filter, told) {
    const ended = new AbortController();
    live(this, filter, told, AbortSignal.any([ended.signal, this.http.ended.signal]));
    return () => ended.abort();
  }

  /** The jobs that the server, or a worker of its store, knows, by name. @returns {Promise<import("./source.mjs").KnownJob[]>} */
  async knownJobs() {
    const { jobs } = await this.http.ask("GET", "jobs");
    return jobs.map((/** @type {any} */ { name, version, queue }) => ({ name, version, queue }));
  }

  /** The handle on a run, whether or not it is there. @param {string} id @returns {Run} */
  run(id) {
    return new RemoteRun(this, id);
  }

  /** @param {string} id */
  async cancel(id) {
    await this.steer(id, "cancel");
  }

  /** @param {string} id */
  async resume(id) {
    await this.steer(id, "resume");
  }

  /** Remove a finished run with all it has. @param {string} id */
  async delete(id) {
    await this.http.ask("DELETE", ofRun(id));
    this.changed(id);
  }

  /** A new run of the same job, without checkpoints; with the same payload unless another is given. @param {string} id @param {any} [payload] */
  async replay(id, payload = undefined) {
    /** @type {Record<string, string>} */
    const body = payload === undefined ? {} : { payload: encode(payload, `payload of a replay of ${id}`) };
    return this.made(ofRun(id, "/replay"), body);
  }

  /** A new run with the checkpoints that were stored before this step's. @param {string} id @param {string} fromStep its path */
  async fork(id, fromStep) {
    return this.made(ofRun(id, "/fork"), { from_step: text(fromStep) });
  }

  /** Hand an unfinished run over: it is MOVED there, and goes on where this document is imported. @param {string} id @returns {Promise<string>} */
  async exportRun(id) {
    const { document } = await this.http.ask("POST", ofRun(id, "/export"));
    this.changed(id);
    return document;
  }

  /** Go on there with a run from elsewhere. Throws `InvalidDocument`, `TooLarge`; `Conflict` if it is there. @param {string} document */
  async importRun(document) {
    return this.made("runs/import", { document: text(document) });
  }

  // What runs wait for

  /**
   * Keep the promise of a token; again is a no-op, the first value counts. Throws `TokenNotFound`, and `Conflict`
   * once it has expired or its run has ended. @param {string} id @param {any} [value] plain data
   */
  async completeToken(id, value = null) {
    return this.settle(id, "complete", { value: encode(value, `token ${id}`) });
  }

  /** Let whoever waits for a token get `TokenFailed` with this message. @param {string} id @param {string} message */
  async failToken(id, message) {
    return this.settle(id, "fail", { message: text(message) });
  }

  /** Newest first; `state` is pending, completed, failed or expired. @param {{state?: string, run?: string, limit?: number}} [filter] */
  async tokens({ state, run, limit = 50 } = {}) {
    const { tokens } = await this.http.ask("GET", "tokens", { query: { state, run, limit, values: "tagged" } });
    return /** @type {import("./records.mjs").Token[]} */ (tokens.map(tokenRow));
  }

  /**
   * Start the jobs that are on such an event, and wake the runs that wait for one: once for an id (of 30 days).
   * @param {string} name
   * @param {any} [payload] plain data
   * @param {{id?: string | null}} [options]
   * @returns {Promise<import("./records.mjs").Sent>}
   */
  async sendEvent(name, payload = null, { id = null } = {}) {
    const body = { name: text(nameOf(name, "name of an event")), payload: encode(payload, `event ${name}`) };
    return this.change("events", id === null ? body : { ...body, id: text(id) });
  }

  // Queues and schedules

  /** The queues with limits, or that are or were paused, by name, and how many runs are there. */
  async queues() {
    const { queues } = await this.http.ask("GET", "queues");
    return /** @type {import("./records.mjs").QueueState[]} */ (queues.map(queueState));
  }

  /** Let no run of a queue start, nor go on after a wait; what executes goes on. @param {string} name */
  async pauseQueue(name) {
    await this.change(`queues/${part(name, wrongName)}/pause`);
  }

  /** Let them go on. @param {string} name */
  async resumeQueue(name) {
    await this.change(`queues/${part(name, wrongName)}/resume`);
  }

  /** What starts runs by the clock, by job and name. */
  async schedules() {
    const { schedules } = await this.http.ask("GET", "schedules");
    return /** @type {import("./records.mjs").ScheduleRow[]} */ (schedules.map(scheduleRow));
  }

  /** Start no runs by it, until it is resumed. @param {string} job @param {string} name */
  async pauseSchedule(job, name) {
    await this.change("schedules/pause", { job: text(job), name: text(name) });
  }

  /** Go on from now. @param {string} job @param {string} name */
  async resumeSchedule(job, name) {
    await this.change("schedules/resume", { job: text(job), name: text(name) });
  }

  /** Follow nothing any more, and ask nothing. */
  async close() {
    this.closed = true;
    for (const run of this.watched) run.close();
    this.http.close();
    this.listeners.clear();
    this.dispatchEvent(new Event("closed"));
  }

  // What these are made of

  /** @param {string} id @returns {Promise<Row | null>} */
  async row(id) {
    try {
      const told = await this.http.ask("GET", ofRun(id), { query: { values: "tagged" } });
      const row = runRow(told);
      this.noticed(row);
      return row;
    } catch (error) {
      if (error instanceof RunNotFound) return null;
      throw error;
    }
  }

  /** Those that are there. @param {string[]} ids @returns {Promise<Row[]>} */
  async rows(ids) {
    /** @type {(Row | null)[]} */
    const found = [];
    for (let at = 0; at < ids.length; at += TOGETHER) {
      found.push(...(await Promise.all(ids.slice(at, at + TOGETHER).map((id) => this.row(id)))));
    }
    return found.filter((row) => row !== null);
  }

  /** The runs that a run has started. @param {string} id */
  async children(id) {
    const { runs } = await this.http.ask("GET", ofRun(id, "/children"));
    return runs.map((/** @type {any} */ told) => new RemoteRun(this, told.id, runRow(told), null, false));
  }

  /** The handle on a run that is told with all it has. @param {any} told */
  handle(told) {
    const row = runRow(told);
    this.noticed(row);
    return new RemoteRun(this, row.id, row, told.disposition ?? null);
  }

  /** @param {string} path @param {Record<string, string>} body @returns {Promise<RemoteRun>} */
  async made(path, body) {
    return this.handle(await this.change(path, body, { values: "tagged" }));
  }

  /** @param {string} id @param {string} how */
  async steer(id, how) {
    this.handle(await this.change(ofRun(id, `/${how}`), undefined, { values: "tagged" }));
  }

  /** @param {string} id @param {string} how @param {Record<string, string>} body */
  async settle(id, how, body) {
    return tokenRow(await this.change(`tokens/${idPart(id, (id) => new TokenNotFound(id))}/${how}`, body, { values: "tagged" }));
  }

  /** @param {string} path @param {Record<string, string>} [body] @param {Query} [query] @returns {Promise<any>} */
  async change(path, body, query) {
    const answer = await this.http.ask("POST", path, { body, query });
    this.changed(null);
    return answer;
  }

  /** What a list is asked by; null if nothing can match. @param {ListFilter} filter @returns {Query | null} */
  query({ status, job, tag, search, createdAfter, createdBefore, limit = 50, cursor }) {
    if (Array.isArray(status) && !status.length) return null;
    return {
      ...{ status, job, tag, limit, cursor },
      search: search || undefined, // all have nothing in them
      created_after: createdAfter === undefined ? undefined : moment(createdAfter, "createdAfter"),
      created_before: createdBefore === undefined ? undefined : moment(createdBefore, "createdBefore"),
    };
  }

  /** A run was seen as it is now: who follows it no more may have to again. @param {Row} row */
  noticed(row) {
    for (const run of this.watched) if (run.id === row.id) run.reopen(row);
  }

  /** @param {string | null} run_id null: anything */
  changed(run_id) {
    for (const listener of this.listeners) listener([{ run_id, claimable: false }]);
  }
}

/** @param {string} name */
const wrongName = (name) => new InvalidOption("name", `${described(name)} can't be in an address`);
