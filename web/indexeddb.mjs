/**
 * Runs in IndexedDB: every verb of the store is one method and one transaction. The page calls them
 * as they are; Python calls the very same ones through `call`, with JSON text in both directions.
 */

import { Database, done, under } from "./database.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Lease} Lease */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {import("./records.mjs").Change} Change */
/** @typedef {import("./records.mjs").StoredEvent} StoredEvent */
/** @typedef {IDBTransaction} Transaction */

const PREFIX = "durable-lite:";
const WRITE = "readwrite";

/**
 * A run as it is kept: with what its indexes need.
 * @param {Run} run
 */
function kept(run) {
  /** @type {Record<string, any>} */
  const index = {};
  if (run.claimable) index.claimable = [run.job, -run.priority, run.created_at, run.id];
  else if (run.ready_at !== null) index.due = run.ready_at;
  if (run.key_live && run.idempotency_key !== null) index.key = [run.job, run.idempotency_key];
  return { ...run, index };
}

/** @param {any} row @returns {Run} */
function bare(row) {
  const { index, ...run } = row;
  return run;
}

/** @param {Transaction} t @param {string} id @returns {Promise<Run | undefined>} */
const find = async (t, id) => {
  const row = await done(t.objectStore("runs").get(id));
  return row && bare(row);
};

/** @param {Transaction} t @param {string} id */
async function existing(t, id) {
  const run = await find(t, id);
  if (!run) throw new s.RunNotFound(id);
  return run;
}

/** @param {Transaction} t @param {Run} run */
function put(t, run) {
  t.objectStore("runs").put(kept(run));
  return run;
}

/**
 * The guard: a write of any generation but the run's own changes nothing.
 * @param {Run | undefined} run
 * @param {number} generation
 * @returns {Refusal | null}
 */
function refusal(run, generation) {
  if (!run) return { status: null, generation: 0 };
  if (run.generation === generation && run.status === "EXECUTING") return null;
  return { status: run.status, generation: run.generation };
}

/** The last seq of a run in one store. @param {Transaction} t @param {string} store @param {string} id */
async function lastSeq(t, store, id) {
  const cursor = await done(t.objectStore(store).openKeyCursor(under(id), "prev"));
  return cursor ? /** @type {[string, number]} */ (cursor.primaryKey)[1] : 0;
}

/**
 * Write a transition's event after everything that the run has so far.
 * @param {Transaction} t
 * @param {Run} run
 * @param {number} at
 * @param {string} type
 * @param {object} data
 */
async function record(t, run, at, type, data) {
  const steps = await lastSeq(t, "steps", run.id);
  const seq = Math.max(run.seq, steps, await lastSeq(t, "events", run.id)) + 1;
  t.objectStore("events").add({ run_id: run.id, seq, at, type, data: JSON.stringify(data) });
  return put(t, { ...run, seq });
}

/**
 * The run that answers for a key; one whose time is up lets go of it here.
 * @param {Transaction} t
 * @param {string} job
 * @param {string | null | undefined} key
 * @param {number} now
 */
async function holderOfKey(t, job, key, now) {
  const row = (key ?? null) === null ? null : await done(t.objectStore("runs").index("key").get([job, key ?? ""]));
  if (!row) return null;
  const run = bare(row);
  if (run.idempotency_expires_at === null || run.idempotency_expires_at > now) return run;
  put(t, { ...run, key_live: 0 });
  return null;
}

/** @param {Transaction} t @param {Run} run */
function forget(t, run) {
  for (const store of ["steps", "unfinished", "events", "logs"]) t.objectStore(store).delete(under(run.id));
  for (const tag of JSON.parse(run.tags)) t.objectStore("tags").delete([tag, run.created_at, run.id]);
  t.objectStore("runs").delete(run.id);
}

/** Whether a row was added; not if there is one under its key. @param {IDBRequest} request @returns {Promise<boolean>} */
function added(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(true);
    request.onerror = (event) => {
      if (request.error?.name !== "ConstraintError") return reject(request.error);
      event.preventDefault(); // the transaction goes on
      event.stopPropagation();
      resolve(false);
    };
  });
}

