/** The handle on a run: `result` ends with the run, however that ends. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import "./page.mjs";

const { openTab, RunNotFound } = await import("../../web/durable-lite.mjs");

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A tab that only watches, its run, and whether the result is still awaited. */
async function watched(name) {
  const tab = await openTab({ store: `indexeddb:${name}`, worker: false });
  const run = await tab.trigger("job", null);
  const result = run.result();
  const seen = { pending: true };
  result.catch(() => {}).finally(() => (seen.pending = false));
  await settled();
  assert(seen.pending);
  return { tab, run, result };
}

const cleared = (name) =>
  new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(`durable-lite:${name}`);
    request.onsuccess = resolve;
    request.onerror = reject;
  });

test("a run that is no more has no result", async () => {
  const { tab, run, result } = await watched("cleared");
  const gone = [];
  run.addEventListener("gone", ({ detail }) => gone.push(detail));
  await cleared("cleared");
  await assert.rejects(result, { name: "RunNotFound", id: run.id });
  await assert.rejects(run.result(), { name: "RunNotFound" });
  assert.deepEqual(gone.map((error) => error instanceof RunNotFound), [true]);
  assert.deepEqual(await tab.runs(), []);
  await tab.close();
});

test("the next run in the same tab is told of as the first was", async () => {
  const { tab, result } = await watched("again");
  await cleared("again");
  await assert.rejects(result, { name: "RunNotFound" });
  const next = await tab.trigger("job", null);
  const ended = next.result();
  await tab.cancel(next.id);
  await assert.rejects(ended, { name: "RunFailed", status: "CANCELLED" });
  await tab.close();
});

test("a run that was never there says nothing", async () => {
  const tab = await openTab({ store: "indexeddb:never", worker: false });
  const run = tab.run("nobody");
  run.addEventListener("gone", () => assert.fail("it was not there"));
  await assert.rejects(run.result(), { name: "RunNotFound" });
  await settled();
  run.close();
  await tab.close();
});

test("who gives up waits no more", async () => {
  const { tab, run } = await watched("given-up");
  const given_up = new AbortController();
  const result = run.result({ signal: given_up.signal });
  await settled();
  given_up.abort(new Error("enough"));
  await assert.rejects(result, /enough/);
  await cleared("given-up");
  await tab.close();
});

test("nor who waits while the tab is closed", async () => {
  const { tab, run, result } = await watched("closed");
  await tab.close();
  await assert.rejects(result, { name: "StoreUnavailable", message: new RegExp(run.id) });
  assert.equal(run.unwatch, null);
});

/** A run that executes in this tab's store, without Python; `step()` stores one. */
async function executing(name) {
  const tab = await openTab({ store: `indexeddb:${name}`, worker: false });
  const run = await tab.trigger("job", null);
  const [claim] = await tab.store.claim_runs("w", ["job"], 1, Date.now() / 1000, "lease");
  let { generation, seq } = claim.run;
  const step = () => {
    seq += 1;
    const at = Date.now() / 1000;
    return tab.store.save_step(run.id, generation, {
      ...{ run_id: run.id, path: `step-${seq}`, seq, name: "step", state: "completed", kind: "step" },
      ...{ started_at: at, finished_at: at, output: "1", error: null, attempt: 1, failures: 0 },
    });
  };
  const end = () =>
    tab.store.settle(run.id, generation, {
      ...{ status: "COMPLETED", at: Date.now() / 1000, seq: seq + 1, attempt: 1, executed: 0, ready_at: null },
      ...{ output: "7", error: null, progress: null, metadata: null, logs: [] },
      events: [{ seq: seq + 1, at: Date.now() / 1000, type: "run.completed", data: "{}" }],
    });
  return { tab, run, step, end };
}

test("who waits for the result reads nothing while steps are stored", async (t) => {
  const { tab, run, step, end } = await executing("quiet");
  const looked = new Promise((resolve) => run.addEventListener("status", resolve, { once: true }));
  const result = run.result();
  await looked;
  const reads = [t.mock.method(tab.store, "get_run"), t.mock.method(tab.store, "read_events")];
  for (let i = 0; i < 20; i++) await step();
  await settled();
  assert.deepEqual(reads.map((one) => one.mock.callCount()), [0, 0]);
  await end();
  assert.equal(await result, 7);
  await tab.close();
});

test("who hears of steps hears of each, with fewer reads than steps, also of those before it listened", async (t) => {
  const { tab, run, step, end } = await executing("close");
  const result = run.result();
  await step();
  const heard = [];
  run.addEventListener("step", ({ detail }) => heard.push(detail.data.path));
  const reads = t.mock.method(tab.store, "read_events");
  for (let i = 0; i < 20; i++) await step();
  await end();
  await result;
  assert.deepEqual(heard, Array.from({ length: 21 }, (_, i) => `step-${i + 3}`));
  assert(reads.mock.callCount() < 10, `${reads.mock.callCount()} reads`);
  await tab.close();
});

/** What the worker tells as it happens. */
function live(tab, run, type, data, at = Date.now() / 1000) {
  tab.dispatchEvent(new CustomEvent("event", { detail: { run_id: run.id, seq: null, at, type, data } }));
}

test("who has waited for a result watches no longer, unless somebody listens", async () => {
  for (const listens of [false, true]) {
    const { tab, run, end } = await executing(`leak-${listens}`);
    if (listens) run.addEventListener("status", () => {});
    const given_up = new AbortController();
    const results = [run.result(), run.result(), run.result({ signal: given_up.signal })];
    await settled();
    given_up.abort(new Error("enough"));
    await assert.rejects(results[2], /enough/);
    assert(run.unwatch, "the others wait");
    await end();
    assert.deepEqual(await Promise.all(results.slice(0, 2)), [7, 7]);
    assert.equal(Boolean(run.unwatch), listens);
    await tab.close();
  }
});

