/** Steps on their way to the store: those that are saved while a transaction runs share the next one. */

import { find, putStep, refusal } from "./rows.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {{generation: number, step: Step, resolve: (refusal: Refusal | null) => void, reject: (error: unknown) => void}} Save */

export class Saves {
  /** @param {import("./indexeddb.mjs").IndexedDBStore} store */
  constructor(store) {
    this.store = store;
    /** @type {Save[]} */
    this.waiting = [];
    /** @type {Promise<void> | null} while any is on its way */
    this.finished = null;
    /** @type {Promise<unknown> | null} the save that was given last */
    this.last = null;
  }

  /** @param {number} generation @param {Step} step @returns {Promise<Refusal | null>} */
  add(generation, step) {
    /** @type {Promise<Refusal | null>} */
    const saved = new Promise((resolve, reject) => {
      this.waiting.push({ generation, step, resolve, reject });
      this.finished ??= this.drain();
    });
    this.last = saved;
    return saved;
  }

  /** Once all that was given so far is done: the writes of a run are applied in the order of their calls. */
  async turn() {
    await this.last?.catch(() => {});
  }

  async drain() {
    while (this.waiting.length) {
      const batch = this.waiting;
      this.waiting = [];
      try {
        await this.save(batch);
      } catch (error) {
        // One of them may be at fault: each by itself, so that an error is its own.
        for (const one of batch) {
          try {
            if (batch.length === 1) throw error;
            await this.save([one]);
          } catch (own) {
            one.reject(own);
          }
        }
      }
    }
    this.finished = null;
  }

  /** @param {Save[]} batch */
  async save(batch) {
    const completed = batch.every(({ step }) => step.seq !== null);
    const stores = completed ? ["runs", "steps"] : ["runs", "steps", "unfinished"];
    const answers = await this.store.transact(stores, "readwrite", (t) => {
      /** @type {Map<string, Promise<Run | undefined>>} */
      const runs = new Map();
      return Promise.all(batch.map((one) => save(t, runs, one)));
    });
    batch.forEach(({ resolve }, i) => resolve(answers[i]));
    const saved = batch.filter((_, i) => answers[i] === null);
    this.store.announce(...saved.map(({ step }) => ({ run_id: step.run_id, claimable: false, step: true })));
  }
}

/**
 * @param {IDBTransaction} t
 * @param {Map<string, Promise<Run | undefined>>} runs that were read in this transaction
 * @param {Save} one
 */
async function save(t, runs, { generation, step }) {
  const id = step.run_id;
  const run = runs.get(id) ?? find(t, id);
  runs.set(id, run);
  const refused = refusal(await run, generation);
  if (refused) return refused;
  await putStep(t, step);
  return null;
}