/** @param {Transaction} t @param {import("./records.mjs").LogLine[]} lines */
async function log(t, lines) {
  for (const line of lines) await added(t.objectStore("logs").add(line)); // the first of a number counts
}

export class IndexedDBStore {
  /**
   * @param {string} name of the store: a database `durable-lite:<name>` of this origin
   * @param {{durability?: import("./database.mjs").Durability}} [options]
   */
  constructor(name, { durability = "strict" } = {}) {
    this.name = name;
    this.database = new Database(PREFIX + name, durability);
    /** @type {Set<(changes: Change[]) => void>} */
    this.listeners = new Set();
    /** @type {BroadcastChannel | null} */
    this.channel = null;
    /** @type {{generation: number, step: Step, resolve: Function, reject: Function}[]} */
    this.unsaved = [];
    this.saving = false;
    /** @type {Promise<void> | null} while the tab is about to be frozen */
    this.silence = null;
    this.speak = () => {};
  }

  // Life

  async open() {
    await this.database.open();
    if (this.channel || typeof BroadcastChannel === "undefined") return;
    this.channel = new BroadcastChannel(PREFIX + this.name);
    this.channel.onmessage = ({ data }) => this.tell(data);
    /** @type {any} */ (this.channel).unref?.(); // on Node it would keep the process alive
  }

  async close() {
    this.quiet(false);
    while (this.saving) await new Promise((resolve) => setTimeout(resolve, 1));
    this.channel?.close();
    this.channel = null;
    this.database.close();
  }

  /**
   * Hear what is committed, by this store and by all others of the same name. Returns what ends it.
   * @param {(changes: Change[]) => void} listener
   */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @param {Change[]} changes */
  tell(changes) {
    for (const listener of [...this.listeners]) listener(changes);
  }

  /** @param {...Change} changes */
  announce(...changes) {
    if (!changes.length) return;
    this.channel?.postMessage(changes);
    this.tell(changes);
  }

  /** Begin nothing from now on: a frozen transaction blocks every other tab. @param {boolean} on */
  quiet(on) {
    if (on && !this.silence) this.silence = new Promise((resolve) => (this.speak = resolve));
    else if (!on) {
      this.silence = null;
      this.speak();
    }
  }

  /**
   * @template T
   * @param {string | string[]} stores
   * @param {IDBTransactionMode} mode
   * @param {(t: Transaction) => Promise<T>} body
   */
  async transact(stores, mode, body) {
    while (this.silence) await this.silence;
    return this.database.transact(stores, /** @type {"readonly" | "readwrite"} */ (mode), body);
  }

  // Runs

  /** @param {import("./records.mjs").NewRun[]} runs */
  async create_runs(runs) {
    const created = await this.transact(["runs", "events", "tags"], WRITE, async (t) => {
      const created = [];
      for (const given of runs) {
        const before = await find(t, given.id);
        const holder = before ?? (await holderOfKey(t, given.job, given.idempotency_key, given.created_at));
        if (holder) {
          created.push({ run: holder, disposition: before ? "created" : "idempotent" });
          continue;
        }
        const run = put(t, { ...s.firstRow(given), seq: 1 });
        const at = run.created_at;
        t.objectStore("events").add({ run_id: run.id, seq: 1, at, type: "run.triggered", data: "{}" });
        for (const tag of JSON.parse(run.tags)) {
          t.objectStore("tags").put({ tag, created_at: run.created_at, run_id: run.id });
        }
        created.push({ run, disposition: "created" });
      }
      return created;
    });
    this.announce(...created.map(({ run }) => ({ run_id: run.id, claimable: true, step: false })));
    return created;
  }

  /** @param {string} id @returns {Promise<Run | null>} */
  async get_run(id) {
    return (await this.transact("runs", "readonly", (t) => find(t, id))) ?? null;
  }

