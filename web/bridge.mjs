/** A store for Python: verbs by name with JSON text in both directions, and answers by number. */

export class Bridge {
  /**
   * Python's functions stay the same for all verbs: to hand over one for each would cost as much as the verb.
   * @param {import("./indexeddb.mjs").IndexedDBStore} store
   * @param {(number: number, answer: string) => void} answer
   * @param {(changes: string) => void} hear
   */
  constructor(store, answer, hear) {
    this.store = store;
    this.answer = answer;
    /** Whether mere steps are told, too. */
    this.steps = false;
    this.closed = false;
    this.forget = store.listen((changes) => {
      const told = this.steps ? changes : changes.filter((change) => !change.step);
      if (told.length) hear(JSON.stringify(told));
    });
  }

  /**
   * One verb. Its answer is JSON of `[result]`, or of an error's name and message.
   * @param {number} number
   * @param {string} verb
   * @param {string} given JSON of the arguments
   */
  async ask(number, verb, given) {
    let answer;
    try {
      const result = await /** @type {any} */ (this.store)[verb](...JSON.parse(given));
      answer = JSON.stringify([result ?? null]);
    } catch (raised) {
      const error = /** @type {Error & {id?: string, key?: string}} */ (raised);
      answer = JSON.stringify({ name: error.name, message: error.message, id: error.id, key: error.key });
    }
    if (!this.closed) this.answer(number, answer);
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
