/** A run's way out of a store and into it, inside the transaction of one verb. */

import { done, under } from "./database.mjs";
import { Places } from "./queues.mjs";
import { existing, find, forget, holderOfKey, put, record } from "./rows.mjs";
import * as s from "./statuses.mjs";
import { end } from "./waits.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Moved} Moved */
/** @typedef {IDBTransaction} Transaction */

/** Whoever holds the run loses it. @param {Transaction} t @param {string} id @param {number} now */
export async function leave(t, id, now) {
  const run = await existing(t, id);
  if (run.status === "MOVED") return { run, changes: [] };
  s.check(id, run.status, "MOVED");
  const why = await stays(t, run);
  if (why) throw new s.Conflict(`run ${id} ${why}`);
  // More than time may wake it, which nobody there knows: it is claimed, looks, and waits again.
  const ready_at = run.remaining === null ? run.ready_at : null;
  return end(t, run, "MOVED", now, "run.moved", { direction: "out", from: run.status, ready_at });
}

/**
 * Why a run can't leave: neither its children nor its parent come along.
 * @param {Transaction} t
 * @param {Run} run
 */
async function stays(t, { id, awaited, parent_id }) {
  const children = await done(t.objectStore("runs").index("children").getAll(id));
  if (children.some((child) => child.awaited)) {
    return "waits for child runs, which can't come along: export it when they have ended";
  }
  for (const { kind, state, path } of await done(t.objectStore("unfinished").getAll(under(id)))) {
    if (kind !== "call" || state !== "waiting") continue;
    const completed = await done(t.objectStore("steps").getAll(under(id)));
    if (completed.some((step) => step.path === path)) continue;
    return "hasn't stored yet what its child runs gave, which can't come along: export it when it has";
  }
  const parent = awaited && parent_id !== null ? await find(t, parent_id) : undefined;
  return parent && !s.FINAL.includes(parent.status) ? `is awaited by run ${parent_id}` : null;
}

/** @param {Transaction} t @param {Moved} moved @param {number} now */
export async function arrive(t, moved, now) {
  const { id, job, idempotency_key: key, idempotency_expires_at: expires } = moved.run;
  const here = await find(t, id);
  if (here && !(await isNews(t, moved, here))) return { run: here, changes: [] };
  for (const token of moved.tokens) {
    const there = await done(t.objectStore("tokens").get(token.id));
    if (there && there.run_id !== id) {
      throw new s.Conflict(`run ${id} can't be imported: another run has its token ${token.id}`);
    }
  }
  const live = key !== null && (expires === null || expires > now);
  const other = live ? await holderOfKey(t, job, key, now) : null;
  if (other && other.id !== id) {
    throw new s.Conflict(`run ${id} can't be imported: run ${other.id} has its idempotency key ${key}`);
  }
  const keys = t.objectStore("more_keys");
  const answers = await done(keys.index("run").getAll(id)); // to keys of triggers that it stood for here
  if (here) await forget(t, here);
  for (const key of answers) keys.put(key);
  for (const step of moved.steps) t.objectStore(step.seq === null ? "unfinished" : "steps").add(step);
  for (const event of moved.events) t.objectStore("events").add({ run_id: id, ...event });
  for (const line of moved.logs) t.objectStore("logs").add(line);
  for (const token of moved.tokens) t.objectStore("tokens").add(token);
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
