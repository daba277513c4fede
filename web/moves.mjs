/** A run's way out of a store and into it, inside the transaction of one verb. */

import { done } from "./database.mjs";
import { Places } from "./queues.mjs";
import { clear, existing, find, holderOfKey, put, record } from "./rows.mjs";
import * as s from "./statuses.mjs";
import { end } from "./waits.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Moved} Moved */
/** @typedef {IDBTransaction} Transaction */

/** Whoever holds the run loses it. @param {Transaction} t @param {string} id @param {number} now */
export async function leave(t, id, now) {
  const run = await existing(t, id);
  if (run.status === "MOVED") return { run, changes: [] };
  const data = { direction: "out", from: run.status, ready_at: run.ready_at };
  return end(t, run, "MOVED", now, "run.moved", data);
}

/** @param {Transaction} t @param {Moved} moved @param {number} now */
export async function arrive(t, moved, now) {
  const { id, job, idempotency_key: key, idempotency_expires_at: expires } = moved.run;
  const here = await find(t, id);
  if (here && !(await isNews(t, moved, here))) return { run: here, changes: [] };
  const live = key !== null && (expires === null || expires > now);
  const other = live ? await holderOfKey(t, job, key, now) : null;
  if (other && other.id !== id) {
    throw new s.Conflict(`run ${id} can't be imported: run ${other.id} has its idempotency key ${key}`);
  }
  if (here) clear(t, here);
  for (const step of moved.steps) t.objectStore(step.seq === null ? "unfinished" : "steps").add(step);
  for (const event of moved.events) t.objectStore("events").add({ run_id: id, ...event });
  for (const line of moved.logs) t.objectStore("logs").add(line);
  const { tags, created_at, ready_at } = moved.run;
  for (const tag of JSON.parse(tags)) t.objectStore("tags").put({ tag, created_at, run_id: id });
  const row = {
    ...{ ...moved.run, generation: Math.max(moved.run.generation, here?.generation ?? 0) + 1 },
    ...{ claimable: ready_at === null || ready_at <= now ? 1 : 0, finished_at: null, output: null },
    ...{ worker: null, stale_reason: null, key_live: live ? 1 : 0 },
    interrupted: moved.run.started_at !== null && moved.run.status !== "WAITING" ? 1 : 0,
  };
  const places = new Places(t, now);
  row.gated = await places.isGated(row);
  const arrived = await record(t, put(t, row), now, "run.moved", { direction: "in" });
  return { run: await places.take(arrived), changes: places.changes };
}

/**
 * Whether a moved run replaces the MOVED one that is here; not if it came before.
 * @param {Transaction} t
 * @param {Moved} moved
 * @param {Run} here
 */
async function isNews(t, moved, here) {
  const last = moved.events[moved.events.length - 1];
  const left = await done(t.objectStore("events").get([here.id, here.status === "MOVED" ? here.seq : last.seq]));
  if (here.status !== "MOVED") {
    if (left?.type === "run.moved" && left.at === last.at) return false;
    throw new s.Conflict(`run ${here.id} can't be imported: it is here, and ${here.status}`);
  }
  if (moved.events.some(({ seq, at, type }) => seq === left.seq && at === left.at && type === left.type)) return true;
  throw new s.Conflict(`run ${here.id} can't be imported: it has moved on from here since`);
}
