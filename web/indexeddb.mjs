/**
 * Runs in IndexedDB: every verb of the store is one method and one transaction. The page calls them
 * as they are; Python calls the very same ones through a bridge, with JSON text in both directions.
 */

import { Bridge } from "./bridge.mjs";
import { anyClaimable, anyWork, claimRuns, lackConnections, unconnected } from "./claims.mjs";
import { Connection } from "./connection.mjs";
import { create, CREATING, fork, resume } from "./creating.mjs";
import { done, under } from "./database.mjs";
import { listTriggers, sendEvent, SENDING, setTriggers } from "./events.mjs";
import { list, listTokens } from "./listing.mjs";
import { arrive, leave } from "./moves.mjs";
import { limit, listQueues, nextDue, pause, Places } from "./queues.mjs";
import { append, checkTurn, existing, find, forget, log, put, record, refusal } from "./rows.mjs";
import { Saves } from "./saves.mjs";
import { listSchedules, nextTick, pauseSchedule, setSchedules, tick } from "./schedules.mjs";
import * as s from "./statuses.mjs";
import * as waits from "./waits.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {import("./records.mjs").ScheduleRow} ScheduleRow */
/** @typedef {import("./records.mjs").Lease} Lease */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {import("./records.mjs").StoredEvent} StoredEvent */

const WRITE = "readwrite";
const PLACES = ["runs", "queues", "starts"];
const ENDING = [...PLACES, "steps", "events", "leases"]; // what an outsider touches who ends a run
const ALL = ["runs", "steps", "unfinished", "events", "logs", "tags", "tokens", "more_keys"]; // that a final run has

/** @param {Step} a @param {Step} b */
const byStart = (a, b) => a.started_at - b.started_at || byText(a.path, b.path);
/** As IndexedDB's keys, which are slow to compare. @param {string} a @param {string} b */
const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

export class IndexedDBStore extends Connection {
  /**
   * @param {string} name of the store: a database `durable-lite:<name>` of this origin
   * @param {{durability?: import("./database.mjs").Durability}} [options]
   */
  constructor(name, { durability = "strict" } = {}) {
    super(name, { durability });
    this.saves = new Saves(this);
  }

  async close() {
    this.quiet(false);
    await this.saves.finished;
    super.close();
  }

  // Runs

  /** @param {import("./records.mjs").NewRun[]} runs */
  async create_runs(runs) {
    const { created, changes } = await this.transact(CREATING, WRITE, (t) => create(t, runs));
    this.announce(...changes);
    return created;
  }

  /** @param {import("./records.mjs").NewRun} run @param {Step[]} steps */
  async fork_run(run, steps) {
    const { created, changes } = await this.transact([...CREATING, "steps"], WRITE, (t) => fork(t, run, steps));
    this.announce(...changes);
    return created;
  }

  /** @param {string} id @returns {Promise<Run | null>} */
  async get_run(id) {
    return (await this.transact("runs", "readonly", (t) => find(t, id))) ?? null;
  }

  /** Those that are there, in the order of their ids as given. @param {string[]} ids @returns {Promise<Run[]>} */
  async get_runs(ids) {
    const found = await this.transact("runs", "readonly", (t) => Promise.all(ids.map((id) => find(t, id))));
    return found.filter((run) => run !== undefined);
  }

  /** Newest first. @param {import("./records.mjs").RunFilter} filter @returns {Promise<Run[]>} */
  async list_runs(filter) {
    const { statuses, tags = [], limit } = filter;
    if (statuses?.length === 0 || (limit !== undefined && limit < 1)) return [];
    return this.transact(tags.length ? ["runs", "tags"] : "runs", "readonly", (t) => list(t, filter));
  }

  // A worker's claim on a run

  /** @param {string} id @param {string} info @param {number} now @param {string} via */
  async register_worker(id, info, now, via) {
    await this.transact("workers", WRITE, async (t) => t.objectStore("workers").put({ id, info, now, via }));
    return via;
  }

