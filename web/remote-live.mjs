/** The newest runs of a server that match a filter, as they change. */

import { follow, rest } from "./event-stream.mjs";
import { isLasting } from "./problems.mjs";
import { runRow } from "./remote-rows.mjs";
import { RemoteRun, STREAMS } from "./remote-run.mjs";

/** @typedef {import("./remote.mjs").Remote} Remote */
/** @typedef {import("./source.mjs").ListFilter} ListFilter */

const SEARCH = 5000; // ms between two searches
const POLL = 2000; // ms between two looks at a list for which no connection is left

/**
 * @param {Remote} remote
 * @param {ListFilter} filter
 * @param {import("./source.mjs").Told} told
 * @param {AbortSignal} signal
 */
export async function live(remote, filter, told, signal) {
  /** What goes wrong there is no fault of the stream. @type {import("./source.mjs").Told} */
  const tell = (what) => {
    if (signal.aborted) return;
    try {
      told(what);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
  try {
    const query = remote.query({ ...filter, search: undefined, cursor: undefined });
    const newest = { ...filter, cursor: null };
    if (!query) tell({ runs: [], cursor: null, searched: null });
    else if (filter.search) await asking(remote, newest, tell, signal, SEARCH, () => true);
    else if (!(await asking(remote, newest, tell, signal, POLL, () => !takesPlace(remote)))) {
      await following(remote, query, tell, signal);
    }
  } catch (error) {
    tell({ error: /** @type {Error} */ (error) });
  }
}

/** Whether there was a stream left, which is then taken. @param {Remote} remote */
function takesPlace(remote) {
  const free = remote.streams < STREAMS;
  if (free) remote.streams += 1;
  return free;
}

/** In the place that was taken. @param {Remote} remote @param {import("./remote.mjs").Query} query @param {import("./source.mjs").Told} tell @param {AbortSignal} signal */
async function following(remote, query, tell, signal) {
  /** @type {Map<string, RemoteRun>} */
  let known = new Map();
  /** @type {import("./source.mjs").RunPage | null} */
  let page = null;
  let [up, down] = [false, false];
  try {
    await follow({
      signal,
      connect: (last, cut) => remote.http.stream("stream", query, last, cut),
      opened() {
        // If nothing has changed meanwhile, nothing will come.
        if (down && page) tell(page);
        [up, down] = [true, false];
      },
      told({ type, data }) {
        if (type !== "page") return false;
        const { ids, runs, cursor, whole } = JSON.parse(data);
        if (whole) known = new Map();
        for (const one of runs) known.set(one.id, new RemoteRun(remote, one.id, runRow(one), null, false));
        known = new Map(ids.flatMap((/** @type {string} */ id) => (known.has(id) ? [[id, known.get(id)]] : [])));
        page = { runs: [...known.values()], cursor, searched: null };
        tell(page);
        for (const { id } of runs) {
          const row = known.get(id)?.row;
          if (row) remote.noticed(row);
          remote.changed(id);
        }
        return false;
      },
      broken(error) {
        const lasting = isLasting(error);
        // One that breaks off comes again, and nobody needs to know.
        if (lasting || !up) {
          down = true;
          tell({ error });
        }
        up = false;
        return lasting;
      },
    });
  } finally {
    remote.streams -= 1;
  }
}

/**
 * Ask now and then, as long as it has to be so.
 * @param {Remote} remote
 * @param {ListFilter} filter
 * @param {import("./source.mjs").Told} tell
 * @param {AbortSignal} signal
 * @param {number} pause ms
 * @param {() => boolean} on
 * @returns {Promise<boolean>} whether it is given up
 */
async function asking(remote, filter, tell, signal, pause, on) {
  let shown = "";
  while (!signal.aborted && on()) {
    try {
      const page = await remote.listRuns(filter);
      const now = JSON.stringify([page.runs.map(({ row }) => row), page.cursor, page.searched]);
      if (now !== shown) tell(page);
      shown = now;
    } catch (error) {
      shown = "";
      tell({ error: /** @type {Error} */ (error) });
      if (isLasting(/** @type {any} */ (error))) return true;
    }
    await rest(pause * (0.75 + Math.random() / 2), signal);
  }
  return signal.aborted;
}
