/** What a page knows of its jobs: by its own Python, or what the last worker told, which may have had other files. */

import { digestOf } from "./job-files.mjs";
import { InvalidPayload, newRun, UnknownJob } from "./triggers.mjs";

/** @typedef {import("./triggers.mjs").Manifest} Manifest */

const DECLARED = "declared"; // the digest of the job files of which the store was told
const PATIENCE = 10_000; // ms

export class KnownJobs {
  /** @param {import("./indexeddb.mjs").IndexedDBStore} store @param {import("./setup.mjs").Setup} setup */
  constructor(store, setup) {
    this.store = store;
    this.setup = setup;
    /** @type {Manifest | null} of this tab's own Python */
    this.manifest = null;
    /** @type {string[] | null} those that it can execute; null: there is none */
    this.names = null;
    /** @type {string | null} the digest of this page's job files */
    this.files = null;
  }

  /** What a worker told last, as far as one has. @returns {Promise<Manifest | null>} */
  async published() {
    return this.manifest ?? JSON.parse((await this.store.get_meta("manifest")) ?? "null");
  }

  /**
   * The row of a new run. Nothing is refused because of what was told of other job files than there are now.
   * @param {Omit<Parameters<typeof newRun>[0], "manifest">} given
   */
  async row(given) {
    const manifest = await this.published();
    try {
      return newRun({ ...given, manifest });
    } catch (error) {
      if (this.names || !(error instanceof UnknownJob || error instanceof InvalidPayload)) throw error;
      const files = await this.digest();
      if (!files || files === (await this.store.get_meta(DECLARED))) throw error;
      // What fits its job now is for the claim to say; its queue is the best that is known.
      const entry = manifest && error instanceof InvalidPayload ? manifest[given.job] : null;
      return newRun({ ...given, manifest: entry && { [given.job]: { ...entry, version: null, payload: {} } } });
    }
  }

  /** Of this page's job files as they are now; null: nobody can say, as in a page that can't execute. */
  digest() {
    const found = this.setup.init().then(({ jobs }) => jobs && digestOf(jobs)).catch(() => null);
    const late = new Promise((resolve) => {
      AbortSignal.timeout(PATIENCE).addEventListener("abort", () => resolve(null));
    });
    return /** @type {Promise<string | null>} */ (Promise.race([found, late]));
  }

  /** Whether the store has been told of the schedules that these job files have. */
  async declared() {
    if (this.names) return true;
    const files = (this.files ??= await this.digest()); // what is wrong is told when Python starts
    return files !== null && (await this.store.get_meta(DECLARED).catch(() => files)) === files;
  }

  /** This tab's Python is there, and has told the store. @param {string} manifest @param {string} files digest of its job files */
  learn(manifest, files) {
    const jobs = (this.manifest = JSON.parse(manifest));
    this.names = Object.keys(jobs).filter((name) => jobs[name].executes);
    this.store.set_meta(DECLARED, files).catch(() => null); // else once more next time
  }
}
