/** Events that are sent: the runs that they start, and the waits that they end. Inside one transaction. */

import { create, CREATING } from "./creating.mjs";
import { done, under } from "./database.mjs";
import { matches } from "./matching.mjs";
import { find } from "./rows.mjs";
import * as s from "./statuses.mjs";
import { finishToken } from "./waits.mjs";

/** @typedef {import("./records.mjs").SentEvent} SentEvent */
/** @typedef {import("./records.mjs").Sent} Sent */
/** @typedef {import("./records.mjs").TriggerRow} TriggerRow */
/** @typedef {import("./records.mjs").Change} Change */
/** @typedef {IDBTransaction} Transaction */

/** For so many seconds an event's id is known. */
const EVENT_TTL = 30 * 86_400;
const FORGET_AT_ONCE = 10;

/** What a sent event touches. */
export const SENDING = [...CREATING, "tokens", "sent_events"];

/**
 * These are all the triggers of these jobs.
 * @param {Transaction} t
 * @param {string[]} jobs
 * @param {TriggerRow[]} triggers
 */
export async function setTriggers(t, jobs, triggers) {
  const store = t.objectStore("triggers");
  for (const job of jobs) {
    for (const key of await done(store.index("job").getAllKeys(job))) store.delete(key);
  }
  for (const trigger of triggers) store.put(trigger);
}

/** @param {Transaction} t @param {string} kind @param {string} name @returns {Promise<TriggerRow[]>} by job and filter */
export const listTriggers = (t, kind, name) => done(t.objectStore("triggers").getAll(under(kind, name)));

/**
 * @param {Transaction} t
 * @param {SentEvent} event
 * @param {import("./records.mjs").NewRun[]} runs
 * @returns {Promise<{sent: Sent, changes: Change[]}>}
 */
export async function sendEvent(t, event, runs) {
  const [store, knownSince] = [t.objectStore("sent_events"), event.at - EVENT_TTL];
  const earlier = await done(store.get(event.id));
  if (earlier && earlier.at > knownSince) {
    return { sent: { fresh: false, runs: earlier.runs, waits: earlier.waits }, changes: [] };
  }
  const { created, changes } = await create(t, runs);
  const payload = JSON.parse(event.payload);
  let waits = 0;
  for (const token of await done(t.objectStore("tokens").index("event").getAll([event.name, "pending"]))) {
    if (token.deadline <= event.at || !matches(token.match ?? "{}", payload)) continue;
    if (s.FINAL.includes((await find(t, token.run_id))?.status ?? "COMPLETED")) continue;
    const given = { state: "completed", output: event.payload, error: null, finished_at: event.at };
    changes.push(...(await finishToken(t, token.id, given)).changes);
    waits += 1;
  }
  const sent = { runs: created.map(({ run }) => run.id), waits };
  store.put({ ...event, ...sent });
  const old = IDBKeyRange.upperBound(knownSince);
  for (const id of await done(store.index("at").getAllKeys(old, FORGET_AT_ONCE))) store.delete(id);
  return { sent: { fresh: true, ...sent }, changes };
}
