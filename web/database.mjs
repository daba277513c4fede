/**
 * One IndexedDB database: its fixed schema, and transactions that either commit or say why not; none while it is silent.
 */

import { SchemaTooNew, StoreError, StoreUnavailable } from "./statuses.mjs";

/** Never raised: an upgrade waits for frozen tabs. A breaking change is a database of another name. */
const SCHEMA = 1;

/** @type {Record<string, {keyPath: string | string[], indexes?: Record<string, string | string[]>}>} */
const STORES = {
  // What only some runs have an entry for lies under `index`, where it can be left out.
  runs: {
    keyPath: "id",
    indexes: {
      claimable: "index.claimable", // [job, -priority, created_at, id]
      due: "index.due", // ready_at
      key: "index.key", // [job, idempotency_key]
      finished: ["finished_at", "id"],
      children: "index.parent", // parent_id, of unfinished ones
      slot: "index.slot", // [queue, started, -priority, created_at, id] of those that have one
      held: "index.held", // concurrency_key, of those that hold it
      line: "index.line", // [blocked, queue or concurrency_key, started, -priority, created_at, id]
      busy: "index.busy", // [concurrency_key, created_at, id] of unfinished ones
      expiring: "index.expiring", // expires_at, of unfinished ones
      debounce: "index.debounce", // [job, debounce_key, created_at, id]
      created: ["created_at", "id"],
      status: ["status", "created_at", "id"],
      job: ["job", "status", "created_at", "id"],
    },
  },
  steps: { keyPath: ["run_id", "seq"] }, // completed ones
  unfinished: { keyPath: ["run_id", "path"] },
  events: { keyPath: ["run_id", "seq"] },
  logs: { keyPath: ["run_id", "attempt", "path", "ordinal"] },
  leases: { keyPath: "run_id" }, // apart, so that beats wait for no checkpoint
  workers: { keyPath: "id" },
  tags: { keyPath: ["tag", "created_at", "run_id"] },
  tokens: {
    keyPath: "id",
    indexes: {
      created: ["created_at", "id"],
      state: ["state", "created_at", "id"],
      run: ["run_id", "created_at", "id"],
      event: ["name", "state"], // of waits for events: other tokens have no name
    },
  },
  triggers: { keyPath: ["kind", "name", "job", "match"], indexes: { job: "job" } },
  schedules: { keyPath: ["job", "name"] },
  sent_events: { keyPath: "id", indexes: { at: "at" } },
  queues: { keyPath: "name" },
  starts: { keyPath: ["queue", "at", "run_id"] }, // first claims, of queues with a rate
  more_keys: { keyPath: ["job", "idempotency_key"], indexes: { run: "run_id" } }, // of runs that stand for others
  meta: { keyPath: "key" },
};

/** @typedef {"strict" | "relaxed"} Durability */

/**
 * The result of a request, within its transaction: nothing else may be awaited there.
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
export function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** All keys that begin with these parts. @param {...(string | number)} parts */
export function under(...parts) {
  return IDBKeyRange.bound(parts, [...parts, []]); // an array comes after every text and number
}

/**
 * In order, until `visit` says false.
 * @param {IDBIndex | IDBObjectStore} source
 * @param {IDBKeyRange | null} range
 * @param {"next" | "prev"} direction
 * @param {(row: any) => boolean | Promise<boolean>} visit
 */
export async function each(source, range, direction, visit) {
  if (!range) return;
  const request = source.openCursor(range, direction);
  for (let cursor = await done(request); cursor; cursor = await next(request, cursor)) {
    if (!(await visit(cursor.value))) return;
  }
}

/**
 * @template {IDBCursor} T
 * @param {IDBRequest<T | null>} request
 * @param {T} cursor
 */
export function next(request, cursor) {
  cursor.continue();
  return done(request);
}

/** The transaction was rolled back because of silence; nothing of it has happened. */
class RolledBack extends Error {}

export class Database {
  /**
   * @param {string} name
   * @param {Durability} durability
   */
  constructor(name, durability) {
    this.name = name;
    this.durability = durability;
    /** @type {Promise<IDBDatabase> | null} */
    this.connection = null;
    this.closed = true;
    /** @type {Set<IDBTransaction>} */
    this.running = new Set();
    /** @type {WeakSet<IDBTransaction>} */
    this.rolledBack = new WeakSet();
    /** @type {Promise<void> | null} while nothing may be begun */
    this.silence = null;
    this.silences = 0; // so far
    this.speak = () => {};
    /** Somebody else has closed the database: its data is gone, or soon will be. */
    this.onlost = () => {};
  }

  async open() {
    this.closed = false;
    await this.connect();
  }

  close() {
    this.closed = true;
    this.connection?.then((db) => db.close(), () => {});
    this.connection = null;
  }

  /**
   * Begin nothing from now on, and end what has begun, to begin it anew when this is over.
   * @param {boolean} on
   */
  quiet(on) {
    if (on) {
      this.silences += this.silence ? 0 : 1;
      this.silence ??= new Promise((resolve) => (this.speak = resolve));
      for (const transaction of this.running) this.rollBack(transaction);
    } else if (this.silence) {
      this.silence = null;
      this.speak();
    }
  }