  /** @param {string} id */
  async unregister_worker(id) {
    await this.transact("workers", WRITE, async (t) => t.objectStore("workers").delete(id));
  }

  /** Those of `ids` whose leases are held under the tab's Web Lock. @param {string[]} ids */
  async locking_workers(ids) {
    const rows = await this.transact("workers", "readonly", (t) => done(t.objectStore("workers").getAll()));
    return rows.filter((row) => row.via === "lock" && ids.includes(row.id)).map((row) => row.id);
  }

  /**
   * @param {string} worker
   * @param {string[]} jobs
   * @param {number} limit
   * @param {number} now
   * @param {string} via
   * @param {Record<string, string[]>} [versions] of jobs that are claimed in some only; "" is none
   */
  async claim_runs(worker, jobs, limit, now, via, versions = {}) {
    if (limit < 1) return [];
    const { silences } = this.database;
    // Asked first without a write, which would wait for others.
    if (!(await this.transact(PLACES, "readonly", (t) => anyWork(t, jobs, now)))) return [];
    const { claims, changes } = await this.transact(ENDING, WRITE, async (t) => {
      if (this.database.silences > silences) return { claims: [], changes: [] }; // it may be another tab's turn now
      return claimRuns(t, worker, jobs, limit, now, via, versions);
    });
    this.announce(...changes);
    return claims;
  }

  /** @param {string[]} jobs */
  async lack_connections(jobs) {
    if (!(await this.transact("runs", "readonly", (t) => unconnected(t, jobs))).length) return;
    this.announce(...(await this.transact("runs", WRITE, (t) => lackConnections(t, jobs))));
  }

  /** @returns {Promise<number | null>} */
  async next_due() {
    return this.transact(PLACES, "readonly", nextDue);
  }

  /**
   * @param {string} worker
   * @param {import("./records.mjs").Beat[]} beats
   * @param {number} now
   * @returns {Promise<Record<string, Refusal>>}
   */
  async beat(worker, beats, now) {
    const told = beats.some((one) => one.progress !== null || one.metadata !== null || one.logs.length);
    const lost = await this.transact(told ? ["leases", "runs", "logs"] : "leases", WRITE, async (t) => {
      const lost = [];
      for (const one of beats) {
        const lease = await done(t.objectStore("leases").get(one.run_id));
        if (!lease || lease.generation !== one.generation) {
          lost.push(one.run_id);
          continue;
        }
        t.objectStore("leases").put({ ...lease, heartbeat_at: now, executed: one.executed });
        if (one.progress !== null || one.metadata !== null) {
          const run = await existing(t, one.run_id);
          put(t, { ...run, progress: one.progress ?? run.progress, metadata: one.metadata ?? run.metadata });
        }
        if (one.logs.length) await log(t, one.logs);
      }
      return lost;
    });
    if (told) this.announce(...beats.map((one) => ({ run_id: one.run_id, claimable: false, step: true })));
    if (!lost.length) return {};
    return this.transact("runs", "readonly", async (t) => {
      /** @type {Record<string, Refusal>} */
      const refusals = {};
      for (const id of lost) refusals[id] = refusal(await find(t, id), -1) ?? { status: null, generation: 0 };
      return refusals;
    });
  }

  /**
   * What there is to do: whether anything of these jobs (null: of any) can be claimed, when the next run
   * or a schedule's tick is due, and who holds which run.
   * @param {string[] | null} jobs
   */
  async outlook(jobs) {
    return this.transact([...PLACES, "leases", "schedules", "meta"], "readonly", async (t) => {
      const claimable = await anyClaimable(t, jobs);
      const moments = [await nextDue(t), await nextTick(t, jobs)].filter((at) => at !== null);
      const due = moments.length ? Math.min(...moments) : null;
      /** @type {Lease[]} */
      const leases = await done(t.objectStore("leases").getAll());
      return { claimable, due, leases };
    });
  }

