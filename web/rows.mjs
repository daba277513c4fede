/** What the verbs do to the rows of a run, inside the transaction of one of them. */

import { done, under } from "./database.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {IDBTransaction} Transaction */

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
  if (run.parent_id !== null && !s.FINAL.includes(run.status)) index.parent = run.parent_id;
  return { ...run, index };
}

/** @param {any} row @returns {Run} */
export function bare(row) {
  const { index, ...run } = row;
  return run;
}

/** @param {Transaction} t @param {string} id @returns {Promise<Run | undefined>} */
export const find = async (t, id) => {
  const row = await done(t.objectStore("runs").get(id));
  return row && bare(row);
};

/** @param {Transaction} t @param {string} id */
export async function existing(t, id) {
  const run = await find(t, id);
  if (!run) throw new s.RunNotFound(id);
  return run;
}

/** @param {Transaction} t @param {Run} run */
export function put(t, run) {
  t.objectStore("runs").put(kept(run));
  return run;
}

/**
 * The guard: a write of any generation but the run's own changes nothing.
 * @param {Run | undefined} run
 * @param {number} generation
 * @returns {Refusal | null}
 */
export function refusal(run, generation) {
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
export async function record(t, run, at, type, data) {
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
export async function holderOfKey(t, job, key, now) {
  const row = (key ?? null) === null ? null : await done(t.objectStore("runs").index("key").get([job, key ?? ""]));
  if (!row) return null;
  const run = bare(row);
  if (run.idempotency_expires_at === null || run.idempotency_expires_at > now) return run;
  put(t, { ...run, key_live: 0 });
  return null;
}

/**
 * Each run is new, or there already, or a live idempotency key answers.
 * @param {Transaction} t
 * @param {import("./records.mjs").NewRun[]} runs
 * @returns {Promise<{run: Run, disposition: string}[]>}
 */
export async function create(t, runs) {
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
}

/** All that it has. @param {Transaction} t @param {Run} run */
export async function forget(t, run) {
  const tokens = t.objectStore("tokens");
  for (const id of await done(tokens.index("run").getAllKeys(under(run.id)))) tokens.delete(id);
  for (const store of ["steps", "unfinished", "events", "logs"]) t.objectStore(store).delete(under(run.id));
  for (const tag of JSON.parse(run.tags)) t.objectStore("tags").delete([tag, run.created_at, run.id]);
  t.objectStore("runs").delete(run.id);
}

/** Whether a row was added; not if there is one under its key. @param {IDBRequest} request @returns {Promise<boolean>} */
export function added(request) {
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

/** A completed step is stored once. @param {Transaction} t @param {Step} step */
export async function putStep(t, step) {
  if (step.seq === null) {
    t.objectStore("unfinished").put(step);
  } else if (!(await added(t.objectStore("steps").add(step)))) {
    const other = await done(t.objectStore("steps").get([step.run_id, step.seq]));
    if (other.path !== step.path) throw new s.StoreError(`run ${step.run_id} has another step under this seq`);
  }
}

/** @param {Transaction} t @param {import("./records.mjs").LogLine[]} lines */
export async function log(t, lines) {
  for (const line of lines) await added(t.objectStore("logs").add(line)); // the first of a number counts
}

/**
 * @param {Transaction} t
 * @param {Run} run
 * @param {string} worker
 * @param {number} now
 * @param {string} via
 */
export async function claim(t, run, worker, now, via) {
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
    ...{ recoveries, recovery_seq, seq, started_at: run.started_at ?? now, last_seen_at: now, remaining: null },
  });
  return { run: row, status: run.status, fresh };
}
