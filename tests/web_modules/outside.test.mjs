/** What a page tells runs that wait: tokens and events, through the tab's own verbs. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import "./page.mjs";

const { Conflict, Tab, TokenNotFound, decode } = await import("../../web/durable-lite.mjs");
const { checkOptions } = await import("../../web/tab-options.mjs");

const NOW = Date.now() / 1000;
let stores = 0;

async function opened() {
  const tab = new Tab(checkOptions({ store: `indexeddb:outside-${(stores += 1)}`, worker: false }));
  await tab.store.open();
  return tab;
}

/** A run that executes, with a pending token. */
async function promised(tab, id, token) {
  const run = await tab.trigger("job");
  await tab.store.claim_runs("w", ["job"], 1, NOW + 1, "lease");
  const step = {
    ...{ run_id: run.id, path: id, seq: null, kind: "token", state: "waiting", name: "token", arguments: null },
    ...{ output: null, error: null, failures: 0, attempt: 1, generation: 1, started_at: NOW, finished_at: null },
    ...{ wake_at: NOW + 60, title: null, ref: id },
  };
  const made = {
    ...{ id, run_id: run.id, path: id, kind: "token", state: "pending", created_at: NOW, deadline: NOW + 60 },
    ...{ finished_at: null, output: null, error: null, name: null, match: null, ...token },
  };
  assert.equal(await tab.store.create_token(run.id, 1, step, made), null);
  return run;
}

test("a token is completed once, and its value is what Python reads", async () => {
  const tab = await opened();
  const run = await promised(tab, "tok_1");
  const [pending] = await tab.tokens({ state: "pending" });
  assert.deepEqual([pending.id, pending.run_id, pending.path], ["tok_1", run.id, "tok_1"]);
  const value = { when: new Date(0), of: new Set([1]) };
  assert.deepEqual(decode((await tab.completeToken("tok_1", value)).output), value);
  assert.deepEqual(decode((await tab.completeToken("tok_1", "later")).output), value);
  assert.deepEqual(await tab.tokens({ state: "pending" }), []);
  assert.equal((await tab.tokens({ run: run.id, limit: 1 }))[0].state, "completed");
  await tab.store.close();
});

test("a token is failed with a message", async () => {
  const tab = await opened();
  await promised(tab, "tok_1");
  assert.deepEqual(JSON.parse((await tab.failToken("tok_1", "no")).error), { type: "TokenFailed", message: "no" });
  await tab.store.close();
});

test("mistakes are named, and change nothing", async () => {
  const tab = await opened();
  await promised(tab, "tok_1");
  await promised(tab, "tok_late", { deadline: NOW - 1 });
  await assert.rejects(tab.completeToken("nope"), TokenNotFound);
  await assert.rejects(tab.completeToken("tok_late"), Conflict);
  await assert.rejects(tab.completeToken("tok_1", () => 1), { name: "NotSerializable", key: "token tok_1" });
  await assert.rejects(tab.completeToken("tok_1", "x".repeat(5e6)), { name: "TooLarge", message: /^token tok_1: / });
  await assert.rejects(tab.failToken("tok_1", 1), { name: "InvalidOption", option: "message" });
  await assert.rejects(tab.tokens({ state: "open" }), { name: "InvalidOption", option: "state" });
  await assert.rejects(tab.sendEvent("", 1), { name: "InvalidOption", option: "name of an event" });
  for (const id of ["\ud800", "", 1, "ü".repeat(513)]) {
    await assert.rejects(tab.sendEvent("paid", 1, { id }), { name: "InvalidOption", option: "id" });
  }
  assert.equal((await tab.tokens({ state: "pending" })).length, 2);
  await tab.store.close();
});

test("an event starts each job that it matches, and ends the waits for it, once for an id", async () => {
  const tab = await opened();
  const waits = (id, match) => promised(tab, id, { kind: "event", name: "paid", match: JSON.stringify(match) });
  await waits("tok_mine", { org: "acme" });
  await waits("tok_other", { org: "other" });
  const on = (job, match) => ({ job, kind: "event", name: "paid", match: JSON.stringify(match), version: "2", queue: "q" });
  await tab.store.set_triggers(
    ["book", "dun", "ship"],
    [on("book", { org: "acme" }), on("book", { amount: { gt: 5 } }), on("dun", { org: "other" }), on("ship", {})],
  );
  const payload = { org: "acme", amount: 10, at: new Date(0) };
  const sent = await tab.sendEvent("paid", payload, { id: "e1" });
  assert.deepEqual([sent.fresh, sent.runs.length, sent.waits], [true, 2, 1]);
  const runs = await Promise.all(sent.runs.map((id) => tab.run(id).refresh()));
  assert.deepEqual(runs.map(({ row }) => [row.job, row.version, row.queue]).sort(), [["book", "2", "q"], ["ship", "2", "q"]]);
  assert.deepEqual(runs[0].payload, payload);
  const { timestamp, ...trigger } = JSON.parse(runs[0].row.trigger);
  assert.deepEqual([trigger, typeof timestamp], [{ kind: "event", name: "paid", event: "e1" }, "number"]);
  const states = Object.fromEntries((await tab.tokens()).map(({ id, state }) => [id, state]));
  assert.deepEqual(states, { tok_mine: "completed", tok_other: "pending" });
  assert.deepEqual(await tab.sendEvent("paid", payload, { id: "e1" }), { ...sent, fresh: false });
  assert.equal((await tab.sendEvent("paid", payload)).fresh, true);
  await tab.store.close();
});