  /** @returns {Promise<Lease[]>} */
  async leases() {
    return this.transact("leases", "readonly", (t) => done(t.objectStore("leases").getAll()));
  }

  /** @param {Lease[]} leases @param {string} reason @param {number} now @returns {Promise<string[]>} */
  async mark_stale(leases, reason, now) {
    const stale = await this.transact(["runs", "steps", "events", "leases"], WRITE, async (t) => {
      const stale = [];
      for (const seen of leases) {
        const lease = await done(t.objectStore("leases").get(seen.run_id));
        if (!lease || lease.generation !== seen.generation || lease.heartbeat_at !== seen.heartbeat_at) continue;
        const run = await existing(t, seen.run_id);
        s.check(run.id, run.status, "STALE");
        t.objectStore("leases").delete(run.id);
        const row = {
          ...{ ...run, status: "STALE", claimable: 1, ready_at: null, generation: run.generation + 1 },
          ...{ stale_reason: reason, last_seen_at: lease.heartbeat_at, executed: lease.executed, interrupted: 1 },
        };
        const { worker, heartbeat_at } = lease;
        await record(t, row, now, "run.stale", { reason, worker, heartbeat_at });
        stale.push(run.id);
      }
      return stale;
    });
    this.announce(...stale.map((run_id) => ({ run_id, claimable: true })));
    return stale;
  }

  /**
   * @param {string} id
   * @param {number} generation
   * @param {import("./records.mjs").Settlement} given
   * @returns {Promise<Refusal | null>}
   */
  async settle(id, generation, given) {
    const { status, at } = given;
    const [released, final] = [status === "PENDING" ? 1 : 0, s.FINAL.includes(status)];
    const stores = [...PLACES, "events", "leases", "logs", "steps", ...(given.wakes?.tokens?.length ? ["tokens"] : [])];
    const [refused, changes] = await this.transact(stores, WRITE, async (t) => {
      const run = await find(t, id);
      const no = refusal(run, generation);
      if (no || !run) {
        const again = run?.status === status && run.generation === generation + released && run.last_seen_at === at;
        return [again ? null : no, []]; // an earlier try of this very call, perhaps
      }
      s.check(id, "EXECUTING", status);
      if (s.OTHERS.includes(status)) {
        throw new s.Conflict(`run ${id} can't become ${status} by its holder: that is for others`);
      }
      const [come, remaining] = given.wakes ? await waits.outlook(t, given.wakes) : [false, null];
      t.objectStore("leases").delete(id);
      const seq = await append(t, run, at, given.type, given.data);
      const row = put(t, {
        ...{ ...run, seq, status, generation: generation + released, attempt: given.attempt },
        ...{ executed: given.executed, ready_at: come ? at : given.ready_at, remaining },
        ...{ claimable: released, interrupted: released, last_seen_at: at },
        ...{ output: given.output, error: given.error, finished_at: final ? at : null },
        key_live: run.key_live && (!final || s.KEEPS_KEY.includes(status)) ? 1 : 0,
        ...{ progress: given.progress ?? run.progress, metadata: given.metadata ?? run.metadata },
      });
      await log(t, given.logs);
      const places = new Places(t, at);
      places.tell(id, !final);
      if (final) await waits.ended(row, places);
      else if (!released) await places.leave(row);
      return [null, places.changes];
    });
    this.announce(...changes);
    return refused;
  }

  // Queues

  /** Whether each is paused stays. @param {import("./records.mjs").Queue[]} queues @param {number} now */
  async set_queues(queues, now) {
    this.announce(...(await this.transact(PLACES, WRITE, (t) => limit(t, queues, now))));
  }

  /** @param {string} name @param {boolean} paused @param {number} now */
  async pause_queue(name, paused, now) {
    this.announce(...(await this.transact(PLACES, WRITE, (t) => pause(t, name, paused, now))));
  }

