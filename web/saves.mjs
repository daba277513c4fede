/**
 * Guarded writes on their way to the store, in the order of their calls: steps that are saved while a transaction
 * runs share the next one.
 */

import { checkTurn, find, putStep, refusal } from "./rows.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Refusal} Refusal */
/** @typedef {{generation: number, step: Step, resolve: (refusal: Refusal | null) => void, reject: (error: unknown) => void}} Save */
/** @typedef {() => Promise<void>} Other a write that isn't shared, and doesn't fail */

const REMEMBERED = 100; // runs

export class Saves {
  /** @param {import("./indexeddb.mjs").IndexedDBStore} store */
  constructor(store) {
    this.store = store;
    /** @type {(Save | Other)[]} */
    this.waiting = [];
    /** @type {Promise<void> | null} while any is on its way */
    this.finished = null;
    /** @type {Map<string, {generation: number, seq: number}>} of some runs the last step that was stored here */
    this.committed = new Map();
  }

  /** @param {number} generation @param {Step} step @returns {Promise<Refusal | null>} */
  add(generation, step) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ generation, step, resolve, reject });
      this.finished ??= this.drain();
    });
  }

  /**
   * After all that was given before it, and before all that is given after it.
   * @template T
   * @param {() => Promise<T>} write
   * @returns {Promise<T>}
   */
  inTurn(write) {
    return new Promise((resolve, reject) => {
      this.waiting.push(() => write().then(resolve, reject));
      this.finished ??= this.drain();
    });
  }

  async drain() {
    while (this.waiting.length) {
      const [first] = this.waiting;
      if (typeof first === "function") {
        this.waiting.shift();
        await first();
        continue;
      }
      const count = this.waiting.findIndex((one) => typeof one === "function");
      const batch = /** @type {Save[]} */ (this.waiting.splice(0, count < 0 ? this.waiting.length : count));
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

  /**
   * What stands in the database under a generation, so that the next write need not look whether it is its turn.
   * @param {string} id
   * @param {number} generation
   * @param {number | null} seq
   */
  remember(id, generation, seq) {
    if (seq === null) return;
    this.committed.delete(id);
    this.committed.set(id, { generation, seq });
    if (this.committed.size > REMEMBERED) this.committed.delete(/** @type {string} */ (this.committed.keys().next().value));
  }

  /** @param {Save[]} batch */
  async save(batch) {
    const completed = batch.every(({ step }) => step.seq !== null);
    const stores = ["runs", "steps", "events", ...(completed ? [] : ["unfinished"])];
    const answers = await this.store.transact(stores, "readwrite", (t) => {
      /** @type {Map<string, Promise<Run | undefined>>} */
      const runs = new Map();
      /** @type {Map<string, Promise<Refusal | null>>} those of a run one after the other */
      const last = new Map();
      return Promise.all(
        batch.map((one) => {
          const id = one.step.run_id;
          const before = last.get(id);
          const next = () => save(t, runs, one, this.committed.get(id));
          const saved = before ? before.then(next) : next();
          last.set(id, saved);
          return saved;
        }),
      );
    });
    batch.forEach(({ resolve }, i) => resolve(answers[i]));
    const saved = batch.filter((_, i) => answers[i] === null);
    for (const { generation, step } of saved) this.remember(step.run_id, generation, step.seq);
    this.store.announce(...saved.map(({ step }) => ({ run_id: step.run_id, claimable: false, step: true })));
  }
}

/**
 * @param {IDBTransaction} t
 * @param {Map<string, Promise<Run | undefined>>} runs that were read in this transaction
 * @param {Save} one
 * @param {{generation: number, seq: number}} [committed] the last write of the run that this connection knows of
 */
async function save(t, runs, { generation, step }, committed) {
  const id = step.run_id;
  const run = runs.get(id) ?? find(t, id);
  runs.set(id, run);
  const found = await run;
  const refused = refusal(found, generation);
  if (refused || !found) return refused;
  const follows = committed?.generation === generation && committed.seq + 1 === step.seq;
  if (!follows) await checkTurn(t, found, step.seq);
  await putStep(t, step);
  return null;
}