  /** Newest first. @param {import("./records.mjs").RunFilter} filter @returns {Promise<Run[]>} */
  async list_runs(filter) {
    const { statuses = null, job = null, tag = null, limit = 50 } = filter;
    if ((statuses && !statuses.length) || limit < 1) return [];
    return this.transact(tag === null ? "runs" : ["runs", "tags"], "readonly", async (t) => {
      /** @type {Run[]} */
      const found = [];
      const runs = t.objectStore("runs");
      if (tag !== null) {
        await each(t.objectStore("tags"), newest(filter, [tag]), async (row) => {
          const run = await find(t, row.run_id);
          if (run && (!job || run.job === job) && (!statuses || statuses.includes(run.status))) found.push(run);
          return found.length < limit;
        });
        return found;
      }
      const wanted = statuses ?? (job === null ? null : Object.keys(s.TRANSITIONS));
      const index = runs.index(wanted === null ? "created" : job === null ? "status" : "job");
      for (const status of wanted === null ? [null] : new Set(wanted)) {
        const most = found.length + limit;
        const prefix = status === null ? [] : job === null ? [status] : [job, status];
        await each(index, newest(filter, prefix), (row) => found.push(bare(row)) < most);
      }
      found.sort((a, b) => indexedDB.cmp([b.created_at, b.id], [a.created_at, a.id]));
      return found.slice(0, limit);
    });
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
   */
  async claim_runs(worker, jobs, limit, now, via) {
    if (limit < 1) return [];
    // Asked first without a write, which would wait for others.
    const any = await this.transact("runs", "readonly", async (t) => {
      const runs = t.objectStore("runs");
      if (await done(runs.index("due").getKey(IDBKeyRange.upperBound(now)))) return true;
      for (const job of jobs) if (await done(runs.index("claimable").getKey(under(job)))) return true;
      return false;
    });
    if (!any) return [];
    const claims = await this.transact(["runs", "steps", "events", "leases"], WRITE, async (t) => {
      const runs = t.objectStore("runs");
      for (const row of await done(runs.index("due").getAll(IDBKeyRange.upperBound(now)))) {
        put(t, { ...bare(row), claimable: 1 });
      }
      const best = [];
      for (const job of new Set(jobs)) {
        best.push(...(await done(runs.index("claimable").getAll(under(job), limit))));
      }
      best.sort((a, b) => indexedDB.cmp(a.index.claimable.slice(1), b.index.claimable.slice(1)));
      const claims = [];
      for (const row of best.slice(0, limit)) claims.push(await claim(t, bare(row), worker, now, via));
      return claims;
    });
    this.announce(...claims.map(({ run }) => ({ run_id: run.id, claimable: false, step: false })));
    return claims;
  }

  /** @returns {Promise<number | null>} */
  async next_due() {
    return this.transact("runs", "readonly", async (t) => {
      const cursor = await done(t.objectStore("runs").index("due").openKeyCursor());
      return cursor ? /** @type {number} */ (cursor.key) : null;
    });
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
          ...{ stale_reason: reason, last_seen_at: lease.heartbeat_at, executed: lease.executed },
        };
        const { worker, heartbeat_at } = lease;
        await record(t, row, now, "run.stale", { reason, worker, heartbeat_at });
        stale.push(run.id);
      }
      return stale;
    });
    this.announce(...stale.map((run_id) => ({ run_id, claimable: true, step: false })));
    return stale;
  }

  /**
   * @param {string} id
   * @param {number} generation
   * @param {import("./records.mjs").Settlement} given
   * @returns {Promise<Refusal | null>}
   */
  async settle(id, generation, given) {
    const { status, at, seq } = given;
    const [released, final] = [status === "PENDING" ? 1 : 0, s.FINAL.includes(status)];
    const [refused, changed] = await this.transact(["runs", "events", "leases", "logs"], WRITE, async (t) => {
      const run = await find(t, id);
      const no = refusal(run, generation);
      if (no || !run) {
        const again = run?.status === status && run.generation === generation + released && run.seq === seq;
        return [again ? null : no, false]; // an earlier try of this very call, perhaps
      }
      s.check(id, "EXECUTING", status);
      if (status === "STALE") {
        throw new s.Conflict(`run ${id} can't become STALE by its holder: \`mark_stale\` is for others`);
      }
      t.objectStore("leases").delete(id);
      put(t, {
        ...{ ...run, status, generation: generation + released, seq, attempt: given.attempt },
        ...{ executed: given.executed, ready_at: given.ready_at, claimable: released, last_seen_at: at },
        ...{ output: given.output, error: given.error, finished_at: final ? at : null },
        key_live: run.key_live && (!final || s.KEEPS_KEY.includes(status)) ? 1 : 0,
        ...{ progress: given.progress ?? run.progress, metadata: given.metadata ?? run.metadata },
      });
      for (const event of given.events) t.objectStore("events").add({ run_id: id, ...event });
      await log(t, given.logs);
      return [null, true];
    });
    if (changed) this.announce({ run_id: id, claimable: !final, step: false });
    return /** @type {Refusal | null} */ (refused);
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
    return new Promise((resolve, reject) => {
      this.unsaved.push({ generation, step, resolve, reject });
      if (!this.saving) this.save();
    });
  }

  async save() {
    this.saving = true;
    while (this.unsaved.length) {
      const batch = this.unsaved;
      this.unsaved = [];
      try {
        await this.saveAll(batch);
      } catch (error) {
        // One of them may be at fault: each by itself, so that an error is its own.
        for (const one of batch) {
          try {
            if (batch.length === 1) throw error;
            await this.saveAll([one]);
          } catch (own) {
            one.reject(own);
          }
        }
      }
    }
    this.saving = false;
  }

  /** @param {typeof this.unsaved} batch */
  async saveAll(batch) {
    const completed = batch.every(({ step }) => step.seq !== null);
    const stores = completed ? ["runs", "steps"] : ["runs", "steps", "unfinished"];
    const answers = await this.transact(stores, WRITE, async (t) => {
      /** @type {Map<string, Promise<Run | undefined>>} */
      const runs = new Map();
      const save = async (/** @type {typeof batch[0]} */ { generation, step }) => {
        const id = step.run_id;
        const run = runs.get(id) ?? find(t, id);
        runs.set(id, run);
        const no = refusal(await run, generation);
        if (no) return no;
        if (step.seq === null) t.objectStore("unfinished").put(step);
        else {
          if (await added(t.objectStore("steps").add(step))) return null;
          const other = await done(t.objectStore("steps").get([id, step.seq]));
          if (other.path !== step.path) throw new s.StoreError(`run ${id} has another step under this seq`);
        }
        return null;
      };
      return Promise.all(batch.map(save));
    });
    batch.forEach(({ resolve }, i) => resolve(answers[i]));
    const saved = batch.filter((_, i) => answers[i] === null);
    this.announce(...saved.map(({ step }) => ({ run_id: step.run_id, claimable: false, step: true })));
  }

  /**
   * @param {string} id
   * @param {number} generation
   * @param {Step} step
   * @param {import("./records.mjs").NewEvent} event
   * @returns {Promise<Refusal | null>}
   */
  async save_failure(id, generation, step, event) {
    const no = await this.transact(["runs", "unfinished", "events"], WRITE, async (t) => {
      const no = refusal(await find(t, id), generation);
      if (no) return no;
      const before = await done(t.objectStore("events").get([id, event.seq]));
      if (before && before.at === event.at && before.type === event.type && before.data === event.data) return null;
      const inner = IDBKeyRange.bound([id, `${step.path}/`], [id, `${step.path}0`], false, true);
      const unfinished = t.objectStore("unfinished");
      for (const row of await done(unfinished.getAll(inner))) {
        if (row.state === "failed" || row.state === "retrying") unfinished.delete([id, row.path]);
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
      others.sort((a, b) => indexedDB.cmp([a.started_at, a.path], [b.started_at, b.path]));
      return [...completed, ...others];
    });
  }

  // Steering from outside

  /** @param {string} id @param {number} now @returns {Promise<Run>} */
  async cancel_run(id, now) {
    const run = await this.transact(["runs", "steps", "events", "leases"], WRITE, async (t) => {
      const run = await existing(t, id);
      s.check(id, run.status, "CANCELLED");
      /** @type {Lease | undefined} */
      const lease = await done(t.objectStore("leases").get(id));
      t.objectStore("leases").delete(id);
      const row = {
        ...{ ...run, status: "CANCELLED", generation: run.generation + 1, claimable: 0, ready_at: null },
        ...{ finished_at: now, key_live: 0 },
        ...(lease && { executed: lease.executed, last_seen_at: lease.heartbeat_at }),
      };
      return record(t, row, now, "run.cancelled", {});
    });
    this.announce({ run_id: id, claimable: false, step: false });
    return run;
  }

  /** @param {string} id @param {number} now @returns {Promise<Run>} */
  async resume_run(id, now) {
    const run = await this.transact(["runs", "steps", "events"], WRITE, async (t) => {
      const run = await existing(t, id);
      if (!s.RESUMABLE.includes(run.status)) {
        throw new s.Conflict(`run ${id} is ${run.status}: only FAILED, TIMED_OUT and CANCELLED runs resume`);
      }
      const other = await holderOfKey(t, run.job, run.idempotency_key, now);
      if (other) throw new s.Conflict(`run ${id} can't resume: run ${other.id} has its idempotency key now`);
      const attempt = run.attempt + 1;
      const row = {
        ...{ ...run, status: "PENDING", generation: run.generation + 1, attempt, first_attempt: attempt },
        ...{ recoveries: 0, executed: 0, output: null, error: null, finished_at: null, ready_at: null },
        ...{ claimable: 1, key_live: run.idempotency_key === null ? 0 : 1 },
        deadline: run.deadline !== null && run.deadline <= now ? null : run.deadline,
      };
      return record(t, row, now, "run.resumed", { by: "request", attempt });
    });
    this.announce({ run_id: id, claimable: true, step: false });
    return run;
  }

  /** @param {string} id */
  async delete_run(id) {
    await this.transact(["runs", "steps", "unfinished", "events", "logs", "tags"], WRITE, async (t) => {
      const run = await existing(t, id);
      if (!s.FINAL.includes(run.status)) {
        throw new s.Conflict(`run ${id} is ${run.status}: cancel it before it is deleted`);
      }
      forget(t, run);
    });
    this.announce({ run_id: id, claimable: false, step: false });
  }

  /** @param {number} before @param {number} limit @returns {Promise<number>} */
  async purge(before, limit) {
    if (limit < 1) return 0; // to IndexedDB it would be no limit
    return this.transact(["runs", "steps", "unfinished", "events", "logs", "tags"], WRITE, async (t) => {
      const old = IDBKeyRange.upperBound(before, true);
      const rows = await done(t.objectStore("runs").index("finished").getAll(old, limit));
      for (const row of rows) forget(t, bare(row));
      return rows.length;
    });
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
    const key = (/** @type {import("./records.mjs").LogLine} */ line) => [line.attempt, line.at, line.path, line.ordinal];
    return lines.sort((a, b) => indexedDB.cmp(key(a), key(b)));
  }

  /** @param {string} key @param {string} value */
  async set_meta(key, value) {
    await this.transact("meta", WRITE, async (t) => t.objectStore("meta").put({ key, value }));
  }

  /** @param {string} key @returns {Promise<string | null>} */
  async get_meta(key) {
    const row = await this.transact("meta", "readonly", (t) => done(t.objectStore("meta").get(key)));
    return row?.value ?? null;
  }
}