  /** By name. @returns {Promise<import("./records.mjs").QueueState[]>} */
  async list_queues() {
    return this.transact(PLACES, "readonly", listQueues);
  }

  // Steps

  /**
   * Steps that are saved while a transaction is on its way share the next one.
   * @param {string} id
   * @param {number} generation
   * @param {Step} step
   * @returns {Promise<Refusal | null>}
   */
  save_step(id, generation, step) {
    return this.saves.add(generation, step);
  }

  /**
   * A transaction for a write of a run's holder: those are applied in the order of their calls.
   * @template T
   * @param {string[]} stores
   * @param {(t: IDBTransaction) => Promise<T>} work
   * @returns {Promise<T>}
   */
  inTurn(stores, work) {
    return this.saves.inTurn(() => this.transact(stores, WRITE, work));
  }

  /**
   * @param {string} id
   * @param {number} generation
   * @param {Step} step
   * @param {import("./records.mjs").NewEvent} event
   * @returns {Promise<Refusal | null>}
   */
  async save_failure(id, generation, step, event) {
    const no = await this.inTurn(["runs", "unfinished", "events", "steps"], async (t) => {
      const run = await find(t, id);
      const no = refusal(run, generation);
      if (no || !run) return no;
      const before = await done(t.objectStore("events").get([id, event.seq]));
      if (before && before.at === event.at && before.type === event.type && before.data === event.data) return null;
      await checkTurn(t, run, event.seq);
      const inner = IDBKeyRange.bound([id, `${step.path}/`], [id, `${step.path}0`], false, true);
      const unfinished = t.objectStore("unfinished");
      for (const row of await done(unfinished.getAll(inner))) {
        if (row.state !== "failed" && row.state !== "retrying") continue;
        if (row.kind === "call") unfinished.put({ ...row, attempt: 0 });
        else unfinished.delete([id, row.path]);
      }
      unfinished.put(step);
      t.objectStore("events").add({ run_id: id, ...event });
      return null;
    });
    if (!no) this.announce({ run_id: id, claimable: false, step: true });
    return no;
  }

  /** All steps and waits, completed ones in order of `seq`, then the others. @param {string} id */
  async load_steps(id) {
    return this.transact(["steps", "unfinished"], "readonly", async (t) => {
      /** @type {Step[]} */
      const completed = await done(t.objectStore("steps").getAll(under(id)));
      const finished = new Set(completed.map((step) => step.path));
      /** @type {Step[]} */
      const others = (await done(t.objectStore("unfinished").getAll(under(id)))).filter(
        (step) => !finished.has(step.path),
      );
      return [...completed, ...others.sort(byStart)];
    });
  }

  /**
   * For whoever shows a run: its newest steps only, and how many there are, of them `kept` up to the seq `until`.
   * @param {string} id
   * @param {number} limit
   * @param {number} until
   * @param {number} now
   * @returns {Promise<{steps: Step[], completed: number, kept: number}>}
   */
  async latest_steps(id, limit, until, now) {
    return this.transact(["steps", "unfinished"], "readonly", async (t) => {
      const store = t.objectStore("steps");
      const completed = await done(store.count(under(id)));
      const kept = await done(store.count(IDBKeyRange.bound([id], [id, until], false, true)));
      let range = under(id);
      if (completed > limit) {
        const request = store.openKeyCursor(range, "prev");
        const newest = /** @type {IDBCursor} */ (await done(request));
        if (limit > 1) newest.advance(limit - 1);
        const oldest = /** @type {IDBCursor} */ (limit > 1 ? await done(request) : newest);
        range = IDBKeyRange.bound(oldest.primaryKey, [id, []]);
      }
      /** @type {Step[]} */
      const steps = await done(store.getAll(range));
      const paths = new Set(steps.map((step) => step.path));
      const since = completed > limit ? steps[0].started_at : 0;
      // What is older has been completed since, unless it is a wait that goes on.
      const others = (await done(t.objectStore("unfinished").getAll(under(id)))).filter(
        (step) => !paths.has(step.path) && (step.started_at >= since || step.wake_at > now),
      );
      return { steps: [...steps, ...others.sort(byStart)], completed, kept };
    });
  }

