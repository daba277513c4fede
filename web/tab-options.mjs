/** What `openTab` takes, checked: an error names the option that is wrong. */

import { InvalidOption, seconds } from "./triggers.mjs";

/**
 * Durations are seconds, or text such as "90s".
 * @typedef {object} TabOptions
 * @property {string} store "indexeddb:my-app": a database of this page's origin
 * @property {string | URL | (string | URL)[]} [jobs] Python files; default: those of the static build
 * @property {string | URL} [manifest] durable-lite.json of the static build; default: beside this module
 * @property {string | URL} [pyodide] folder of Pyodide's files, instead of the build's
 * @property {string | URL} [wheel] of durable_lite, instead of the build's
 * @property {(string | URL)[]} [packages] more wheels, by URL
 * @property {boolean} [micropip] let micropip, which is to be in the build, install `packages` with all that they
 *   need, also by name
 * @property {"strict" | "relaxed"} [durability] survives a power loss, or a killed browser
 * @property {number | string} [heartbeatInterval]
 * @property {number | string} [staleAfter]
 * @property {number} [concurrency] runs that execute at a time
 * @property {string} [files] a folder of Python's, say "/files", that survives: kept in the origin's private
 *   file system, and written there before each checkpoint
 * @property {boolean} [keepAwake] hold a Web Lock on the main thread while runs execute (default true)
 * @property {boolean} [worker] false: only trigger and watch
 * @property {boolean} [schedules] the jobs have schedules: Python starts once to tell the store, and again when the
 *   job files have other addresses, as a static build gives to what has changed (default false)
 * @property {string} [environment] text that runs carry
 * @property {(status: import("./host.mjs").TabStatus) => void} [onStatus]
 */

/**
 * @typedef {object} Checked
 * @property {string} store the database's name
 * @property {string[] | null} jobs
 * @property {string | null} manifest
 * @property {string | null} pyodide
 * @property {string | null} wheel
 * @property {string[]} packages
 * @property {boolean} micropip
 * @property {"strict" | "relaxed"} durability
 * @property {number} heartbeatInterval
 * @property {number} staleAfter
 * @property {string | null} files
 * @property {boolean} keepAwake
 * @property {boolean} worker
 * @property {boolean} schedules
 * @property {((status: import("./host.mjs").TabStatus) => void) | null} onStatus
 * @property {object} python options of Python's `Durable`
 */

const KNOWN = [
  ...["store", "jobs", "manifest", "pyodide", "wheel", "packages", "durability", "heartbeatInterval"],
  ...["staleAfter", "concurrency", "micropip", "keepAwake", "worker", "schedules", "environment", "files"],
  "onStatus",
];

/** @param {TabOptions} options @returns {Checked} */
export function checkOptions(options) {
  const { heartbeatInterval = 5, staleAfter = 30, durability = "strict", concurrency = 10 } = options;
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name)) throw new InvalidOption(name, "openTab has no such option");
  }
  const [scheme, ...rest] = String(options.store).split(":");
  if (scheme !== "indexeddb" || !rest.join(":")) {
    throw new InvalidOption("store", `expected "indexeddb:" and a name, got ${JSON.stringify(options.store)}`);
  }
  if (durability !== "strict" && durability !== "relaxed") {
    throw new InvalidOption("durability", `${JSON.stringify(durability)} is neither "strict" nor "relaxed"`);
  }
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new InvalidOption("concurrency", `must be a whole number of at least 1, got ${concurrency}`);
  }
  const beat = seconds(heartbeatInterval, "heartbeatInterval");
  const stale = seconds(staleAfter, "staleAfter");
  if (stale < 2 * beat) throw new InvalidOption("staleAfter", "must be at least twice heartbeatInterval");
  const { environment = null, onStatus = null, files = null, jobs, packages = [] } = options;
  if (files !== null && !/^\/[\w-]+(\/[\w-]+)*$/.test(files)) {
    throw new InvalidOption("files", `expected a path such as "/files", got ${JSON.stringify(files)}`);
  }
  if (files !== null && options.keepAwake === false) {
    throw new InvalidOption("files", "needs keepAwake: without its lock two tabs could write them at a time");
  }
  const micropip = flag(options.micropip, "micropip", false);
  return {
    ...{ store: rest.join(":"), durability, heartbeatInterval: beat, staleAfter: stale, onStatus },
    jobs: jobs === undefined ? null : [jobs].flat().map((one) => absolute(one, "jobs")),
    manifest: options.manifest === undefined ? null : absolute(options.manifest, "manifest"),
    pyodide: options.pyodide === undefined ? null : absolute(options.pyodide, "pyodide").replace(/\/?$/, "/"),
    wheel: options.wheel === undefined ? null : absolute(options.wheel, "wheel"),
    packages: packages.map((one) => (micropip && isName(one) ? String(one) : absolute(one, "packages"))),
    micropip,
    files,
    keepAwake: flag(options.keepAwake, "keepAwake"),
    worker: flag(options.worker, "worker"),
    schedules: flag(options.schedules, "schedules", false),
    python: { heartbeat_interval: beat, stale_after: stale, concurrency, environment },
  };
}

/** As in "pandas" or "pandas>=2". @param {string | URL} given */
const isName = (given) => !/[/:]/.test(String(given)) && !String(given).endsWith(".whl");

/** @param {boolean | undefined} value @param {string} option @param {boolean} [otherwise] */
function flag(value, option, otherwise = true) {
  if (value !== undefined && typeof value !== "boolean") {
    throw new InvalidOption(option, `must be true or false, got ${JSON.stringify(value)}`);
  }
  return value ?? otherwise;
}

/** As the page means it: relative to the page. @param {string | URL} url @param {string} option */
function absolute(url, option) {
  try {
    return new URL(url, document.baseURI).href;
  } catch {
    throw new InvalidOption(option, `${JSON.stringify(url)} is not a URL`);
  }
}