/**
 * @param {Transaction} t
 * @param {Run} run
 * @param {string} worker
 * @param {number} now
 * @param {string} via
 */
async function claim(t, run, worker, now, via) {
  s.check(run.id, run.status, "EXECUTING");
  const [generation, fresh] = [run.generation + 1, run.started_at === null];
  const checkpoint = fresh ? 0 : await lastSeq(t, "steps", run.id);
  let seq = Math.max(run.seq, checkpoint, fresh ? 0 : await lastSeq(t, "events", run.id)) + 1;
  const [recoveries, recovery_seq] = s.recovered(run, checkpoint);
  const events = t.objectStore("events");
  const claimed = { worker, generation, attempt: run.attempt, from: run.status };
  events.add({ run_id: run.id, seq, at: now, type: "run.claimed", data: JSON.stringify(claimed) });
  if (!fresh && run.status !== "WAITING") {
    const replayed = await done(t.objectStore("steps").count(under(run.id)));
    const gap = run.last_seen_at === null ? 0 : Math.max(0, now - run.last_seen_at);
    const resumed = { replayed, gap_ms: Math.round(gap * 1000) };
    seq += 1;
    events.add({ run_id: run.id, seq, at: now, type: "run.resumed", data: JSON.stringify(resumed) });
  }
  t.objectStore("leases").put({
    ...{ run_id: run.id, generation, worker, heartbeat_at: now, via },
    executed: run.executed,
  });
  const row = put(t, {
    ...{ ...run, status: "EXECUTING", ready_at: null, claimable: 0, worker, stale_reason: null, generation },
    ...{ recoveries, recovery_seq, seq, started_at: run.started_at ?? now, last_seen_at: now },
  });
  return { run: row, status: run.status, fresh };
}

