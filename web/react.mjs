/** React hooks over a source, a `Tab` or a `Remote`: runs as they are now. What several components show is read once. */

import { useCallback, useRef, useState, useSyncExternalStore } from "react";

/** @typedef {import("./source.mjs").Source} Source */
/** @typedef {import("./run.mjs").Run} Run */
/** @typedef {{run: Run | null, status: string | null, progress: any, output: any, error: any}} RunNow */
/** @typedef {{runs: Run[], cursor: string | null, searched: number | null, error: Error | null}} RunsNow */
/** @typedef {(payload?: any, options?: import("./triggers.mjs").TriggerOptions) => Promise<Run | null>} Trigger */

/** @type {RunNow} */
const NO_RUN = { run: null, status: null, progress: null, output: null, error: null };
/** @type {RunsNow} */
const NO_RUNS = { runs: [], cursor: null, searched: null, error: null };

/** What is shown of each source. @type {WeakMap<Source, Map<string, {now: any, listeners: Set<() => void>, end: () => void}>>} */
const shared = new WeakMap();

/**
 * @template T
 * @param {Source | null} source
 * @param {string | null} key null: nothing to show
 * @param {T} nothing
 * @param {(source: Source, tell: (now: T) => void) => () => void} begin returns what ends it
 * @returns {T}
 */
function useShared(source, key, nothing, begin) {
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) => {
      if (!source || key === null) return () => {};
      const all = shared.get(source) ?? new Map();
      shared.set(source, all);
      const one = all.get(key) ?? { now: nothing, listeners: new Set(), end: null };
      all.set(key, one);
      one.listeners.add(listener);
      one.end ??= begin(source, (now) => {
        one.now = now;
        for (const hear of one.listeners) hear();
      });
      return () => {
        one.listeners.delete(listener);
        // In the same breath another component may show it, or this one again.
        queueMicrotask(() => {
          if (one.listeners.size || all.get(key) !== one) return;
          all.delete(key);
          one.end();
        });
      };
    },
    [source, key],
  );
  const now = () => (source && key !== null && shared.get(source)?.get(key)?.now) || nothing;
  return useSyncExternalStore(subscribe, now, () => nothing);
}

/**
 * A run as it is now. `error`: how it failed, or why it can't be shown.
 * @param {Source | null} source null: not open yet
 * @param {string | null} [id] null: none
 * @returns {RunNow}
 */
export function useRun(source, id) {
  return useShared(source, id ? `run ${id}` : null, NO_RUN, (source, tell) => {
    const run = source.run(id ?? "");
    /** @type {any} */
    let [progress, shown] = [null, ""];
    const look = (/** @type {Error | null} */ lost = null) => {
      const { row, status } = run;
      const now = JSON.stringify([status, progress, row?.output, row?.error, lost?.message]);
      if (now === shown) return;
      shown = now;
      try {
        tell({ run, status, progress, output: run.output ?? null, error: lost ?? run.error });
      } catch (error) {
        tell({ run, status, progress, output: null, error }); // its output can't be read here
      }
    };
    run.addEventListener("status", () => look());
    run.addEventListener("progress", (event) => {
      progress = /** @type {CustomEvent} */ (event).detail;
      look();
    });
    run.addEventListener("gone", (event) => look(/** @type {CustomEvent} */ (event).detail));
    run.refresh().then(() => look(), (error) => run.status ?? look(error));
    return () => run.close();
  });
}

/**
 * The newest runs that match, as they are now.
 * @param {Source | null} source
 * @param {import("./source.mjs").ListFilter} [filter]
 * @returns {RunsNow}
 */
export function useRuns(source, filter = {}) {
  return useShared(source, `runs ${JSON.stringify(filter)}`, NO_RUNS, (source, tell) => {
    let now = NO_RUNS;
    return source.live(filter, (told) => tell((now = "error" in told ? { ...now, ...told } : { ...told, error: null })));
  });
}

/**
 * Start a job from here, and show the run that was started last. `trigger` gives the run, or null where `error` says
 * why there is none: it never rejects.
 * @param {Source | null} source
 * @param {string} job
 * @returns {RunNow & {trigger: Trigger}}
 */
export function useJob(source, job) {
  const [last, set] = useState(/** @type {any} */ (null));
  const turn = useRef(0);
  const mine = last?.source === source && last?.job === job ? last : NO_RUN;
  const shown = useRun(source, mine.run?.id);
  const trigger = useCallback(
    /** @type {Trigger} */
    async (payload, options) => {
      const now = (turn.current += 1);
      /** @type {{run: Run | null, error: any}} */
      const told = { run: null, error: null };
      try {
        if (!source) throw new Error("the source isn't open yet");
        told.run = await source.trigger(job, payload, options);
      } catch (error) {
        told.error = error;
      }
      if (now === turn.current) set({ source, job, ...told });
      return told.run;
    },
    [source, job],
  );
  if (shown !== NO_RUN) return { ...shown, trigger };
  return { ...NO_RUN, run: mine.run, status: mine.run?.status ?? null, error: mine.error, trigger };
}
