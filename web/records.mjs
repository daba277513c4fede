/** The types of what the stores keep; the fields are those of Python's `durable_lite.records`. */

/**
 * A moment, in seconds since the epoch.
 * @typedef {number} Moment
 */

/**
 * What a trigger stores.
 * @typedef {object} NewRun
 * @property {string} id
 * @property {string} job
 * @property {string | null} version
 * @property {string} queue
 * @property {number} priority
 * @property {Moment} created_at
 * @property {Moment} ready_at
 * @property {string} payload JSON text
 * @property {number | null} [max_duration]
 * @property {Moment | null} [deadline]
 * @property {string} [trigger]
 * @property {string | null} [environment]
 * @property {string} [tags]
 * @property {string | null} [idempotency_key]
 * @property {Moment | null} [idempotency_expires_at]
 * @property {string | null} [parent_id]
 * @property {number} [awaited]
 * @property {string | null} [concurrency_key]
 * @property {string} [on_busy]
 * @property {Moment | null} [expires_at]
 * @property {string | null} [debounce_key]
 * @property {string} [debounce_mode]
 * @property {Moment | null} [debounce_until]
 */

/**
 * One run as it is stored.
 * @typedef {object} Run
 * @property {string} id
 * @property {string} job
 * @property {string | null} version
 * @property {string} status
 * @property {string} queue
 * @property {number} priority
 * @property {Moment} created_at
 * @property {Moment | null} ready_at
 * @property {number} claimable
 * @property {Moment | null} started_at
 * @property {Moment | null} finished_at
 * @property {string} payload
 * @property {string | null} output
 * @property {string | null} error
 * @property {number} attempt
 * @property {number} first_attempt
 * @property {number} recoveries
 * @property {number} recovery_seq
 * @property {number} generation
 * @property {string | null} worker
 * @property {number} seq
 * @property {number} executed
 * @property {Moment | null} last_seen_at
 * @property {string | null} stale_reason
 * @property {number | null} max_duration
 * @property {Moment | null} deadline
 * @property {string} trigger
 * @property {string | null} environment
 * @property {string} tags
 * @property {string | null} progress
 * @property {string} metadata
 * @property {string | null} idempotency_key
 * @property {Moment | null} idempotency_expires_at
 * @property {number} key_live
 * @property {string | null} parent_id
 * @property {number} awaited
 * @property {number | null} remaining
 * @property {number} interrupted
 * @property {string | null} concurrency_key
 * @property {number} gated
 * @property {number} slot
 * @property {number} key_held
 * @property {string | null} blocked
 * @property {Moment | null} expires_at
 * @property {string | null} debounce_key
 * @property {Moment | null} debounce_until
 */

/**
 * The limits of one queue; null is no limit.
 * @typedef {object} Queue
 * @property {string} name
 * @property {number | null} concurrency
 * @property {number | null} rate
 * @property {number | null} period
 * @property {string} key_scope
 * @property {number} paused
 */

/**
 * A queue, and how many runs stand in it and have a place.
 * @typedef {object} QueueState
 * @property {Queue} queue
 * @property {number} queued
 * @property {number} taken
 */

/**
 * A step, or a wait, of a run.
 * @typedef {object} Step
 * @property {string} run_id
 * @property {string} path
 * @property {number | null} seq
 * @property {string} kind
 * @property {string} state
 * @property {string | null} name
 * @property {string | null} arguments
 * @property {string | null} output
 * @property {string | null} error
 * @property {number} failures
 * @property {number} attempt
 * @property {number} generation
 * @property {Moment} started_at
 * @property {Moment | null} finished_at
 * @property {Moment | null} wake_at
 * @property {string | null} title
 * @property {string | null} ref
 */

/**
 * @typedef {object} NewEvent
 * @property {number} seq
 * @property {Moment} at
 * @property {string} type
 * @property {string} data JSON text
 */

/**
 * @typedef {object} StoredEvent
 * @property {string} run_id
 * @property {number} seq
 * @property {Moment} at
 * @property {string} type
 * @property {string} data JSON text
 */

