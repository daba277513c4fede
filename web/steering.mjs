/** What few pages ask of a tab: lists with a search, live ones, replay and fork, by the rules of Python's `steering.py`. */

import { described } from "./brief.mjs";
import { Run } from "./run.mjs";
import { problems } from "./schema.mjs";
import { RunNotFound } from "./statuses.mjs";
import { InvalidOption, moment } from "./trigger-options.mjs";
import { InvalidPayload, makeId, sized } from "./triggers.mjs";
import { encode } from "./values.mjs";

/** @typedef {import("./durable-lite.mjs").Tab} Tab */
/** @typedef {import("./records.mjs").Run} Row */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./source.mjs").ListFilter} ListFilter */
/** @typedef {import("./source.mjs").RunPage} RunPage */

const SEARCHED = 10_000; // a search looks at so many runs, the newest ones of the list
const BATCH = 500;
const PAUSE = 150; // ms between two looks of a live list
const RETRY = 1000; // ms, while the store is down

// Lists

/**
 * @param {Tab} tab
 * @param {ListFilter} filter
 * @returns {Promise<RunPage>}
 */
export async function listRuns(tab, { search, limit = 50, cursor, ...rest }) {
  const wanted = {
    statuses: rest.status === undefined ? null : [rest.status].flat(),
    job: rest.job ?? null,
    tags: [rest.tag ?? []].flat(),
    created_after: rest.createdAfter === undefined ? null : moment(rest.createdAfter, "createdAfter"),
    created_before: rest.createdBefore === undefined ? null : moment(rest.createdBefore, "createdBefore"),
    cursor: cursor ? parsed(cursor) : null,
  };
  if (search === undefined) {
    const rows = await tab.store.list_runs({ ...wanted, limit });
    return page(tab, rows, rows.length === limit ? rows.at(-1) : undefined, null);
  }
  if (typeof search !== "string") throw new InvalidOption("search", `expected text, got ${described(search)}`);
  const text = search.toLowerCase();
  const quoted = JSON.stringify(text).slice(1, -1); // as it is written in JSON
  /** @type {Row[]} */
  const found = [];
  for (let looked = 0; ; ) {
    const rows = await tab.store.list_runs({ ...wanted, limit: BATCH });
    for (const row of rows) {
      looked += 1;
      if (!holds(row, text, quoted)) continue;
      found.push(row);
      if (found.length === limit) return page(tab, found, row, looked);
    }
    const last = rows.at(-1);
    if (rows.length < BATCH || !last) return page(tab, found, undefined, looked);
    if (looked >= SEARCHED) return page(tab, found, last, looked);
    wanted.cursor = [last.created_at, last.id];
  }
}

/** @param {Tab} tab @param {Row[]} rows @param {Row | undefined} last after which there may be more @param {number | null} searched */
function page(tab, rows, last, searched) {
  const runs = rows.map((row) => new Run(tab, row.id, row));
  return { runs, cursor: last ? `${last.created_at}:${last.id}` : null, searched };
}

/** @param {string} cursor @returns {[number, string]} */
function parsed(cursor) {
  const [, at, id] = /^([\d.e+-]+):(.+)$/su.exec(String(cursor)) ?? [];
  if (!id || !Number.isFinite(Number(at))) throw new InvalidOption("cursor", `${described(cursor)} didn't come from listRuns`);
  return [Number(at), id];
}

/** @param {Row} row @param {string} text @param {string} quoted */
function holds({ id, payload, tags }, text, quoted) {
  const held = payload.toLowerCase();
  if (id.toLowerCase().includes(text) || held.includes(text) || held.includes(quoted)) return true;
  return JSON.parse(tags).some((/** @type {string} */ tag) => tag.toLowerCase().includes(text));
}

/**
 * The newest runs of a filter, at first and whenever they have changed, until the signal.
 * @param {Tab} tab
 * @param {ListFilter} filter
 * @param {import("./source.mjs").Told} told
 * @param {AbortSignal} signal
 */
export function live(tab, filter, told, signal) {
  let [timer, reading, again, pause, shown] = [0, false, false, PAUSE, ""];

  async function look() {
    [timer, reading, again] = [0, true, false];
    const began = performance.now();
    try {
      const found = await listRuns(tab, filter);
      const now = JSON.stringify([found.runs.map(({ row }) => row && version(row)), found.cursor, found.searched]);
      if (now !== shown && !signal.aborted) told(found);
      // A search takes its time: it isn't to be all that the tab does.
      [shown, pause] = [now, Math.max(PAUSE, 4 * (performance.now() - began))];
    } catch (error) {
      if (!signal.aborted) told({ error: /** @type {Error} */ (error) });
      [shown, pause, again] = ["", RETRY, !(error instanceof InvalidOption)];
    }
    reading = false;
    if (again) soon();
  }

  function soon() {
    again = true;
    if (!timer && !reading && !signal.aborted && !tab.closed) timer = setTimeout(look, pause);
  }

  if (signal.aborted) return;
  const unlisten = tab.store.listen(soon);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    unlisten();
  });
  look();
}

