/**
 * What a run can wait for besides time: its tokens, and the ends of its children. Inside the transaction
 * of one verb.
 */

import { create } from "./creating.mjs";
import { done } from "./database.mjs";
import { Places } from "./queues.mjs";
import { added, bare, checkTurn, existing, find, forget, put, putStep, record, refusal } from "./rows.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {import("./records.mjs").Change} Change */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {IDBTransaction} Transaction */

// Tokens

/** @param {Transaction} t @param {string} id @returns {Promise<Token | undefined>} */
const findToken = (t, id) => done(t.objectStore("tokens").get(id));

/**
 * @param {Transaction} t
 * @param {string} id
 * @param {number} generation
 * @param {Step} step
 * @param {Token} token
 * @returns {Promise<Refusal | null>}
 */
export async function createToken(t, id, generation, step, token) {
  const run = await find(t, id);
  const no = refusal(run, generation);
  if (no || !run) return no;
  await checkTurn(t, run, step.seq);
  await putStep(t, step);
  await added(t.objectStore("tokens").add(token)); // an earlier try of this very call, perhaps
  return null;
}

/**
 * @param {Transaction} t
 * @param {string} id
 * @param {Pick<Token, "state" | "output" | "error"> & {finished_at: number}} given
 * @returns {Promise<{token: Token, changes: Change[]}>}
 */
export async function finishToken(t, id, given) {
  const [token, now] = [await findToken(t, id), given.finished_at];
  if (!token) throw new s.TokenNotFound(id);
  if (token.state === "completed" || token.state === "failed") return { token, changes: [] };
  if (token.state === "expired" || token.deadline <= now) {
    throw new s.Conflict(`token ${id} has expired: nobody finished it in time`);
  }
  const run = await existing(t, token.run_id);
  if (s.FINAL.includes(run.status)) {
    throw new s.Conflict(`token ${id} can't be finished: its run ${run.id} is ${run.status}`);
  }
  const finished = { ...token, ...given };
  t.objectStore("tokens").put(finished);
  const woken = waits(run);
  if (woken) put(t, due(run, now));
  return { token: finished, changes: [{ run_id: run.id, claimable: woken }] };
}

/** @param {Transaction} t @param {string[]} ids @param {number} now @returns {Promise<Token[]>} */
export async function readTokens(t, ids, now) {
  const found = (await Promise.all(ids.map((id) => findToken(t, id)))).filter((token) => token !== undefined);
  return found.map((token) => {
    if (token.state !== "pending" || token.deadline > now) return token;
    const expired = { ...token, state: "expired", finished_at: now };
    t.objectStore("tokens").put(expired);
    return expired;
  });
}

// Children

const SAME = /** @type {const} */ (["path", "seq", "started_at", "failures", "attempt"]);

/** @param {import("./records.mjs").NewRun} run @param {Run} found @returns {import("./creating.mjs").Created} */
function answered(run, found) {
  if (run.id === found.id) return { run: found, disposition: "created" };
  return { run: found, disposition: run.idempotency_key === null ? "coalesced" : "idempotent" };
}

/**
 * @param {Transaction} t
 * @param {string} id
 * @param {number} generation
 * @param {Step} step
 * @param {import("./records.mjs").NewRun[]} runs
 * @returns {Promise<{answer: import("./creating.mjs").Created[] | Refusal, changes: Change[]}>}
 */
export async function createChildren(t, id, generation, step, runs) {
  const run = await find(t, id);
  const no = refusal(run, generation);
  if (no || !run) return { answer: /** @type {Refusal} */ (no), changes: [] };
  const steps = t.objectStore(step.seq === null ? "unfinished" : "steps");
  const stored = await done(steps.get([id, step.seq === null ? step.path : step.seq]));
  if (stored?.ref && SAME.every((name) => stored[name] === step[name])) { // an earlier try of this very call
    const named = await Promise.all(stored.ref.split("\n").map((/** @type {string} */ child) => find(t, child)));
    const children = named.filter(Boolean);
    if (children.length === runs.length) return { answer: runs.map((run, n) => answered(run, children[n])), changes: [] };
  }
  await checkTurn(t, run, step.seq);
  const { created, changes } = await create(t, runs);
  await putStep(t, { ...step, ref: created.map(({ run }) => run.id).join("\n") });
  return { answer: created, changes: [...changes, { run_id: id, claimable: false, step: true }] };
}

/**
 * What an unfinished parent may still wait for stays.
 * @param {Transaction} t
 * @param {number} before
 * @param {number} limit
 * @returns {Promise<number>} how many are gone
 */