/**
 * @typedef {object} LogLine
 * @property {string} run_id
 * @property {number} attempt
 * @property {string} path
 * @property {number} ordinal
 * @property {Moment} at
 * @property {string} level
 * @property {string} message
 * @property {string} fields
 */

/**
 * An external promise that a run waits for.
 * @typedef {object} Token
 * @property {string} id
 * @property {string} run_id
 * @property {string} path
 * @property {string} kind
 * @property {string} state
 * @property {Moment} created_at
 * @property {Moment} deadline
 * @property {Moment | null} finished_at
 * @property {string | null} output
 * @property {string | null} error
 * @property {string | null} name
 * @property {string | null} match
 */

/**
 * What starts a job besides a trigger.
 * @typedef {object} TriggerRow
 * @property {string} job
 * @property {string} kind
 * @property {string} name
 * @property {string} match
 * @property {string | null} version
 * @property {string} queue
 */

/**
 * @typedef {object} ScheduleRow
 * @property {string} job
 * @property {string} name
 * @property {string} spec
 * @property {string} catch_up
 * @property {number} next_at
 * @property {number | null} last_at
 * @property {number} paused
 */

/**
 * @typedef {object} SentEvent
 * @property {string} id
 * @property {string} name
 * @property {string} payload
 * @property {Moment} at
 */

/**
 * What became of an event.
 * @typedef {object} Sent
 * @property {boolean} fresh
 * @property {string[]} runs
 * @property {number} waits
 */

/**
 * @typedef {object} TokenFilter
 * @property {string | null} [state]
 * @property {string | null} [run_id]
 * @property {[Moment, string] | null} [cursor]
 * @property {number} [limit]
 */

/**
 * A run on its way from one store to another, with all it has; the last event is its `run.moved`.
 * @typedef {object} Moved
 * @property {Run} run
 * @property {Step[]} steps
 * @property {NewEvent[]} events
 * @property {LogLine[]} logs
 * @property {Token[]} tokens
 */

/**
 * @typedef {object} Lease
 * @property {string} run_id
 * @property {number} generation
 * @property {string} worker
 * @property {Moment} heartbeat_at
 * @property {string} via
 * @property {number} executed
 */

/**
 * @typedef {object} Beat
 * @property {string} run_id
 * @property {number} generation
 * @property {number} executed
 * @property {string | null} progress
 * @property {string | null} metadata
 * @property {LogLine[]} logs
 */

/**
 * What wakes a WAITING run: any of these tokens, any failed child, all children or any of them.
 * @typedef {object} Wakes
 * @property {string[]} [tokens]
 * @property {string[]} [children]
 * @property {boolean} [all]
 */

/**
 * How a worker lets go of a run.
 * @typedef {object} Settlement
 * @property {string} status
 * @property {Moment} at
 * @property {string} type of the event, which comes after everything that the run has
 * @property {string} data JSON
 * @property {number} attempt
 * @property {number} executed
 * @property {Moment | null} ready_at
 * @property {string | null} output
 * @property {string | null} error
 * @property {string | null} progress
 * @property {string | null} metadata
 * @property {LogLine[]} logs
 * @property {Wakes | null} [wakes]
 */

/**
 * Why a guarded write changed nothing: what the run is now (null: it is gone).
 * @typedef {{status: string | null, generation: number}} Refusal
 */

/**
 * @typedef {object} RunFilter
 * @property {string[] | null} [statuses]
 * @property {string | null} [job]
 * @property {string[]} [tags] all of them
 * @property {Moment | null} [created_after]
 * @property {Moment | null} [created_before]
 * @property {[Moment, string] | null} [cursor]
 * @property {number} [limit]
 */

/**
 * A hint that something was committed: to which run (null: look), may it be claimed, was no more than a step
 * or a wait stored, and by which status another than its worker has ended it.
 * @typedef {object} Change
 * @property {string | null} run_id
 * @property {boolean} claimable
 * @property {boolean} [step]
 * @property {string | null} [ended]
 */

export {};
