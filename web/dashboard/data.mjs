/** What components read from their source, again whenever something has changed there. */

import { useEffect, useRef, useState } from "./html.mjs";

/** @typedef {import("../source.mjs").Source} Source */
/** @typedef {import("../source.mjs").ListFilter} ListFilter */
/** @typedef {import("../run.mjs").Run} Run */

const NEWEST = 100; // of a list are live
const PAGE = 200;
const LOOK = 2000; // ms between two looks at older ones that go on
const ALL = 15; // of these looks one is also at those that have ended, of which nobody told
const PAUSE = 200; // ms between two reads, however much happens
const POLL = 5000; // ms, for what nobody tells of
const RETRY = 1500; // ms, while the source is down

/** @param {Run} run @param {Run} other */
const isAfter = ({ row: a }, { row: b }) =>
  !a || !b || a.created_at > b.created_at || (a.created_at === b.created_at && a.id >= b.id);

/**
 * The newest runs, and what was read of older ones below them; none of the older ones if there is a hole between.
 * @param {Run[]} known
 * @param {Run[]} newest
 * @param {boolean} all whether these are all that there are
 */
export function merged(known, newest, all) {
  const last = newest.at(-1);
  if (all || !last || !known.length || !isAfter(known[0], last)) return newest;
  return [...newest, ...known.filter((run) => !isAfter(run, last))];
}

/**
 * `full`: the last page ended as it had enough runs, not as its search had looked at enough.
 * @typedef {{runs: Run[] | null, cursor: string | null, searched: number | null, full: boolean, loading: boolean}} Listed
 */
/** @type {Listed} */
const NOTHING = { runs: null, cursor: null, searched: null, full: false, loading: false };

/**
 * The runs of a filter, live; `more` reads older ones.
 * @param {Source} source
 * @param {ListFilter} filter
 * @param {(error: Error | null) => void} down hears whether the source answers
 * @param {{listed?: Listed, seen?: Run[]}} keep outlives the component; `seen`: those that are on the screen
 */
export function useRuns(source, filter, down, keep) {
  const [, redraw] = useState(0);
  const state = useRef(NOTHING);
  const key = JSON.stringify(filter);
  useEffect(() => {
    state.current = keep.listed ?? { ...NOTHING };
    keep.listed = state.current;
    redraw((n) => n + 1);
    return source.live({ ...filter, limit: NEWEST }, (told) => {
      if ("error" in told) return down(told.error);
      down(null);
      const now = state.current;
      const runs = merged(now.runs ?? [], told.runs, told.cursor === null);
      const older = runs.length > told.runs.length; // whose end is known already
      if (!older) Object.assign(now, { cursor: told.cursor, searched: told.searched, full: told.runs.length >= NEWEST });
      now.runs = runs;
      redraw((n) => n + 1);
    });
  }, [source, key]);

  // Of the older ones, which aren't live, those that are seen and may be another now are looked at.
  useEffect(() => {
    let looks = 0;
    /** Runs of which something was told; null: any. @type {Set<string | null>} */
    const told = new Set();
    const unlisten = source.store.listen((changes) => {
      for (const { run_id, step } of changes) if (!step) told.add(run_id);
    });
    const timer = setInterval(async () => {
      if (document.hidden) {
        told.clear();
        told.add(null);
        return;
      }
      const all = ++looks % ALL === 0 || told.has(null);
      const now = state.current;
      const newest = new Set(now.runs?.slice(0, NEWEST));
      const old = (keep.seen ?? []).filter((run) => !newest.has(run) && (all || told.has(run.id) || !run.finished));
      told.clear();
      if (!old.length) return;
      const found = await Promise.allSettled(old.map((run) => run.refresh()));
      const gone = new Set(old.filter((_, i) => /** @type {any} */ (found[i]).reason?.name === "RunNotFound"));
      old.forEach(({ id }, i) => found[i].status === "rejected" && told.add(id)); // the source is down
      if (gone.size) now.runs = now.runs?.filter((run) => !gone.has(run)) ?? null;
      redraw((n) => n + 1);
    }, LOOK);
    return () => {
      clearInterval(timer);
      unlisten();
    };
  }, [source, key]);

  async function more() {
    const now = state.current;
    const { cursor } = now;
    if (!cursor || now.loading) return;
    now.loading = true;
    try {
      const page = await source.listRuns({ ...filter, limit: PAGE, cursor });
      if (now !== state.current || now.cursor !== cursor) return;
      const last = now.runs?.at(-1);
      now.runs = [...(now.runs ?? []), ...page.runs.filter((run) => !last || !isAfter(run, last))];
      Object.assign(now, { cursor: page.cursor, full: page.runs.length >= PAGE });
      if (page.searched !== null) now.searched = (now.searched ?? 0) + page.searched;
      down(null);
    } catch (error) {
      down(/** @type {Error} */ (error));
    } finally {
      now.loading = false;
      redraw((n) => n + 1);
    }
  }
  return { ...state.current, more };
}

/**
 * What `read` gives, again after changes of the source (unless it is told of them less often) and after `again()`;
 * undefined at first.
 * @template T
 * @param {Source} source
 * @param {() => Promise<T>} read
 * @param {(error: Error | null) => void} down
 * @param {{of?: any[], listens?: boolean}} [how] `of`: what it depends on; `listens`: or only look now and then
 * @returns {{value: T | undefined, again: () => void}}
 */
export function useRead(source, read, down, { of = [], listens = true } = {}) {
  const [value, set] = useState(/** @type {T | undefined} */ (undefined));
  const look = useRef(() => {});
  useEffect(() => {
    let [timer, due, reading, pending, ended] = [0, Infinity, false, false, false];
    const soon = (/** @type {number} */ wait) => {
      if (reading) return void (pending = true);
      const at = performance.now() + wait;
      if (at >= due) return;
      due = at;
      clearTimeout(timer);
      timer = setTimeout(go, wait);
    };
    async function go() {
      [due, reading, pending] = [Infinity, true, false];
      let wait = POLL;
      try {
        const found = await read();
        if (ended) return;
        set(() => found);
        down(null);
      } catch (error) {
        if (ended) return;
        down(/** @type {Error} */ (error));
        wait = RETRY;
      }
      reading = false;
      soon(pending ? PAUSE : wait);
    }
    set(undefined);
    look.current = () => soon(0);
    const unlisten = listens ? source.store.listen(() => soon(PAUSE)) : () => {};
    go();
    return () => {
      ended = true;
      clearTimeout(timer);
      unlisten();
    };
  }, [source, ...of]);
  return { value, again: () => look.current() };
}

/** The time, now and then as long as something goes on. @param {boolean} on @param {number} [every] seconds */
export function useNow(on, every = 1) {
  const [now, set] = useState(Date.now() / 1000);
  useEffect(() => {
    if (!on) return;
    set(Date.now() / 1000);
    const timer = setInterval(() => set(Date.now() / 1000), every * 1000);
    return () => clearInterval(timer);
  }, [on, every]);
  return now;
}
