/** Schedules that start jobs: as workers declare them, and as far as they have come. Inside one transaction. */

import { create } from "./creating.mjs";
import { done, under } from "./database.mjs";

/** @typedef {import("./records.mjs").ScheduleRow} ScheduleRow */
/** @typedef {import("./records.mjs").Change} Change */
/** @typedef {IDBTransaction} Transaction */

/** @type {Change} */
const LOOK = { run_id: null, claimable: true };

/** @param {Transaction} t @returns {Promise<ScheduleRow[]>} by job and name */
export const listSchedules = (t) => done(t.objectStore("schedules").getAll());

/**
 * When the next of them ticks, of these jobs (null: of those that the last worker knew).
 * @param {Transaction} t
 * @param {string[] | null} jobs
 */
export async function nextTick(t, jobs) {
  const rows = (await listSchedules(t)).filter((row) => !row.paused);
  if (!rows.length) return null;
  const known = jobs ?? Object.keys(JSON.parse((await done(t.objectStore("meta").get("manifest")))?.value ?? "{}"));
  const ours = rows.filter((row) => known.includes(row.job));
  return ours.length ? Math.min(...ours.map((row) => row.next_at)) : null;
}

/**
 * These are all the schedules of these jobs.
 * @param {Transaction} t
 * @param {string[]} jobs
 * @param {ScheduleRow[]} schedules
 * @returns {Promise<Change[]>}
 */
export async function setSchedules(t, jobs, schedules) {
  const store = t.objectStore("schedules");
  /** @type {ScheduleRow[]} */
  const before = (await Promise.all(jobs.map((job) => done(store.getAll(under(job)))))).flat();
  const after = schedules.map((row) => goesOn(row, before.find((old) => old.job === row.job && old.name === row.name)));
  if (after.length === before.length && after.every((row) => before.some((old) => isSame(row, old)))) return [];
  for (const { job, name } of before) store.delete([job, name]);
  for (const row of after) store.put(row);
  return [LOOK];
}

/** @param {ScheduleRow} row @param {ScheduleRow | undefined} before */
function goesOn(row, before) {
  if (!before) return row;
  const next_at = before.spec === row.spec ? before.next_at : row.next_at;
  return { ...row, next_at, last_at: before.last_at, paused: before.paused };
}

/** @param {ScheduleRow} a @param {ScheduleRow} b */
const isSame = (a, b) => indexedDB.cmp(values(a), values(b)) === 0;

/** @param {ScheduleRow} row */
const values = ({ job, name, spec, catch_up, next_at, last_at, paused }) => [
  ...[job, name, spec, catch_up, next_at, last_at ?? ""],
  paused,
];

/**
 * @param {Transaction} t
 * @param {string} job
 * @param {string} name
 * @param {boolean} paused
 * @param {number} now
 * @returns {Promise<Change[]>}
 */
export async function pauseSchedule(t, job, name, paused, now) {
  const store = t.objectStore("schedules");
  /** @type {ScheduleRow | undefined} */
  const row = await done(store.get([job, name]));
  if (!row || row.paused === Number(paused)) return [];
  store.put({ ...row, paused: Number(paused), next_at: paused ? row.next_at : Math.max(row.next_at, now) });
  return [LOOK];
}

/**
 * Create these runs and move the schedule on, if it is still as it was `seen`.
 * @param {Transaction} t
 * @param {ScheduleRow} seen
 * @param {number} next_at
 * @param {number | null} last_at
 * @param {import("./records.mjs").NewRun[]} runs
 * @returns {Promise<{ticked: boolean, changes: Change[]}>}
 */
export async function tick(t, seen, next_at, last_at, runs) {
  const store = t.objectStore("schedules");
  const row = await done(store.get([seen.job, seen.name]));
  if (!row || seen.paused || !isSame(row, seen)) return { ticked: false, changes: [] };
  const { changes } = await create(t, runs);
  store.put({ ...seen, next_at, last_at });
  return { ticked: true, changes };
}
