/** The tab's worker: starts Pyodide when there is work, and hands the page's words to Python. */

import * as indexeddb from "./indexeddb.mjs";
import { digest } from "./job-files.mjs";

/** @typedef {import("./host.mjs").Init} Init */

const LIBRARY = "/lib/durable_lite.whl";

/** @type {any} */
let tab = null;
let ready = false;
/** Files that survive: `take` makes them this tab's. @type {{take: () => Promise<void>, save: () => Promise<void>} | null} */
let files = null;
/** What the page said last, also while Python starts: with an old answer this would sweep what the new leader holds. */
let leading = false;
/** Saves that wait until this tab leads. @type {(() => void)[]} */
const saving = [];
let downloading = true;
/** What the page said before Python was there. @type {import("./host.mjs").Order[]} */
const early = [];
/** Python's store. @type {import("./bridge.mjs").Bridge | null} */
let bridge = null;
let resting = false;
let detour = false;
/** What the page was asked to carry out, by number. @type {Map<number, (answer: string) => void>} */
const asked = new Map();
let number = 0;

/** @param {string} op @param {object} [more] */
const post = (op, more = {}) => postMessage({ op, ...more });

self.onmessage = async ({ data }) => {
  if (data.op === "init") await orFail(start(data));
  else if (data.op === "rest") rest(Boolean(data.on));
  else if (data.op === "leave") await leave();
  else if (data.op === "detour") await goRound(data);
  else if (data.op === "answer") asked.get(data.number)?.(data.answer);
  else if (data.op === "lead") await orFail(lead(Boolean(data.on)));
  else if (ready) obey(data);
  else early.push(data);
};

/** @param {Promise<void>} work */
async function orFail(work) {
  try {
    await work;
  } catch (error) {
    post("failed", describe(error));
  }
}

/** @param {import("./host.mjs").Order} message */
function obey({ op }) {
  if (op === "beat") tab.beat();
  else if (op === "stop") tab.stop().finally(() => post("stopped"));
}

/**
 * The page is about to be frozen, and this worker a moment later, in the middle of any line: touch no store. Not
 * through Python, which takes longer than that moment. Its timers that are due see what that cost.
 * @param {boolean} on
 */
function rest(on) {
  resting = on;
  bridge?.quiet(on);
}

/**
 * While the page is hidden, it carries out what Python asks of the store: it may be frozen then, and can end its
 * transactions within `freeze`, while nothing can end ours in time.
 * @param {{on: boolean, turn: number}} order
 */
async function goRound({ on, turn }) {
  detour = on;
  await bridge?.detour(on ? viaPage : null);
  post("detoured", { turn });
}

/** @type {import("./bridge.mjs").Route} */
function viaPage(verb, given) {
  return new Promise((resolve) => {
    const mine = ++number;
    asked.set(mine, (answer) => (asked.delete(mine), resolve(answer)));
    post("ask", { number: mine, verb, given });
  });
}

/** As `indexeddb.connect`, of a store that rests with its page. @param {Parameters<typeof indexeddb.connect>} given */
function connect(...given) {
  bridge = indexeddb.connect(...given);
  if (resting) bridge.quiet(true);
  if (detour) bridge.detour(viaPage);
  return bridge;
}

/** @param {boolean} on */
async function lead(on) {
  leading = on;
  if (!ready) return; // it is told when it has started
  if (on) await files?.take();
  if (leading !== on) return;
  tab.lead(on);
  if (on) for (const go of saving.splice(0)) go();
}

/** Claim nothing more; say so once it shows what has been claimed. */
async function leave() {
  await orFail(lead(false));
  await bridge?.settled();
  post("left");
}

/**
 * Mount a folder of the origin's private file system.
 *
 * Only the tab that leads writes it, for a write there makes it what this tab has; and it is read anew only
 * if another has led since, for that undoes what a step here has written and not yet saved.
 * @param {any} python
 * @param {string} path
 * @param {string} name
 */
async function mount(python, path, name) {
  const root = await navigator.storage.getDirectory();
  const kept = `durable-lite.${encodeURIComponent(name)}`;
  const folder = await root.getDirectoryHandle(kept, { create: true });
  const writer = await root.getFileHandle(`${kept}.writer`, { create: true });
  const me = crypto.randomUUID();
  python.FS.mkdirTree(path);
  const { syncfs } = await python.mountNativeFS(path, folder);
  const load = () =>
    new Promise((resolve, reject) => {
      python.FS.syncfs(true, (/** @type {unknown} */ error) => (error ? reject(error) : resolve(undefined)));
    });
  let last = Promise.resolve();
  let mine = false;
  const inTurn = (/** @type {() => Promise<void>} */ work) => (last = last.then(work, work));
  const take = async () => {
    try {
      if (mine && (await (await writer.getFile()).text()) === me) return;
      mine = false;
      if (!leading) return;
      // First the mark: if another tab leads meanwhile, it is that one's, and this is read anew.
      const stream = await writer.createWritable();
      await stream.write(me);
      await stream.close();
      await load();
      mine = true;
    } catch (error) {
      throw new StartError(`the tab's files can't be read: ${/** @type {any} */ (error)?.message ?? error}`);
    }
  };
  const save = async () => {
    while (!leading) await new Promise((resolve) => saving.push(() => resolve(undefined)));
    await inTurn(syncfs);
  };
  files = { take: () => inTurn(take), save };
}

