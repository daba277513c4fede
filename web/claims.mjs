/** How runs are claimed, and what time brings before, inside the transaction of one verb. */

import { done, each as visit, under } from "./database.mjs";
import { nextDue, Places } from "./queues.mjs";
import { bare, existing, inOrder, lastSeq, put } from "./rows.mjs";
import * as s from "./statuses.mjs";
import { end } from "./waits.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {{run: Run, status: string, fresh: boolean}} Claim */
/** @typedef {IDBTransaction} Transaction */

const LATE = { error: '{"type": "TimedOut", "code": "deadline", "message": "deadline has passed"}', key_live: 0 };

/** Whether any run of these jobs (null: of any) is claimable. @param {Transaction} t @param {string[] | null} jobs */
export async function anyClaimable(t, jobs) {
  const index = t.objectStore("runs").index("claimable");
  for (const range of jobs === null ? [under()] : jobs.map((job) => under(job))) {
    if ((await done(index.getKey(range))) !== undefined) return true;
  }
  return false;
}

/** Whether a claim would find or change anything. @param {Transaction} t @param {string[]} jobs @param {number} now */
export async function anyWork(t, jobs, now) {
  return ((await nextDue(t, false)) ?? Infinity) <= now || anyClaimable(t, jobs);
}

/**
 * @param {Transaction} t
 * @param {string} worker
 * @param {string[]} jobs
 * @param {number} limit
 * @param {number} now
 * @param {string} via
 * @param {Record<string, string[]>} versions of jobs that are claimed in some only; "" is none
 */
export async function claimRuns(t, worker, jobs, limit, now, via, versions) {
  const places = new Places(t, now);
  await letCome(places);
  const best = [];
  for (const job of new Set(jobs)) {
    const ready = t.objectStore("runs").index("claimable");
    const wanted = versions[job];
    if (!wanted) best.push(...(await done(ready.getAll(under(job), limit))));
    else {
      let free = limit;
      await visit(ready, under(job), "next", (run) => {
        if (wanted.includes(run.version ?? "") && free-- > 0) best.push(run);
        return free > 0;
      });
    }
  }
  const claims = [];
  for (const row of best.map(bare).sort(inOrder).slice(0, limit)) claims.push(await claim(places, row, worker, via));
  return { claims, changes: places.changes };
}

/** Claimable runs of these jobs that are PENDING. @param {Transaction} t @param {string[]} jobs @returns {Promise<Run[]>} */
export async function unconnected(t, jobs) {
  const index = t.objectStore("runs").index("job");
  const found = await Promise.all(jobs.map((job) => done(index.getAll(under(job, "PENDING")))));
  return found.flat().filter((run) => run.claimable);
}

/** @param {Transaction} t @param {string[]} jobs @returns {Promise<import("./records.mjs").Change[]>} */
export async function lackConnections(t, jobs) {
  const found = await unconnected(t, jobs);
  for (const run of found) {
    s.check(run.id, run.status, "WAITING_ON_CONNECTIONS");
    put(t, { ...bare(run), status: "WAITING_ON_CONNECTIONS" });
  }
  return found.map(({ id }) => ({ run_id: id, claimable: false }));
}

/** Runs that are too late, that are due, that a rate lets start. @param {Places} places */
async function letCome(places) {
  const { t, now } = places;
  const range = IDBKeyRange.upperBound(now);
  const come = async (/** @type {string} */ index) => (await done(t.objectStore("runs").index(index).getAll(range))).map(bare);
  const isDue = (/** @type {Run} */ run) => !run.claimable && run.ready_at !== null && run.ready_at <= now;
  const isLate = (/** @type {Run} */ run) => run.started_at === null && !s.FINAL.includes(run.status);
  const isOver = (/** @type {Run} */ run) => run.status === "QUEUED" && isDue(run);

  let [late, due] = await Promise.all([come("expiring"), come("due")]);
  await each(places, late, isLate, (run) => end(t, { ...run, key_live: 0 }, "EXPIRED", now, "run.expired", {}, places));
  if (late.length) due = await come("due"); // their ends may have woken others
  const over = due.filter(isOver);
  await each(places, over, isOver, (run) =>
    end(t, { ...run, ...LATE }, "TIMED_OUT", now, "run.timed_out", { code: "deadline" }, places),
  );
  if (over.length) due = await come("due");
  await each(places, due, (run) => run.status !== "QUEUED" && isDue(run), async (run) =>
    run.gated ? places.ready(run) : put(t, { ...run, claimable: 1 }),
  );
  await places.promoteAll();
}

/**
 * In their order those that fit, and do so still when it is their turn.
 * @param {Places} places
 * @param {Run[]} runs
 * @param {(run: Run) => boolean} fits
 * @param {(run: Run) => Promise<unknown>} act
 */
async function each({ t }, runs, fits, act) {
  for (const found of runs.filter(fits).sort(inOrder)) {
    const run = found.gated ? await existing(t, found.id) : found; // others change only such
    if (fits(run)) await act(run);
  }
}

/**
 * @param {Places} places
 * @param {Run} run
 * @param {string} worker
 * @param {string} via
 * @returns {Promise<Claim>}
 */
async function claim(places, run, worker, via) {
  const { t, now } = places;
  s.check(run.id, run.status, "EXECUTING");
  const generation = run.generation + 1;
  const blank = run.started_at === null && run.seq === 1; // else it may have steps
  const checkpoint = blank ? 0 : await lastSeq(t, "steps", run.id);
  let seq = Math.max(run.seq, checkpoint, blank ? 0 : await lastSeq(t, "events", run.id)) + 1;
  const [recoveries, recovery_seq] = s.recovered(run, checkpoint);
  const events = t.objectStore("events");
  const claimed = { worker, generation, attempt: run.attempt, from: run.status };
  events.add({ run_id: run.id, seq, at: now, type: "run.claimed", data: JSON.stringify(claimed) });
  if (run.interrupted) {
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
  const started_at = run.started_at ?? (await places.start(run));
  const row = put(t, {
    ...{ ...run, status: "EXECUTING", ready_at: null, claimable: 0, worker, stale_reason: null, generation },
    ...{ recoveries, recovery_seq, seq, started_at, last_seen_at: now, remaining: null },
    ...{ interrupted: 0, expires_at: null },
  });
  places.tell(run.id, false);
  return { run: row, status: run.status, fresh: run.started_at === null && !checkpoint };
}
