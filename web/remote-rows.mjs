/**
 * Rows of the HTTP API as stores have them: what was parsed there is text again. It is asked for with `values=tagged`, so
 * that `decode` finds what JSON hasn't.
 */

import { described } from "./brief.mjs";
import { InvalidOption, moment, tagsText } from "./trigger-options.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").LogLine} LogLine */
/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {import("./records.mjs").StoredEvent} StoredEvent */
/** @typedef {import("./records.mjs").QueueState} QueueState */
/** @typedef {import("./records.mjs").ScheduleRow} ScheduleRow */

/** What the API doesn't tell, or not in a list. */
const UNTOLD = {
  ...{ generation: 0, recoveries: 0, worker: null, stale_reason: null, max_duration: null, deadline: null },
  ...{ parent_id: null, blocked: null, expires_at: null, claimable: 0, first_attempt: 1, recovery_seq: 0, seq: 0 },
  ...{ last_seen_at: null, idempotency_expires_at: null, key_live: 0, awaited: 0, remaining: null, interrupted: 0 },
  ...{ gated: 0, slot: 0, key_held: 0, debounce_key: null, debounce_until: null },
};

/** JSON with large numbers kept for `text` as they are written, where the browser can. @param {string} source @returns {any} */
export function parsed(source) {
  return /\d{16}|\de/i.test(source) ? JSON.parse(source, exact) : JSON.parse(source);
}

/** From 2^53 on `decode` makes BigInts of Python's `int`s, and numbers of its `float`s. @param {string} _ @param {any} value @param {{source?: string}} [context] */
function exact(_, value, context) {
  if (!Number.isInteger(value) || Number.isSafeInteger(value)) return value;
  return context?.source ? (/** @type {any} */ (JSON).rawJSON?.(context.source) ?? value) : value;
}

/** JSON, of what isn't given too. @param {any} value @returns {string} */
export const text = (value) => JSON.stringify(value ?? null);

/** @param {any} value @returns {string | null} */
const maybe = (value) => ((value ?? null) === null ? null : JSON.stringify(value));

/** Null is also what a job, a step or a token gives. @param {any} value @param {boolean} given @returns {string | null} */
const output = (value, given) => (given ? text(value) : maybe(value));

/** @param {any} told of one run, or of one in a list @returns {Run} */
export function runRow({ parent = null, disposition, ...told }) {
  return {
    ...UNTOLD,
    ...told,
    parent_id: parent,
    trigger: text(told.trigger ?? {}),
    tags: text(told.tags),
    metadata: text(told.metadata ?? {}),
    payload: text(told.payload),
    output: output(told.output, told.status === "COMPLETED"),
    error: maybe(told.error),
    progress: maybe(told.progress),
    concurrency_key: maybe(told.concurrency_key),
    idempotency_key: maybe(told.idempotency_key),
  };
}

/** @param {string} run_id @param {any} told @returns {Step} */
export const stepRow = (run_id, told) => ({
  ...{ run_id, arguments: null, generation: 0, ...told },
  output: output(told.output, told.state === "completed"),
  error: maybe(told.error),
});

/** @param {string} run_id @param {any} told @param {number} ordinal @returns {LogLine} */
export const logRow = (run_id, told, ordinal) => ({ ...told, run_id, ordinal, fields: text(told.fields) });

/** @param {string} run_id @param {any} told @returns {StoredEvent} */
export const eventRow = (run_id, { seq, at, type, data }) => ({ run_id, seq, at, type, data: text(data) });

/** @param {any} told @returns {Token} */
export const tokenRow = (told) => ({
  ...told,
  match: maybe(told.match),
  output: output(told.output, told.state === "completed"),
  error: maybe(told.error),
});

/** @param {any} told @returns {QueueState} */
export const queueState = ({ queued, taken, ...told }) => ({ queue: { ...told, paused: Number(told.paused) }, queued, taken });

/** @param {any} told @returns {ScheduleRow} */
export const scheduleRow = (told) => ({ ...told, spec: text(told.spec), paused: Number(told.paused) });

const OPTIONS = [
  ...["idempotencyKey", "idempotencyTtl", "delay", "deadline", "priority", "queue", "maxDuration", "tags"],
  ...["concurrencyKey", "onBusy", "ttl", "debounceKey", "debounceDelay", "debounceMode", "debounceMax"],
];

/** A trigger's options as the API takes them. @param {import("./triggers.mjs").TriggerOptions} options */
export function optionsTold({ scope = "global", ...options }) {
  if (scope !== "global") {
    throw new InvalidOption("scope", `${described(scope)} is for triggers inside a run; outside it is "global"`);
  }
  /** @type {Record<string, any>} */
  const told = {};
  for (const [name, value] of Object.entries(options)) {
    if (!OPTIONS.includes(name)) throw new InvalidOption(name, "trigger has no such option");
    if ((value ?? null) === null) continue;
    const plain = name === "tags" ? JSON.parse(tagsText(value)) : name === "deadline" ? moment(value, name) : value;
    told[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = plain;
  }
  return told;
}
