/** What a page knows of its jobs: by its own Python, or what the last worker told, which may have had other files. */

import { digestOf } from "./job-files.mjs";
import { InvalidPayload, newRun, UnknownJob } from "./triggers.mjs";

/** @typedef {import("./triggers.mjs").Manifest} Manifest */

const DECLARED = "declared"; // the digest of the job files of which the store was told

export class KnownJobs {
  /** @param {import("./indexeddb.mjs").IndexedDBStore} store @param {import("./setup.mjs").Setup} setup */
  constructor(store, setup) {
    this.store = store;
    this.setup = setup;
    /** @type {Manifest | null} of this tab's own Python */
    this.manifest = null;
    /** @type {string[] | null} those that it can execute; null: there is none */
    this.names = null;
    /** @type {Promise<string | null> | null} the digest of this page's job files */
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
      if (!(await this.isOld())) throw error;
      return newRun({ ...given, manifest: null });
    }
  }

  /** Whether what was told was of other job files; not if nobody can say. */
  async isOld() {
    const { jobs } = await this.setup.init().catch(() => ({ jobs: null })); // in a page that can't execute
    const files = jobs && (await digestOf(jobs));
    return Boolean(files) && files !== (await this.store.get_meta(DECLARED));
  }

  /** Whether the store has been told of the schedules that these job files have. */
  async declared() {
    if (this.names) return true;
    this.files ??= this.setup.init().then(({ jobs }) => digestOf(jobs));
    const files = await this.files.catch(() => (this.files = null)); // what is wrong is told when Python starts
    return files !== null && (await this.store.get_meta(DECLARED).catch(() => files)) === files;
  }

  /** This tab's Python is there, and has told the store. @param {string} manifest @param {string} files digest of its job files */
  learn(manifest, files) {
    const jobs = (this.manifest = JSON.parse(manifest));
    this.names = Object.keys(jobs).filter((name) => jobs[name].executes);
    this.store.set_meta(DECLARED, files).catch(() => null); // else once more next time
  }
}