/** What is another whenever a row is, and short. @param {Row} row */
const version = ({ id, status, seq, generation, attempt, progress, metadata, ready_at, claimable, payload }) => [
  ...[id, status, seq, generation, attempt, progress, metadata, ready_at, claimable],
  payload.length,
];

/**
 * The runs that a run has started, as its steps name them.
 * @param {import("./source.mjs").Source} source
 * @param {string} id
 * @param {number} most
 */
export async function children(source, id, most) {
  const steps = await source.store.load_steps(id);
  const refs = steps.filter(({ kind, ref }) => ref && (kind === "trigger" || kind === "call"));
  const ids = [...new Set(refs.flatMap(({ ref }) => (ref ?? "").split("\n")))].slice(0, most);
  return ids.length ? (await source.store.get_runs(ids)).map((row) => new Run(source, row.id, row)) : [];
}

// New runs after others

/**
 * A new run of the same job, with the same payload unless another is given; no checkpoints.
 * @param {Tab} tab
 * @param {string} id
 * @param {unknown} payload
 * @param {number} now
 */
export async function replay(tab, id, payload, now) {
  const row = await existing(tab, id);
  const entry = (await manifest(tab))[row.job];
  const text = payload === undefined ? row.payload : sized(encode(payload, `payload of ${row.job}`), `payload of ${row.job}`);
  const bad = entry && payload !== undefined && payload !== null ? problems(entry.payload, payload) : [];
  if (bad.length) throw new InvalidPayload(row.job, bad);
  const trigger = JSON.stringify({ kind: "replay", of: id });
  const [{ run, disposition }] = await tab.store.create_runs([
    { ...after(row, now), version: entry ? entry.version : row.version, payload: text, trigger },
  ]);
  return new Run(tab, run.id, run, disposition);
}

/**
 * A new run with the same payload, and the checkpoints that were stored before this step's.
 * @param {Tab} tab
 * @param {string} id
 * @param {string} path of the step: it and what comes after it is done anew
 * @param {number} now
 */
export async function fork(tab, id, path, now) {
  const row = await existing(tab, id);
  const trigger = JSON.stringify({ kind: "fork", of: id, step: path });
  const given = { ...after(row, now), trigger };
  const { run, disposition } = await tab.store.fork_run(given, forked(await tab.store.load_steps(id), path, given.id));
  return new Run(tab, run.id, run, disposition);
}

/** What a new run takes over from another. @param {Row} row @param {number} now */
function after({ job, version, queue, priority, payload, max_duration, tags, concurrency_key }, now) {
  const times = { id: makeId(now), created_at: now, ready_at: now };
  return { ...times, job, version, queue, priority, payload, max_duration, tags, concurrency_key, environment: null };
}

/**
 * The completed steps that were stored before that of `path`, as those of another run: without what it is nested
 * in, and what is nested in it. A token that is still waited for stays with its run.
 * @param {Step[]} steps
 * @param {string} path
 * @param {string} run_id
 */
export function forked(steps, path, run_id) {
  const chosen = steps.find((step) => step.path === path);
  if (!chosen) throw new InvalidOption("fromStep", `the run has no step ${described(path)}`);
  const before = steps.filter(
    (step) =>
      step.seq !== null &&
      (chosen.seq === null || step.seq < chosen.seq) &&
      !step.path.startsWith(`${path}/`) &&
      !path.startsWith(`${step.path}/`),
  );
  const paths = new Set(before.map((step) => step.path));
  const kept = before.filter((step) => step.kind !== "token" || paths.has(`${step.path}/wait`));
  return kept.map((step, i) => ({ ...step, run_id, seq: i + 2, attempt: 1, generation: 0, failures: 0 }));
}

/** @param {Tab} tab @param {string} id */
async function existing(tab, id) {
  const row = await tab.store.get_run(id);
  if (!row) throw new RunNotFound(id);
  return row;
}

// Jobs and schedules

/** @param {Tab} tab @returns {Promise<import("./triggers.mjs").Manifest>} as a worker last published it */
const manifest = async (tab) => (await tab.known.published()) ?? {};

/** By name. @param {Tab} tab @returns {Promise<import("./source.mjs").KnownJob[]>} */
export async function knownJobs(tab) {
  const jobs = Object.entries(await manifest(tab)).map(([name, { version, queue }]) => ({ name, version, queue }));
  return jobs.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * @param {Tab} tab
 * @param {string} job
 * @param {string} name
 * @param {boolean} paused
 * @param {number} now
 */
export async function pauseSchedule(tab, job, name, paused, now) {
  const rows = await tab.store.list_schedules();
  if (!rows.some((row) => row.job === job && row.name === name)) {
    throw new InvalidOption("schedule", `job ${described(job)} has no schedule ${described(name)}`);
  }
  await tab.store.pause_schedule(job, name, paused, now);
}