  // Tokens and children

  /**
   * @param {string} id
   * @param {number} generation
   * @param {Step} step
   * @param {Token} token
   * @returns {Promise<Refusal | null>}
   */
  async create_token(id, generation, step, token) {
    const no = await this.inTurn(["runs", "unfinished", "tokens", "steps", "events"], (t) =>
      waits.createToken(t, id, generation, step, token),
    );
    if (!no) this.announce({ run_id: id, claimable: false, step: true });
    return no;
  }

  /**
   * What became of each, or a refusal.
   * @param {string} id
   * @param {number} generation
   * @param {Step} step
   * @param {import("./records.mjs").NewRun[]} runs
   */
  async create_children(id, generation, step, runs) {
    const { answer, changes } = await this.inTurn([...CREATING, "steps", "unfinished"], (t) =>
      waits.createChildren(t, id, generation, step, runs),
    );
    this.announce(...changes);
    return answer;
  }

  /**
   * @param {string} id
   * @param {string} state
   * @param {string | null} output
   * @param {string | null} error
   * @param {number} now
   * @returns {Promise<Token>}
   */
  async finish_token(id, state, output, error, now) {
    const { token, changes } = await this.transact(["tokens", "runs"], WRITE, (t) =>
      waits.finishToken(t, id, { state, output, error, finished_at: now }),
    );
    this.announce(...changes);
    return token;
  }

  /** @param {string[]} ids @param {number} now @returns {Promise<Token[]>} */
  async read_tokens(ids, now) {
    return this.transact("tokens", WRITE, (t) => waits.readTokens(t, ids, now));
  }

  /** Newest first. @param {import("./records.mjs").TokenFilter} filter @returns {Promise<Token[]>} */
  async list_tokens(filter) {
    if (filter.limit !== undefined && filter.limit < 1) return [];
    return this.transact("tokens", "readonly", (t) => listTokens(t, filter));
  }

  // Events

  /** @param {string[]} jobs @param {import("./records.mjs").TriggerRow[]} triggers */
  async set_triggers(jobs, triggers) {
    await this.transact("triggers", WRITE, (t) => setTriggers(t, jobs, triggers));
  }

  /** @param {string} kind @param {string} name */
  async list_triggers(kind, name) {
    return this.transact("triggers", "readonly", (t) => listTriggers(t, kind, name));
  }

  /** @param {import("./records.mjs").SentEvent} event @param {import("./records.mjs").NewRun[]} runs */
  async send_event(event, runs) {
    const { sent, changes } = await this.transact(SENDING, WRITE, (t) => sendEvent(t, event, runs));
    this.announce(...changes);
    return sent;
  }

  // Schedules

  /** @param {string[]} jobs @param {ScheduleRow[]} schedules */
  async set_schedules(jobs, schedules) {
    this.announce(...(await this.transact("schedules", WRITE, (t) => setSchedules(t, jobs, schedules))));
  }

  async list_schedules() {
    return this.transact("schedules", "readonly", listSchedules);
  }

  /** @param {string} job @param {string} name @param {boolean} paused @param {number} now */
  async pause_schedule(job, name, paused, now) {
    this.announce(...(await this.transact("schedules", WRITE, (t) => pauseSchedule(t, job, name, paused, now))));
  }

  /**
   * @param {ScheduleRow} seen
   * @param {number} next_at
   * @param {number | null} last_at
   * @param {import("./records.mjs").NewRun[]} runs
   */
  async tick(seen, next_at, last_at, runs) {
    const stores = [...CREATING, "schedules"];
    const { ticked, changes } = await this.transact(stores, WRITE, (t) => tick(t, seen, next_at, last_at, runs));
    this.announce(...changes);
    return ticked;
  }

  // Steering from outside