  /** @param {IDBTransaction} transaction */
  rollBack(transaction) {
    try {
      transaction.abort();
      this.rolledBack.add(transaction);
    } catch {
      // it is being committed
    }
  }

  /** @returns {Promise<IDBDatabase>} */
  connect() {
    if (this.closed) return Promise.reject(new StoreError(`${this.name}: the store is not open`));
    if (!this.connection) {
      this.connection = this.request();
      this.connection.catch(() => (this.connection = null));
    }
    return this.connection;
  }

  /** @returns {Promise<IDBDatabase>} */
  request() {
    return new Promise((resolve, reject) => {
      if (typeof indexedDB === "undefined") {
        return reject(new StoreError(`${this.name}: there is no IndexedDB here`));
      }
      const request = indexedDB.open(this.name, SCHEMA);
      request.onupgradeneeded = () => {
        for (const [name, { keyPath, indexes = {} }] of Object.entries(STORES)) {
          const store = request.result.createObjectStore(name, { keyPath });
          for (const [index, path] of Object.entries(indexes)) {
            store.createIndex(index, path, { unique: index === "key" });
          }
        }
      };
      request.onsuccess = () => {
        const db = request.result;
        const lost = () => {
          this.connection = null;
          this.onlost();
        };
        db.onversionchange = () => (db.close(), lost()); // it is being deleted
        db.onclose = lost; // site data was cleared
        const missing = Object.keys(STORES).filter((name) => !db.objectStoreNames.contains(name));
        if (!missing.length) return resolve(db);
        db.close();
        reject(new StoreError(`${this.name} is not durable_lite's database: it has no ${missing[0]}`));
      };
      request.onerror = () => reject(explain(request.error, this.name));
    });
  }

  /** The connection, once nothing has to be silent. */
  async spoken() {
    for (;;) {
      while (this.silence) await this.silence;
      const db = await this.connect();
      if (!this.silence) return db;
    }
  }

  /**
   * Run `body` in one transaction, anew if silence has ended it; its result, once that is committed.
   * @template T
   * @param {string | string[]} stores
   * @param {IDBTransactionMode} mode
   * @param {(transaction: IDBTransaction) => Promise<T>} body awaits nothing but requests; may be called again
   * @returns {Promise<T>}
   */
  async transact(stores, mode, body) {
    for (let tries = 0; ; ) {
      const db = await this.spoken();
      let transaction;
      try {
        transaction = db.transaction(stores, mode, { durability: this.durability });
      } catch (error) {
        // The connection was closed under us, and nothing has happened yet.
        if (++tries > 3 || /** @type {Error} */ (error).name !== "InvalidStateError") {
          throw explain(error, this.name);
        }
        this.connection = null;
        continue;
      }
      try {
        return await this.finish(transaction, body);
      } catch (error) {
        if (!(error instanceof RolledBack)) throw error;
      }
    }
  }

  /**
   * @template T
   * @param {IDBTransaction} transaction
   * @param {(transaction: IDBTransaction) => Promise<T>} body
   * @returns {Promise<T>}
   */
  finish(transaction, body) {
    return new Promise((resolve, reject) => {
      /** @type {T} */
      let result;
      /** @type {unknown} */
      let failure = null;
      const fail = (/** @type {unknown} */ error) => {
        this.running.delete(transaction);
        reject(this.rolledBack.has(transaction) ? new RolledBack() : explain(error, this.name));
      };
      this.running.add(transaction);
      transaction.oncomplete = () => {
        this.running.delete(transaction);
        resolve(result);
      };
      // A full disk tells the transaction alone, and no request of it.
      transaction.onabort = () => fail(failure ?? transaction.error);
      body(transaction).then(
        (value) => {
          result = value;
          try {
            transaction.commit(); // a tab that is frozen now leaves no open transaction
          } catch {
            // it was aborted
          }
        },
        (error) => {
          failure = error;
          try {
            transaction.abort();
          } catch {
            fail(transaction.error ?? error);
          }
        },
      );
    });
  }
}

/**
 * What went wrong, as an error that says whether trying again may help.
 * @param {unknown} error
 * @param {string} name
 * @returns {Error}
 */
function explain(error, name) {
  if (!(error instanceof Error || error instanceof DOMException)) {
    return new StoreUnavailable(`${name}: the browser aborted the transaction`);
  }
  switch (error.name) {
    case "VersionError":
      return new SchemaTooNew(`${name} was written by a newer durable_lite; reload the page`);
    case "QuotaExceededError":
      return new StoreUnavailable(`${name} can't grow: this site has no more storage (QuotaExceededError)`);
    case "ConstraintError":
    case "DataError":
    case "DataCloneError":
      return new StoreError(`${name}: ${error.name}: ${error.message}`);
    case "AbortError":
    case "InvalidStateError":
    case "TimeoutError":
    case "TransactionInactiveError":
    case "UnknownError":
      return new StoreUnavailable(`${name}: ${error.name}: ${error.message}`);
    default:
      return error; // ours, or a defect
  }
}