/**
 * The keys of a list, newest first: those that begin with `prefix` and go on with (created_at, id).
 * @param {import("./records.mjs").RunFilter} filter
 * @param {string[]} prefix
 */
function newest({ created_after = null, created_before = null, cursor = null }, prefix) {
  const lower = created_after === null ? prefix : [...prefix, created_after, []];
  /** @type {any[]} */
  let upper = [...prefix, []];
  for (const end of [created_before === null ? null : [created_before], cursor]) {
    if (end && indexedDB.cmp([...prefix, ...end], upper) < 0) upper = [...prefix, ...end];
  }
  return indexedDB.cmp(lower, upper) < 0 ? IDBKeyRange.bound(lower, upper, false, true) : null;
}

/**
 * Newest first, until `visit` says false.
 * @param {IDBIndex | IDBObjectStore} source
 * @param {IDBKeyRange | null} range
 * @param {(row: any) => boolean | Promise<boolean>} visit
 */
async function each(source, range, visit) {
  if (!range) return;
  const request = source.openCursor(range, "prev");
  for (let cursor = await done(request); cursor; cursor = await next(request, cursor)) {
    if (!(await visit(cursor.value))) return;
  }
}

/** @param {IDBRequest<IDBCursorWithValue | null>} request @param {IDBCursorWithValue} cursor */
function next(request, cursor) {
  cursor.continue();
  return done(request);
}

/** A store for Python. @param {string} name @param {import("./database.mjs").Durability} durability */
export function create(name, durability) {
  return new IndexedDBStore(name, { durability });
}

/** Let Python hear of changes, as text. @param {IndexedDBStore} store @param {(changes: string) => void} listener */
export function hear(store, listener) {
  return store.listen((changes) => listener(JSON.stringify(changes)));
}

/**
 * A verb for Python: JSON in, JSON out. An error comes back by name, as text too.
 * @param {IndexedDBStore} store
 * @param {string} verb
 * @param {string} given JSON of the arguments
 * @returns {Promise<string>}
 */
export async function call(store, verb, given) {
  try {
    const result = await /** @type {any} */ (store)[verb](...JSON.parse(given));
    return JSON.stringify([result ?? null]);
  } catch (raised) {
    const error = /** @type {Error & {id?: string}} */ (raised);
    return JSON.stringify({ name: error.name, message: error.message, id: error.id });
  }
}
