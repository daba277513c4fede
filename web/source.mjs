/** What shows and steers runs asks for: `Tab` has it over this origin's IndexedDB, `Remote` over the HTTP API. */

/** @typedef {import("./run.mjs").Run} Run */
/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {import("./records.mjs").QueueState} QueueState */
/** @typedef {import("./records.mjs").ScheduleRow} ScheduleRow */

/**
 * Which runs: all that is given must match.
 * @typedef {object} ListFilter
 * @property {string | string[]} [status] one of them
 * @property {string} [job]
 * @property {string | string[]} [tag] all of them
 * @property {string} [search] a part of the id, of a tag or of the payload's text, whatever the case
 * @property {Date | number} [createdAfter] a Date or epoch seconds
 * @property {Date | number} [createdBefore]
 * @property {number} [limit] by default 50
 * @property {string | null} [cursor] of the page before
 */

/**
 * Newest first. `cursor` asks for the next page, which may be there though this one is short; `searched` tells how
 * many runs a search has looked at, 10,000 at most.
 * @typedef {{runs: Run[], cursor: string | null, searched: number | null}} RunPage
 */

/** An event of a run as it is stored. @typedef {{seq: number, at: number, type: string, data: any}} HistoryEvent */
/** @typedef {{name: string, version: string | null, queue: string}} KnownJob */
/** What a live list is told: a page, or why there is none for the moment. @typedef {(told: RunPage | {error: Error}) => void} Told */

/**
 * What a `Run` asks of its source.
 * @typedef {object} RunStore
 * @property {(id: string) => Promise<import("./records.mjs").Run | null>} get_run
 * @property {(ids: string[]) => Promise<import("./records.mjs").Run[]>} get_runs
 * @property {(id: string) => Promise<import("./records.mjs").Step[]>} load_steps
 * @property {(id: string) => Promise<import("./records.mjs").LogLine[]>} read_logs
 * @property {(id: string, after: number, limit: number) => Promise<import("./records.mjs").StoredEvent[]>} read_events
 * @property {(listener: (changes: import("./records.mjs").Change[]) => void) => () => void} listen
 * @property {boolean} announces_all whether who listens hears of everything
 */

/**
 * `event` of this target: live events of runs (`detail`).
 * @typedef {object} Own
 * @property {RunStore} store
 * @property {boolean} closed
 * @property {boolean} readOnly nothing of what changes runs is allowed
 * @property {(job: string, payload?: any, options?: import("./triggers.mjs").TriggerOptions) => Promise<Run>} trigger
 * @property {(filter?: {status?: string | string[], job?: string, tag?: string | string[], limit?: number}) => Promise<Run[]>} runs
 * @property {(filter?: ListFilter) => Promise<RunPage>} listRuns
 * @property {(filter: ListFilter, told: Told) => () => void} live the newest runs, at first and when they have changed
 * @property {(id: string) => Run} run
 * @property {(id: string) => Promise<void>} cancel
 * @property {(id: string) => Promise<void>} resume
 * @property {(id: string) => Promise<void>} delete
 * @property {(id: string, payload?: any) => Promise<Run>} replay
 * @property {(id: string, fromStep: string) => Promise<Run>} fork
 * @property {(id: string) => Promise<string>} exportRun
 * @property {(text: string) => Promise<Run>} importRun
 * @property {() => Promise<KnownJob[]>} knownJobs by name
 * @property {(filter?: {state?: string, run?: string, limit?: number}) => Promise<Token[]>} tokens
 * @property {(id: string, value?: any) => Promise<unknown>} completeToken
 * @property {(id: string, message: string) => Promise<unknown>} failToken
 * @property {(name: string, payload?: any, options?: {id?: string | null}) => Promise<unknown>} sendEvent
 * @property {() => Promise<QueueState[]>} queues
 * @property {(name: string) => Promise<void>} pauseQueue
 * @property {(name: string) => Promise<void>} resumeQueue
 * @property {() => Promise<ScheduleRow[]>} schedules
 * @property {(job: string, name: string) => Promise<void>} pauseSchedule
 * @property {(job: string, name: string) => Promise<void>} resumeSchedule
 * @property {() => Promise<void>} close
 */
/** @typedef {EventTarget & Own} Source */

export {};