export async function purge(t, before, limit) {
  const index = t.objectStore("runs").index("finished");
  /** @type {Map<string, boolean>} */
  const unfinished = new Map(); // by parent
  /** @type {any[]} */
  let after = [];
  let count = 0;
  while (count < limit) {
    const wanted = limit - count;
    const rows = await done(index.getAll(IDBKeyRange.bound(after, [before], true, true), wanted));
    for (const row of rows) {
      const parent = row.awaited ? row.parent_id : null;
      if (parent !== null && !unfinished.has(parent)) {
        const run = await find(t, parent);
        unfinished.set(parent, run !== undefined && !s.FINAL.includes(run.status));
      }
      if (unfinished.get(parent)) continue;
      await forget(t, bare(row));
      count += 1;
    }
    if (rows.length < wanted) break;
    after = [rows[rows.length - 1].finished_at, rows[rows.length - 1].id];
  }
  return count;
}

// Ends, and who is told of them

/**
 * An outsider ends a run, whoever holds it.
 * @param {Transaction} t
 * @param {Run} run
 * @param {string} status
 * @param {number} now
 * @param {string} type
 * @param {object} data
 * @param {Places} [places]
 * @returns {Promise<{run: Run, changes: Change[]}>}
 */
export async function end(t, run, status, now, type, data, places = new Places(t, now)) {
  s.check(run.id, run.status, status);
  /** @type {import("./records.mjs").Lease | undefined} */
  const lease = await done(t.objectStore("leases").get(run.id));
  t.objectStore("leases").delete(run.id);
  const row = {
    ...{ ...run, status, generation: run.generation + 1, claimable: 0, ready_at: null, finished_at: now },
    ...(lease && { executed: lease.executed, last_seen_at: lease.heartbeat_at }),
    remaining: null,
  };
  const recorded = await record(t, row, now, type, data);
  places.changes.push({ run_id: run.id, claimable: false, ended: status });
  return { run: await ended(recorded, places), changes: places.changes };
}

/** What the end of a run lets others do. @param {Run} run @param {Places} places @returns {Promise<Run>} */
export async function ended(run, places) {
  const row = await places.leave(run);
  await tellParent(row, places);
  return row;
}

/**
 * With all unfinished runs that descend from it; parents first, so that none of them is woken.
 * @param {Transaction} t
 * @param {string} id
 * @param {number} now
 */
export async function cancel(t, id, now) {
  const places = new Places(t, now);
  const cancelled = (/** @type {Run} */ run, /** @type {object} */ data) =>
    end(t, { ...run, key_live: 0 }, "CANCELLED", now, "run.cancelled", data, places);
  const { run, changes } = await cancelled(await existing(t, id), {});
  const parents = [id];
  for (const parent of parents) {
    for (const row of await done(t.objectStore("runs").index("children").getAll(parent))) {
      await cancelled(row.gated ? await existing(t, row.id) : bare(row), { parent }); // it may have a place by now
      parents.push(row.id);
    }
  }
  return { run, changes };
}

/** A run has ended: its parent may wait for that. @param {Run} child @param {Places} places */
async function tellParent(child, places) {
  const { t, now } = places;
  const parent = child.awaited && child.parent_id !== null ? await find(t, child.parent_id) : undefined;
  if (!parent) return;
  let woken = false;
  if (waits(parent)) {
    const left = child.status === "COMPLETED" ? Math.max(parent.remaining - 1, 0) : 0;
    woken = left === 0;
    put(t, { ...(woken ? due(parent, now) : parent), remaining: left });
  }
  places.tell(parent.id, woken);
}

/**
 * Whether what is waited for has come, and how many completed children are still missing.
 * @param {Transaction} t
 * @param {import("./records.mjs").Wakes} wakes
 * @returns {Promise<[boolean, number]>}
 */
export async function outlook(t, wakes) {
  const ids = [...new Set(wakes.children)]; // one key given twice names one child twice, which ends once
  const tokens = await Promise.all((wakes.tokens ?? []).map((id) => findToken(t, id)));
  const children = await Promise.all(ids.map((id) => find(t, id)));
  const completed = children.filter((child) => child?.status === "COMPLETED").length;
  const left = Math.max((wakes.all ? ids.length : 1) - completed, 0);
  const come =
    tokens.some((token) => token?.state !== "pending") ||
    children.some((child) => !child || (child.status !== "COMPLETED" && s.FINAL.includes(child.status))) ||
    (left === 0 && ids.length > 0);
  return [come, left];
}

/** Whether more than time can wake it. @param {Run} run @returns {run is Run & {remaining: number}} */
const waits = (run) => run.status === "WAITING" && run.remaining !== null;

/** It is due now, if it isn't already. @param {Run} run @param {number} now @returns {Run} */
function due(run, now) {
  const later = !run.claimable && (run.ready_at === null || run.ready_at > now);
  return later ? { ...run, ready_at: now } : run;
}
