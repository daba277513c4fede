/** What a page tells runs that wait: their tokens are kept or broken, and events have happened. */

import { described } from "./brief.mjs";
import { matches } from "./matching.mjs";
import { InvalidOption, nameOf } from "./trigger-options.mjs";
import { makeId, sized } from "./triggers.mjs";
import { encode } from "./values.mjs";

/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {import("./indexeddb.mjs").IndexedDBStore} Store */

const MAX_ID_BYTES = 1024;
const HALVES = /\p{Cs}/u; // of a character
const MAX_MESSAGE = 2000; // characters
const STATES = [null, "pending", "completed", "failed", "expired"];

/**
 * Keep the promise of a token; again is a no-op, the first value counts.
 * @param {Store} store
 * @param {string} id
 * @param {unknown} value plain data
 * @param {number} now epoch seconds
 */
export function completeToken(store, id, value, now) {
  const what = `token ${id}`;
  return store.finish_token(id, "completed", sized(encode(value, what), what), null, now);
}

/**
 * Let whoever waits for it get `TokenFailed` with this message.
 * @param {Store} store
 * @param {string} id
 * @param {string} message
 * @param {number} now
 */
export async function failToken(store, id, message, now) {
  if (typeof message !== "string") throw new InvalidOption("message", `expected text, got ${described(message)}`);
  const error = JSON.stringify({ type: "TokenFailed", message: message.slice(0, MAX_MESSAGE) });
  return store.finish_token(id, "failed", null, error, now);
}

/**
 * Newest first.
 * @param {Store} store
 * @param {{state?: string | null, run?: string | null, limit?: number}} filter
 * @returns {Promise<Token[]>}
 */
export async function tokens(store, { state = null, run = null, limit = 50 }) {
  if (!STATES.includes(state)) {
    throw new InvalidOption("state", `${described(state)} is none of ${STATES.slice(1).join(", ")}`);
  }
  return store.list_tokens({ state, run_id: run, cursor: null, limit });
}

/**
 * Start the jobs that are on such an event, and wake the runs that wait for one: once for an id.
 * @param {Store} store
 * @param {string} name
 * @param {unknown} payload plain data
 * @param {string | null} id
 * @param {number} now
 */
export async function sendEvent(store, name, payload, id, now) {
  const fits = typeof id === "string" && id && !HALVES.test(id) && new TextEncoder().encode(id).length <= MAX_ID_BYTES;
  if (id !== null && !fits) {
    throw new InvalidOption("id", `expected text of 1 to ${MAX_ID_BYTES} bytes, got ${described(id)}`);
  }
  const event = { id: id ?? makeId(now), name: nameOf(name, "name of an event"), at: now };
  const text = sized(encode(payload, `event ${name}`), `event ${name}`);
  const [trigger, plain] = [JSON.stringify({ kind: "event", name, event: event.id, timestamp: now }), JSON.parse(text)];
  const found = await store.list_triggers("event", event.name);
  const started = new Map(found.filter(({ match }) => matches(match, plain)).map((row) => [row.job, row]));
  const runs = [...started.values()].map(({ job, version, queue }) => ({
    ...{ id: makeId(now), job, version, queue, priority: 0, created_at: now, ready_at: now, payload: text, trigger },
  }));
  return store.send_event({ ...event, payload: text }, runs);
}