test("of a step whose end was told the start isn't told any more", async () => {
  const { tab, run, step, end } = await executing("late");
  const heard = [];
  run.addEventListener("step", ({ detail }) => heard.push(`${detail.type} ${detail.data.path}`));
  const begins = (path, at = 0) => live(tab, run, "step.started", { path }, at);
  begins("step-3");
  await step();
  const result = run.result();
  while (heard.at(-1) !== "step.completed step-3") await settled();
  begins("step-3"); // it took another way
  begins("step-4");
  live(tab, run, "step.failed", { path: "step-4" }, 7);
  begins("step-4", 6);
  begins("step-4", 8); // tried again
  await step();
  await end();
  await result;
  assert.deepEqual(heard, [
    ...["step.started step-3", "step.completed step-3", "step.started step-4", "step.failed step-4"],
    ...["step.started step-4", "step.completed step-4"],
  ]);
  await tab.close();
});

/** What a heartbeat of its worker stores. */
async function beats(tab, run, generation, progress, worker = "w") {
  const beat = { run_id: run.id, generation, executed: 0, progress: JSON.stringify(progress), metadata: null, logs: [] };
  await tab.store.beat(worker, [beat], Date.now() / 1000);
}

test("progress that was told live isn't told back by what a heartbeat stored before it", async () => {
  const { tab, run, step, end } = await executing("ahead");
  const heard = [];
  run.addEventListener("progress", ({ detail }) => heard.push(detail.current));
  await settled();
  const progress = (current) => ({ current, total: 9, message: null });
  await beats(tab, run, 1, progress(1));
  while (!heard.length) await settled();
  live(tab, run, "run.progress", progress(2));
  live(tab, run, "run.progress", progress(3));
  await step(); // reads the row again
  await settled();
  await run.refresh();
  assert.equal(run.progress.current, 3);
  await beats(tab, run, 1, progress(2));
  await run.refresh();
  assert.equal(run.progress.current, 3);
  assert.deepEqual(heard, [1, 2, 3]);
  await end();
  await run.result();
  assert.equal(run.progress.current, 2, "an execution that has ended has stored its last");
  await tab.close();
});

test("progress of an execution whose row isn't read yet is ahead of it, too", async () => {
  const { tab, run } = await executing("early");
  const heard = [];
  run.addEventListener("progress", ({ detail }) => heard.push(detail.current));
  await settled();
  await beats(tab, run, 1, { current: 1, total: 9, message: null });
  while (!heard.length) await settled();
  const lease = await tab.store.leases();
  await tab.store.mark_stale(lease, "suspended", Date.now() / 1000);
  await settled();
  const [{ run: again }] = await tab.store.claim_runs("w2", ["job"], 1, Date.now() / 1000, "lease");
  live(tab, run, "run.progress", { current: 2, total: 9, message: null });
  while (run.row.generation !== again.generation) await settled();
  await settled();
  assert.deepEqual([heard, run.progress.current], [[1, 2], 2]);
  run.close();
  await tab.close();
});

test("a handle that hears no ends keeps no steps", async () => {
  const { tab, run, end } = await executing("starts");
  const result = run.result();
  run.addEventListener("status", () => {});
  await settled();
  live(tab, run, "step.started", { path: "a" });
  assert.equal(run.inFlight.size, 0);
  await end();
  await result;
  await tab.close();
});

test("what is live of one execution says nothing of the next one", async () => {
  const { tab, run } = await executing("generations");
  const heard = [];
  run.addEventListener("progress", ({ detail }) => heard.push(detail.current));
  while (!run.row) await settled();
  live(tab, run, "run.progress", { current: 5, total: 9, message: null });
  live(tab, run, "step.started", { path: "a" });
  assert.deepEqual([...run.inFlight.keys()], ["a"]);
  const leases = await tab.store.leases();
  await tab.store.mark_stale(leases, "suspended", Date.now() / 1000);
  const [claim] = await tab.store.claim_runs("w2", ["job"], 1, Date.now() / 1000, "lease");
  await beats(tab, run, claim.run.generation, { current: 1, total: 9, message: null }, "w2");
  while (heard.length < 2) await settled();
  assert.deepEqual([...run.inFlight], []);
  assert.deepEqual([heard, run.progress.current], [[5, 1], 1]);
  run.close();
  await tab.close();
});

test("steps are in flight until their end, or that of the execution, is told", async () => {
  const { tab, run } = await executing("flight");
  run.addEventListener("step", () => {});
  await settled();
  const at = 2e9; // later than anything that is stored
  const tell = (type, data, after) => live(tab, run, type, data, at + after);
  const paths = () => [...run.inFlight.keys()].join();
  for (const [i, path] of ["a", "b", "c", "d", "e"].entries()) tell("step.started", { path }, i);
  tell("run.metadata", {}, 10);
  tell("run.progress", { current: 1 }, 10);
  tell("run.log", {}, 10);
  tell("step.blocked", { path: "a" }, 10);
  tell("run.swallowed_stop", {}, 10);
  assert.equal(paths(), "a,b,c,d,e");
  tell("step.completed", { path: "a" }, 10);
  tell("step.failed", { path: "b" }, 10);
  tell("step.failed", { path: "c", error: { type: "CancelledError" } }, 10);
  assert.equal(paths(), "d,e");
  tell("step.failed", { path: "d" }, 2); // of its try before
  tell("run.waiting", { waits: [] }, 3);
  assert.equal(paths(), "e"); // begun since
  tell("run.stale", { reason: "suspended" }, 20);
  assert.equal(paths(), "");
  run.close();
  await tab.close();
});
