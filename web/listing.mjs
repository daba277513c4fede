/** Lists of runs and tokens, newest first, from the index that has the order already. */

import { each } from "./database.mjs";
import { bare, find } from "./rows.mjs";
import { TRANSITIONS } from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Token} Token */

/**
 * With statuses (a job has all of them) one range of an index is read for each.
 * @param {IDBTransaction} t
 * @param {import("./records.mjs").RunFilter} filter
 * @returns {Promise<Run[]>}
 */
export async function list(t, filter) {
  const { statuses = null, job = null, tags = [], limit = 50 } = filter;
  /** @type {Run[]} */
  const found = [];
  const runs = t.objectStore("runs");
  const [tag, ...others] = tags;
  if (tag !== undefined) {
    await each(t.objectStore("tags"), newest(filter, [tag]), "prev", async (row) => {
      const run = await find(t, row.run_id);
      const fits = run && (job === null || run.job === job) && (!statuses || statuses.includes(run.status));
      if (fits && (!others.length || isSubset(others, JSON.parse(run.tags)))) found.push(run);
      return found.length < limit;
    });
    return found;
  }
  const wanted = statuses ?? (job === null ? null : Object.keys(TRANSITIONS));
  const index = runs.index(wanted === null ? "created" : job === null ? "status" : "job");
  for (const status of wanted === null ? [null] : new Set(wanted)) {
    const most = found.length + limit;
    const prefix = status === null ? [] : job === null ? [status] : [job, status];
    await each(index, newest(filter, prefix), "prev", (row) => found.push(bare(row)) < most);
  }
  found.sort((a, b) => indexedDB.cmp([b.created_at, b.id], [a.created_at, a.id]));
  return found.slice(0, limit);
}

/** @param {string[]} some @param {string[]} all */
const isSubset = (some, all) => some.every((one) => all.includes(one));

/**
 * @param {IDBTransaction} t
 * @param {import("./records.mjs").TokenFilter} filter
 * @returns {Promise<Token[]>}
 */
export async function listTokens(t, filter) {
  const { state = null, run_id = null, limit = 50 } = filter;
  /** @type {Token[]} */
  const found = [];
  const index = t.objectStore("tokens").index(run_id !== null ? "run" : state !== null ? "state" : "created");
  const prefix = [run_id ?? state].filter((part) => part !== null);
  await each(index, newest(filter, prefix), "prev", (token) => {
    if (state === null || token.state === state) found.push(token); // a run has few
    return found.length < limit;
  });
  return found;
}

/**
 * The keys of a list, newest first: those that begin with `prefix` and go on with (created_at, id).
 * @param {Pick<import("./records.mjs").RunFilter, "created_after" | "created_before" | "cursor">} filter
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
