/** How runs begin: created, answered for by others, or resumed, inside the transaction of one verb. */

import { done, each, under } from "./database.mjs";
import { Places } from "./queues.mjs";
import { bare, existing, find, holderOfKey, put, record } from "./rows.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").NewRun} NewRun */
/** @typedef {import("./records.mjs").Change} Change */
/** @typedef {{run: Run, disposition: string}} Created */
/** @typedef {IDBTransaction} Transaction */

/** What the creation of runs touches. */
export const CREATING = ["runs", "events", "tags", "queues", "starts", "more_keys"];

/**
 * Each run is new, or there already, or another one stands for it.
 * @param {Transaction} t
 * @param {NewRun[]} runs
 * @returns {Promise<{created: Created[], changes: Change[]}>}
 */
export async function create(t, runs) {
  const places = new Places(t, 0);
  const created = [];
  let answered = false;
  for (const given of runs) {
    places.now = given.created_at;
    const found = await answer(t, given);
    answered ||= found !== null;
    created.push(found ?? { run: await insert(places, given), disposition: "created" });
  }
  for (const one of created) {
    // Those behind it may have taken its place, or its key, or have brought another payload.
    if (one.run.gated || (answered && runs.length > 1)) one.run = await existing(t, one.run.id);
    places.tell(one.run.id, true);
  }
  return { created, changes: places.changes };
}

/** @param {Places} places @param {NewRun} given */
async function insert(places, given) {
  const { t } = places;
  const row = { ...s.firstRow(given), seq: 1 };
  row.gated = await places.isGated(row);
  if (row.concurrency_key !== null && (await places.isShared(row))) row.key_held = 2;
  const due = row.claimable && row.gated;
  const run = put(t, { ...row, claimable: due ? 0 : row.claimable });
  const at = run.created_at;
  t.objectStore("events").add({ run_id: run.id, seq: 1, at, type: "run.triggered", data: "{}" });
  for (const tag of JSON.parse(run.tags)) t.objectStore("tags").put({ tag, created_at: at, run_id: run.id });
  if (due) await places.ready(run);
  return run;
}

/**
 * What stands for a new run that need not be created.
 * @param {Transaction} t
 * @param {NewRun} given
 * @returns {Promise<Created | null>}
 */
async function answer(t, given) {
  const { id, job, idempotency_key = null, idempotency_expires_at: expires_at = null, created_at } = given;
  const before = await find(t, id);
  if (before) return { run: before, disposition: "created" };
  const holder = await holderOfKey(t, job, idempotency_key, created_at);
  if (holder) return { run: holder, disposition: "idempotent" };
  const run = (await debounced(t, given)) ?? (await unstarted(t, given));
  if (!run) return null;
  if (idempotency_key !== null) t.objectStore("more_keys").put({ job, idempotency_key, run_id: run.id, expires_at });
  return { run, disposition: "coalesced" };
}

/** The run that a debounced trigger is one more of. @param {Transaction} t @param {NewRun} given */
async function debounced(t, given) {
  const { job, created_at, payload, expires_at = null, debounce_key: key = null, debounce_until = null } = given;
  if (key === null) return null;
  const cursor = await done(t.objectStore("runs").index("debounce").openCursor(under(job, key), "prev"));
  if (!cursor) return null;
  const run = bare(cursor.value);
  const until = run.debounce_until;
  if (given.debounce_mode === "leading") {
    return until === null || until <= created_at ? null : put(t, { ...run, debounce_until });
  }
  if (run.status !== "PENDING" || run.started_at !== null || run.claimable) return null;
  return put(t, { ...run, payload, ready_at: Math.min(given.ready_at, until ?? Infinity), expires_at });
}

/**
 * The oldest run of its job with its concurrency key that hasn't started, if that is to stand for it; `Busy` if there
 * must be none.
 * @param {Transaction} t
 * @param {NewRun} given
 */
async function unstarted(t, { job, concurrency_key: key = null, on_busy = "queue" }) {
  /** @type {Run | null} */
  let found = null;
  if (key === null || on_busy === "queue") return found;
  await each(t.objectStore("runs").index("busy"), under(key), "next", (row) => {
    if (on_busy === "reject") throw new s.Busy(key, row.id);
    if (row.job === job && row.started_at === null) found = bare(row);
    return !found;
  });
  return found;
}

/** @param {Transaction} t @param {string} id @param {number} now */
export async function resume(t, id, now) {
  const [run, places] = [await existing(t, id), new Places(t, now)];
  if (!s.RESUMABLE.includes(run.status)) {
    throw new s.Conflict(`run ${id} is ${run.status}: only ${s.RESUMABLE.toSorted().join(", ")} runs resume`);
  }
  const other = await holderOfKey(t, run.job, run.idempotency_key, now);
  if (other) throw new s.Conflict(`run ${id} can't resume: run ${other.id} has its idempotency key now`);
  const attempt = run.attempt + 1;
  const row = {
    ...{ ...run, status: "PENDING", generation: run.generation + 1, attempt, first_attempt: attempt },
    ...{ recoveries: 0, executed: 0, output: null, error: null, finished_at: null, ready_at: null },
    ...{ claimable: 1, key_live: run.idempotency_key === null ? 0 : 1 },
    deadline: run.deadline !== null && run.deadline <= now ? null : run.deadline,
    ...{ gated: await places.isGated(run), interrupted: run.started_at === null ? 0 : 1, expires_at: null },
  };
  const resumed = await record(t, row, now, "run.resumed", { by: "request", attempt });
  return { run: await places.take(resumed), changes: places.changes };
}

/**
 * A run that has these completed steps already.
 * @param {Transaction} t
 * @param {NewRun} given
 * @param {import("./records.mjs").Step[]} steps
 */
export async function fork(t, given, steps) {
  const known = await find(t, given.id);
  const { created, changes } = await create(t, [given]);
  const [one] = created;
  if (!known && one.run.id === given.id) {
    for (const step of steps) t.objectStore("steps").add(step);
    one.run = put(t, { ...one.run, seq: 1 + steps.length });
  }
  return { created: one, changes };
}
