/** Where the worker finds Python: in the static build beside these modules, or where the page says. */

import { StoreError } from "./statuses.mjs";

const OURS = "durable-lite";

export class Setup {
  /** @param {import("./tab-options.mjs").Checked} options */
  constructor(options) {
    this.options = options;
  }

  /** What of the worker's first message is about files. */
  async init() {
    const { jobs, pyodide, wheel, packages, micropip } = this.options;
    if (pyodide && wheel) {
      const lock = { info: await this.info(pyodide), packages: {} };
      if (!jobs) throw new StoreError("openTab: `jobs` is missing");
      const base = { pyodide, library: null, base: pyodide, stdlib: `${pyodide}python_stdlib.zip`, lock, packages: [], jobs };
      return { ...base, wheels: [wheel, ...packages], micropip, version: null, sizes: {}, bytes: 0 };
    }
    const url = this.options.manifest ?? new URL("durable-lite.json", import.meta.url).href;
    const built = await json(url, "run `durable-lite web build`, or name it as `manifest`");
    if (built.format !== 1) throw new StoreError(`${url} has format ${built.format}: build it anew`);
    const at = (/** @type {string} */ path) => new URL(path, url).href;
    /** @type {Record<string, number>} */
    const sizes = {};
    for (const [path, { kind, size }] of /** @type {[string, any][]} */ (Object.entries(built.files))) {
      if (kind === "pyodide" || kind === "stdlib" || kind === "wheel") sizes[at(path)] = size;
    }
    return {
      pyodide: pyodide ?? at(built.pyodide.url),
      base: at("."),
      version: built.pyodide.version,
      stdlib: at(built.stdlib.url),
      lock: built.lock,
      library: wheel ? null : at(built.lock.packages[OURS].file_name),
      packages: built.packages.filter((/** @type {string} */ name) => name !== OURS),
      wheels: wheel ? [wheel, ...packages] : packages,
      micropip,
      jobs: jobs ?? built.jobs.map((/** @type {{url: string}} */ job) => at(job.url)),
      sizes,
      bytes: Object.values(sizes).reduce((sum, size) => sum + size, 0),
    };
  }

  /** @param {string} pyodide */
  async info(pyodide) {
    return (await json(`${pyodide}pyodide-lock.json`, "it belongs to Pyodide's files")).info;
  }
}

/** @param {string} url @param {string} hint */
async function json(url, hint) {
  const answer = await fetch(url, { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok) throw new StoreError(`${url} can't be fetched (${answer?.status ?? "no answer"}): ${hint}`);
  return answer.json();
}