  /** @param {string} id @param {number} now @returns {Promise<Run>} */
  async cancel_run(id, now) {
    const { run, changes } = await this.transact(ENDING, WRITE, (t) => waits.cancel(t, id, now));
    this.announce(...changes);
    return run;
  }

  /** @param {string} id @param {number} now @returns {Promise<Run>} */
  async resume_run(id, now) {
    const stores = [...PLACES, "steps", "events", "more_keys"];
    const { run, changes } = await this.transact(stores, WRITE, (t) => resume(t, id, now));
    this.announce(...changes, { run_id: id, claimable: true });
    return run;
  }

  /** @param {string} id @param {number} now @returns {Promise<Run>} */
  async move_run(id, now) {
    const { run, changes } = await this.transact([...ENDING, "unfinished"], WRITE, (t) => leave(t, id, now));
    this.announce(...changes);
    return run;
  }

  /** @param {import("./records.mjs").Moved} moved @param {number} now @returns {Promise<Run>} */
  async import_run(moved, now) {
    const stores = [...PLACES, ...ALL];
    const { run, changes } = await this.transact(stores, WRITE, (t) => arrive(t, moved, now));
    this.announce(...changes, { run_id: run.id, claimable: true });
    return run;
  }

  /** @param {string} id */
  async delete_run(id) {
    await this.transact(ALL, WRITE, async (t) => {
      const run = await existing(t, id);
      if (!s.FINAL.includes(run.status)) {
        throw new s.Conflict(`run ${id} is ${run.status}: cancel it before it is deleted`);
      }
      await forget(t, run);
    });
    this.announce({ run_id: id, claimable: false });
  }

  /** @param {number} before @param {number} limit @returns {Promise<number>} */
  async purge(before, limit) {
    return this.transact(ALL, WRITE, (t) => waits.purge(t, before, limit));
  }

  // Reading what happened

  /** @param {string} id @param {number} after @param {number} limit @returns {Promise<StoredEvent[]>} */
  async read_events(id, after, limit) {
    if (limit < 1) return [];
    return this.transact(["steps", "events"], "readonly", async (t) => {
      const range = IDBKeyRange.bound([id, after], [id, []], true);
      const events = await done(t.objectStore("events").getAll(range, limit));
      const found = [...events];
      for (const { seq, path, name, started_at, finished_at } of await done(
        t.objectStore("steps").getAll(range, limit),
      )) {
        const [type, data] = ["step.completed", JSON.stringify({ path, name, started_at })];
        found.push({ run_id: id, seq, at: finished_at ?? started_at, type, data });
      }
      return found.sort((a, b) => a.seq - b.seq).slice(0, limit);
    });
  }

  /** @param {string} id @returns {Promise<import("./records.mjs").LogLine[]>} */
  async read_logs(id) {
    const lines = await this.transact("logs", "readonly", (t) => done(t.objectStore("logs").getAll(under(id))));
    return lines.sort((a, b) => a.attempt - b.attempt || a.at - b.at || byText(a.path, b.path) || a.ordinal - b.ordinal);
  }

  /** @param {string} key @param {string} value */
  async set_meta(key, value) {
    await this.transact("meta", WRITE, async (t) => {
      const before = await done(t.objectStore("meta").get(key));
      if (before?.value !== value) t.objectStore("meta").put({ key, value }); // nothing to wait for the disk for
    });
  }

  /** @param {string} key @returns {Promise<string | null>} */
  async get_meta(key) {
    const row = await this.transact("meta", "readonly", (t) => done(t.objectStore("meta").get(key)));
    return row?.value ?? null;
  }
}

/**
 * A store for Python.
 * @param {string} name
 * @param {import("./database.mjs").Durability} durability
 * @param {(number: number, answer: string) => void} answer
 * @param {(changes: string) => void} hear
 */
export function connect(name, durability, answer, hear) {
  return new Bridge(new IndexedDBStore(name, { durability }), answer, hear);
}
