/** What every store agrees on: statuses, the legal transitions, and what the events of a store say. */

/** From which status a run may go to which; the same table as in Python, kept equal by a test. */
export const TRANSITIONS = {
  PENDING: ["EXECUTING", "QUEUED", "WAITING_ON_CONNECTIONS", "EXPIRED", "CANCELLED", "MOVED"],
  WAITING_ON_CONNECTIONS: ["EXECUTING", "QUEUED", "EXPIRED", "CANCELLED", "MOVED"],
  QUEUED: ["PENDING", "EXPIRED", "TIMED_OUT", "CANCELLED", "MOVED"],
  EXECUTING: [
    ...["COMPLETED", "FAILED", "TIMED_OUT", "INVALID_PAYLOAD", "UNRESOLVED_AUTH", "WAITING", "STALE", "PENDING"],
    ...["CANCELLED", "MOVED"],
  ],
  STALE: ["EXECUTING", "CANCELLED", "MOVED"],
  WAITING: ["EXECUTING", "QUEUED", "CANCELLED", "MOVED"],
  COMPLETED: [],
  FAILED: ["PENDING"],
  CANCELLED: ["PENDING"],
  TIMED_OUT: ["PENDING"],
  UNRESOLVED_AUTH: ["PENDING"],
  EXPIRED: [],
  INVALID_PAYLOAD: [],
  MOVED: ["PENDING", "WAITING"],
};
export const RESUMABLE = ["FAILED", "CANCELLED", "TIMED_OUT", "UNRESOLVED_AUTH"];
/** Claimable, and never executed under this attempt. */
export const READY = ["PENDING", "WAITING_ON_CONNECTIONS"];
export const FINAL = [...RESUMABLE, "COMPLETED", "EXPIRED", "INVALID_PAYLOAD", "MOVED"];

/** A finished run with one of these still holds its idempotency key. */
export const KEEPS_KEY = ["COMPLETED", "MOVED"];

/** What the holder of a run can't make of it: that is for others. */
export const OTHERS = ["STALE", "EXPIRED", "MOVED"];

/** Stale for these reasons means that the worker disappeared without waking or releasing. */
const DISAPPEARED = ["heartbeat", "worker gone"];

/** An error that Python raises as the class of the same name. */
export class DurableError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}
export class Conflict extends DurableError {}
/** `onBusy: "reject"`: the unfinished run `id` has the concurrency key; nothing was stored. */
export class Busy extends Conflict {
  /** @param {string} key @param {string} id */
  constructor(key, id) {
    super(`run ${id} has the concurrency key ${key}`);
    this.key = key;
    this.id = id;
  }
}
export class StoreError extends DurableError {}
export class StoreUnavailable extends StoreError {}
export class SchemaTooNew extends StoreError {}
export class RunNotFound extends DurableError {
  /** @param {string} id */
  constructor(id) {
    super(`no run ${id}`);
    this.id = id;
  }
}
export class TokenNotFound extends DurableError {
  /** @param {string} id */
  constructor(id) {
    super(`no token ${id}`);
    this.id = id;
  }
}

/**
 * @param {string} id
 * @param {string} from
 * @param {string} to
 */
export function check(id, from, to) {
  const legal = /** @type {Record<string, string[]>} */ (TRANSITIONS)[from];
  if (!legal.includes(to)) throw new Conflict(`run ${id} is ${from} and can't become ${to}`);
}

/**
 * A run as it is created, before its `run.triggered` event.
 * @param {import("./records.mjs").NewRun} run
 * @returns {import("./records.mjs").Run}
 */
export function firstRow({ on_busy, debounce_mode, ...run }) {
  return {
    ...{ max_duration: null, deadline: null, trigger: "{}", environment: null, tags: "[]" },
    ...{ idempotency_key: null, idempotency_expires_at: null, parent_id: null, awaited: 0 },
    ...{ concurrency_key: null, expires_at: null, debounce_key: null, debounce_until: null },
    ...run,
    status: "PENDING",
    claimable: run.ready_at <= run.created_at ? 1 : 0,
    key_live: (run.idempotency_key ?? null) === null ? 0 : 1,
    attempt: 1,
    first_attempt: 1,
    generation: 0,
    recoveries: 0,
    recovery_seq: 0,
    seq: 0,
    executed: 0,
    started_at: null,
    finished_at: null,
    last_seen_at: null,
    stale_reason: null,
    worker: null,
    output: null,
    error: null,
    progress: null,
    metadata: "{}",
    remaining: null,
    ...{ interrupted: 0, gated: 0, slot: 0, key_held: 0, blocked: null },
  };
}

/**
 * `recoveries` and `recovery_seq` of a run that is claimed, with its last checkpoint's seq.
 * @param {import("./records.mjs").Run} run
 * @param {number} last
 * @returns {[number, number]}
 */
export function recovered(run, last) {
  if (run.status !== "STALE" || !DISAPPEARED.includes(run.stale_reason ?? "")) {
    return [run.recoveries, run.recovery_seq];
  }
  return [last > run.recovery_seq ? 1 : run.recoveries + 1, last];
}
