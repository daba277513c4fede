/** One store, opened: its transactions, and what others of the same name commit. */

import { Database } from "./database.mjs";

/** @typedef {import("./records.mjs").Change} Change */

const PREFIX = "durable-lite:";

export class Connection {
  announces_all = true;

  /**
   * @param {string} name of the store: a database `durable-lite:<name>` of this origin
   * @param {{durability?: import("./database.mjs").Durability}} [options]
   */
  constructor(name, { durability = "strict" } = {}) {
    this.name = name;
    this.database = new Database(PREFIX + name, durability);
    // Whoever clears a site's data tells nobody that runs are gone.
    this.database.onlost = () => this.tell([{ run_id: null, claimable: false }]);
    /** @type {Set<(changes: Change[]) => void>} */
    this.listeners = new Set();
    /** @type {BroadcastChannel | null} */
    this.channel = null;
  }

  async open() {
    await this.database.open();
    if (this.channel || typeof BroadcastChannel === "undefined") return;
    this.channel = new BroadcastChannel(PREFIX + this.name);
    this.channel.onmessage = ({ data }) => this.tell(data);
    /** @type {any} */ (this.channel).unref?.(); // on Node it would keep the process alive
  }

  async close() {
    this.quiet(false);
    this.channel?.close();
    this.channel = null;
    this.database.close();
  }

  /**
   * Hear what is committed, by this store and by all others of the same name. Returns what ends it.
   * @param {(changes: Change[]) => void} listener
   */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @param {Change[]} changes */
  tell(changes) {
    for (const listener of [...this.listeners]) listener(changes);
  }

  /** @param {...Change} changes */
  announce(...changes) {
    if (!changes.length) return;
    this.channel?.postMessage(changes);
    this.tell(changes);
  }

  /**
   * Touch no store: the page is about to be frozen, and a frozen transaction blocks every other tab.
   * @param {boolean} on
   */
  quiet(on) {
    const silent = this.database.silence !== null;
    this.database.quiet(on);
    // What others commit isn't told to a page in the back/forward cache, nor to its worker; Chrome drops it then.
    if (silent && !on) this.tell([{ run_id: null, claimable: false }]);
  }

  /**
   * @template T
   * @param {string | string[]} stores
   * @param {IDBTransactionMode} mode
   * @param {(t: IDBTransaction) => Promise<T>} body may be called again
   * @returns {Promise<T>}
   */
  transact(stores, mode, body) {
    return this.database.transact(stores, mode, body);
  }
}
