/** What the verbs do to the rows of a run, inside the transaction of one of them. */

import { done, under } from "./database.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {IDBTransaction} Transaction */

/** In this order runs are claimed, and take places. @param {Run} run */
export const order = (run) => [-run.priority, run.created_at, run.id];

/** @param {Run} a @param {Run} b */
export const inOrder = (a, b) => indexedDB.cmp(order(a), order(b));

/**
 * A run as it is kept: with what its indexes need.
 * @param {Run} run
 */
function kept(run) {
  /** @type {Record<string, any>} */
  const index = {};
  const [{ job, queue, concurrency_key: key, created_at, id }, started] = [run, run.started_at === null ? 0 : 1];
  if (run.claimable) index.claimable = [job, ...order(run)];
  else if (run.ready_at !== null) index.due = run.ready_at;
  if (run.key_live && run.idempotency_key !== null) index.key = [job, run.idempotency_key];
  if (run.slot) index.slot = [queue, started, ...order(run)];
  if (run.key_held) index.held = key;
  if (run.blocked === "queue") index.line = [run.blocked, queue, started, ...order(run)];
  if (run.blocked === "key") index.line = [run.blocked, key, 0, ...order(run)];
  if (run.debounce_key !== null) index.debounce = [job, run.debounce_key, created_at, id];
  if (s.FINAL.includes(run.status)) return { ...run, index };
  if (run.parent_id !== null) index.parent = run.parent_id;
  if (key !== null) index.busy = [key, created_at, id];
  if (run.expires_at !== null) index.expiring = run.expires_at;
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
export async function lastSeq(t, store, id) {
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
  return put(t, { ...run, seq: await append(t, run, at, type, JSON.stringify(data)) });
}

/** @param {Transaction} t @param {Run} run @param {number} at @param {string} type @param {string} data @returns {Promise<number>} its seq */
export async function append(t, run, at, type, data) {
  const last = await Promise.all([lastSeq(t, "steps", run.id), lastSeq(t, "events", run.id)]);
  const seq = Math.max(run.seq, ...last) + 1;
  t.objectStore("events").add({ run_id: run.id, seq, at, type, data });
  return seq;
}

/**
 * A write that comes before another of the same execution, which has failed and will be tried again, waits for it:
 * stored at once it would leave a gap in the run's sequence, which a reader would go past.
 * @param {Transaction} t
 * @param {Run} run
 * @param {number | null} seq
 */
export async function checkTurn(t, run, seq) {
  if (seq === null || seq - 1 <= run.seq) return;
  for (const store of ["steps", "events"]) {
    if ((await done(t.objectStore(store).getKey([run.id, seq - 1]))) !== undefined) return;
  }
  throw new s.StoreUnavailable(`run ${run.id}: a write that comes before this one isn't stored yet`);
}

/**
 * The run that answers for a key; one whose time is up lets go of it here.
 * @param {Transaction} t
 * @param {string} job
 * @param {string | null | undefined} key
 * @param {number} now
 */
export async function holderOfKey(t, job, key, now) {
  if ((key ?? null) === null) return null;
  const of = [job, key ?? ""];
  const row = await done(t.objectStore("runs").index("key").get(of));
  if (row) {
    const run = bare(row);
    if (run.idempotency_expires_at === null || run.idempotency_expires_at > now) return run;
    put(t, { ...run, key_live: 0 });
  }
  const more = await done(t.objectStore("more_keys").get(of));
  const run = more && (more.expires_at === null || more.expires_at > now) ? await find(t, more.run_id) : undefined;
  return run && (!s.FINAL.includes(run.status) || s.KEEPS_KEY.includes(run.status)) ? run : null;
}

/** All that it has. @param {Transaction} t @param {Run} run */
export async function forget(t, run) {
  const [tokens, keys] = [t.objectStore("tokens"), t.objectStore("more_keys")];
  for (const id of await done(tokens.index("run").getAllKeys(under(run.id)))) tokens.delete(id);
  for (const key of await done(keys.index("run").getAllKeys(run.id))) keys.delete(key);
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