/** @param {Init} init */
async function start(init) {
  leading = init.leads;
  stage("download", 0, init.bytes);
  report(init);
  mustCompile();
  // Beside Pyodide's files, which take longer; what fails is told below.
  const library = init.library && fetchLibrary(init.library);
  const jobs = Promise.all(init.jobs.map(fetchJob));
  Promise.allSettled([library, jobs]);
  const { loadPyodide, version } = await imported(init.pyodide + "pyodide.mjs");
  if (init.version && version !== init.version) {
    const wanted = `durable_lite was built for Pyodide ${init.version}`;
    throw new StartError(`${wanted}, but ${init.pyodide} is ${version}: run \`durable-lite web build\` again`);
  }
  const python = await loadPyodide({
    indexURL: init.pyodide,
    stdLibURL: init.stdlib,
    lockFileContents: init.lock,
    packageBaseUrl: init.base,
    packages: init.packages,
    fullStdLib: false,
    env: { HOME: "/home/pyodide", PYTHONDONTWRITEBYTECODE: "1" },
  });
  if (init.wheels.length) await (init.micropip ? installed(python, init.wheels) : python.loadPackage(init.wheels));
  if (library) {
    // Imported from where it is: to have Pyodide install it takes longer than all of its imports.
    python.FS.writeFile(LIBRARY, await library);
    python.pyimport("sys").path.append(LIBRARY);
  }
  downloading = false;
  stage("jobs");
  python.registerJsModule("durable_lite_indexeddb", { ...indexeddb, connect });
  if (init.files) await mount(python, init.files, init.store);
  if (leading) await files?.take(); // a job file may read them when it is imported
  const found = await jobs;
  const paths = found.map(({ name, text }) => write(python, name, text));
  const { store, durability, via, options } = init;
  const given = { store, durability, via, options, jobs: paths };
  const module = python.pyimport("durable_lite.browser.tab");
  const told = (/** @type {string} */ op, /** @type {string} */ text) => post(op, { [op]: text });
  tab = await module.start(JSON.stringify(given), told, files?.save); // not null: that isn't None
  const manifest = await tab.start();
  ready = true;
  for (const message of early.splice(0)) obey(message);
  await lead(leading);
  post("ready", { manifest, files: digest(found) });
}

/** @param {string} stage @param {number} [loaded] @param {number} [total] */
function stage(stage, loaded = 0, total = 0) {
  post("stage", { stage, loaded, total });
}

/** Tell of each file that has come; their bodies are Pyodide's, and stay in the browser's code cache. */
function report(/** @type {Init} */ { bytes, sizes }) {
  let loaded = 0;
  new PerformanceObserver((list) => {
    for (const { name } of list.getEntries()) loaded += sizes[name] ?? 0;
    if (downloading) stage("download", Math.min(loaded, bytes), bytes);
  }).observe({ type: "resource", buffered: true });
}

/** Without permission to compile, Pyodide waits for ever. */
function mustCompile() {
  try {
    new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
  } catch (error) {
    throw new StartError(
      "the page's Content-Security-Policy forbids WebAssembly: add 'wasm-unsafe-eval' to script-src, " +
        "also in the headers of worker.mjs",
    );
  }
}

/** @param {string} url */
async function imported(url) {
  try {
    return await import(url);
  } catch (error) {
    const answer = await fetch(url).catch(() => null);
    const type = answer?.headers.get("content-type") ?? "";
    if (!answer) throw new StartError(`${url} can't be fetched: ${/** @type {Error} */ (error).message}`);
    if (!answer.ok) throw new StartError(`${url} answers ${answer.status}: is Pyodide there?`);
    if (!/javascript/.test(type)) {
      throw new StartError(`${url} comes as "${type}": the server must send .mjs files as text/javascript`);
    }
    throw error;
  }
}

/** @param {any} python @param {string[]} wheels */
async function installed(python, wheels) {
  let micropip;
  try {
    micropip = python.pyimport("micropip");
  } catch {
    throw new StartError("micropip isn't in the build: durable-lite web build --wheel micropip-….whl");
  }
  await micropip.install(python.toPy(wheels));
}

/** @param {string} url @param {string} [what] @param {RequestInit} [options] */
async function fetched(url, what = "", options = {}) {
  const answer = await fetch(url, options).catch(() => null);
  if (!answer?.ok) throw new StartError(`${what}${url} can't be fetched (${answer?.status ?? "no answer"})`);
  return answer;
}

/** @param {string} url */
async function fetchLibrary(url) {
  return new Uint8Array(await (await fetched(url)).arrayBuffer());
}

/** @param {string} url */
async function fetchJob(url) {
  const answer = await fetched(url, "the job file ", { cache: "no-cache" });
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop() ?? "");
  if (!/^[^\W\d]\w*\.py$/.test(name)) throw new StartError(`the job file ${url} has no name of a Python module`);
  return { url, name, text: await answer.text() };
}

/** @param {any} python @param {string} name @param {string} text */
function write(python, name, text) {
  python.FS.mkdirTree("/jobs");
  python.FS.writeFile(`/jobs/${name}`, text);
  return `/jobs/${name}`;
}

class StartError extends Error {}

/** @param {any} error */
function describe(error) {
  // The message of a Python error is its traceback, whose last line says it.
  const text = String(error?.message ?? error);
  const last = error?.type ? (text.trim().split("\n").pop() ?? text) : text;
  const message = last.replace(/^durable_lite\.browser\.tab\.BadJobFile: /, "");
  const kind = error?.type === "BadJobFile" ? "jobs" : error instanceof StartError ? "setup" : "python";
  return { kind, message, detail: error?.type ? text : "" };
}
