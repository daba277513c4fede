/** A store for Python: verbs by name with JSON text in both directions, and answers by number. */

/** @typedef {import("./indexeddb.mjs").IndexedDBStore} Store */
/** Carries out a verb, given JSON of its arguments; never fails. @typedef {(verb: string, given: string) => Promise<string>} Route */

const OWN = ["open", "close"]; // of a store for itself: no detour

/**
 * One verb. The answer is JSON of `[result]`, or of an error's name and message.
 * @param {Store} store
 * @param {string} verb
 * @param {string} given JSON of the arguments
 */
export async function perform(store, verb, given) {
  try {
    const result = await /** @type {any} */ (store)[verb](...JSON.parse(given));
    return JSON.stringify([result ?? null]);
  } catch (raised) {
    const error = /** @type {Error & {id?: string, key?: string}} */ (raised);
    return JSON.stringify({ name: error.name, message: error.message, id: error.id, key: error.key });
  }
}

export class Bridge {
  /**
   * Python's functions stay the same for all verbs: to hand over one for each would cost as much as the verb.
   * @param {Store} store
   * @param {(number: number, answer: string) => void} answer
   * @param {(changes: string) => void} hear
   */
  constructor(store, answer, hear) {
    this.store = store;
    this.answer = answer;
    /** Whether mere steps are told, too. */
    this.steps = false;
    this.closed = false;
    /** @type {Route} */
    this.direct = (verb, given) => perform(store, verb, given);
    this.route = this.direct;
    this.turn = Promise.resolve(); // for who asks
    /** @type {Set<Promise<string>>} */
    this.asked = new Set();
    this.forget = store.listen((changes) => {
      const told = this.steps ? changes : changes.filter((change) => !change.step);
      if (told.length) hear(JSON.stringify(told));
    });
  }

  /**
   * @param {number} number
   * @param {string} verb
   * @param {string} given JSON of the arguments
   */
  async ask(number, verb, given) {
    await this.turn;
    const asked = (OWN.includes(verb) ? this.direct : this.route)(verb, given);
    this.asked.add(asked);
    const answer = await asked;
    this.asked.delete(asked);
    if (!this.closed) this.answer(number, answer);
  }

  /**
   * Have somebody else carry out the verbs (null: nobody). As their order counts, what is asked from now on waits
   * until all is done that was asked before; the promise is kept then.
   * @param {Route | null} route
   */
  detour(route) {
    this.turn = this.settled().then(() => void (this.route = route ?? this.direct));
    return this.turn;
  }

  /** Once all is done that was asked before. */
  async settled() {
    await this.turn;
    await Promise.all(this.asked);
  }

  /** Touch no store. @param {boolean} on */
  quiet(on) {
    this.store.quiet(on);
  }

  /** Python's functions aren't called after this. */
  close() {
    this.closed = true;
    this.forget();
  }
}
