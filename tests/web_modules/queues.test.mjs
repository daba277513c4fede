/** What only IndexedDB can get wrong about queues and keys: indexes, and how much is read. And what a page says. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge } from "../../web/bridge.mjs";
import { IndexedDBStore } from "../../web/indexeddb.mjs";
import "./page.mjs";

const { Busy, Tab } = await import("../../web/durable-lite.mjs");
const { checkOptions } = await import("../../web/tab-options.mjs");

const NOW = 1000;

const run = (id, more = {}) => ({
  ...{ id, job: "job", version: null, queue: "q", priority: 0, payload: "{}" },
  ...{ created_at: NOW, ready_at: NOW, ...more },
});

const queue = (more = {}) => ({
  ...{ name: "q", concurrency: null, rate: null, period: null, key_scope: "run", paused: 0, ...more },
});

const settlement = (status, more = {}) => ({
  ...{ status, at: NOW, attempt: 1, executed: 0, ready_at: null, output: null, error: null },
  ...{ type: "run.completed", data: "{}", progress: null, metadata: null, logs: [] },
  ...more,
});

async function opened(name, ...queues) {
  const store = new IndexedDBStore(name);
  await store.open();
  await store.set_queues(queues, NOW);
  return store;
}

/** How often each object store and index is read while `act` runs. */
async function reads(act) {
  const seen = {};
  const kept = [];
  for (const { prototype } of [IDBObjectStore, IDBIndex]) {
    for (const name of ["get", "getKey", "getAll", "getAllKeys", "count", "openCursor", "openKeyCursor"]) {
      const before = prototype[name];
      kept.push(() => (prototype[name] = before));
      prototype[name] = function (...given) {
        const where = this.objectStore ? `${this.objectStore.name}.${this.name}` : this.name;
        seen[where] = (seen[where] ?? 0) + 1;
        return before.apply(this, given);
      };
    }
  }
  try {
    await act();
  } finally {
    for (const restore of kept) restore();
  }
  return seen;
}

const INDEXES = ["slot", "held", "line", "busy", "expiring", "debounce"];

/** How many runs each of the indexes holds that only some runs are for. */
const counts = (store) =>
  store.transact("runs", "readonly", async (t) => {
    const found = INDEXES.map((name) => t.objectStore("runs").index(name).count());
    return Promise.all(found.map((request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)))));
  });

const claim = async (store, now = NOW, limit = 99) =>
  (await store.claim_runs("w", ["job"], limit, now, "lease")).map(({ run: { id } }) => id);

test("a run that needs no places reads one queue when it is created, and none after", async () => {
  const store = await opened("queues-reads", queue({ name: "other", concurrency: 1 }));
  await store.create_runs([run("taken", { queue: "other" }), run("waits", { queue: "other" })]);
  const names = ["a", "b", "c", "d"];
  const made = await reads(() => store.create_runs(names.map((id, n) => run(id, { queue: n < 3 ? "q" : "r" }))));
  assert.deepEqual(made, { runs: 4, queues: 2 });
  assert.deepEqual(await claim(store), ["a", "b", "c", "d", "taken"]);
  const settled = { runs: 1, steps: 1, events: 1 }; // the last of each tells the seq of its own event
  assert.deepEqual(await reads(() => store.settle("a", 1, settlement("WAITING", { ready_at: NOW + 9 }))), settled);
  assert.deepEqual(await reads(() => store.settle("b", 1, settlement("COMPLETED"))), settled);
  const cancelled = await reads(() => store.cancel_run("c", NOW));
  assert.deepEqual(cancelled, { runs: 1, leases: 1, steps: 1, events: 1, "runs.children": 1 });
  await store.close();
});

test("a claim reads no more for a longer line, nor for more runs that have ended", async () => {
  const seen = [];
  for (const count of [3, 60]) {
    const store = await opened(`queues-claim-${count}`, queue({ concurrency: 1, rate: 2, period: 10 }));
    const ids = Array.from({ length: count }, (_, n) => `r${n + 100}`);
    await store.create_runs(ids.map((id) => run(id, { concurrency_key: `k ${id}`, expires_at: NOW + 60 })));
    for (const id of ids.slice(1)) await store.cancel_run(id, NOW);
    await store.create_runs(ids.map((id) => run(`s${id}`, { queue: "r", concurrency_key: "k" })));
    seen.push(await reads(() => store.claim_runs("w", ["job"], 1, NOW, "lease")));
    seen.push(await reads(() => store.settle("r100", 1, settlement("COMPLETED"))));
    await store.close();
  }
  assert.deepEqual(seen.slice(2), seen.slice(0, 2));
});

test("only those runs are found by queue, key or time that have a place, stand in line or may come too late", async () => {
  const store = await opened("queues-indexes", queue({ concurrency: 1 }));
  await store.create_runs([
    run("a", { concurrency_key: "k", expires_at: NOW + 5 }),
    run("b", { concurrency_key: "k", debounce_key: "d" }),
    run("c", { concurrency_key: "l", expires_at: NOW + 5 }),
    run("d", { queue: "default" }),
  ]);
  //                                         slot held line busy expiring debounce
  assert.deepEqual(await counts(store), [1, 2, 2, 3, 2, 1]);
  assert.deepEqual(await claim(store), ["a", "d"]);
  assert.deepEqual(await counts(store), [1, 2, 2, 3, 1, 1]);
  await store.settle("a", 1, settlement("COMPLETED"));
  assert.deepEqual(await counts(store), [1, 2, 1, 2, 1, 1]); // b has the key and c the slot, or the other way around
  assert.equal((await claim(store)).length, 1);
  for (const id of ["b", "c", "d"]) await store.cancel_run(id, NOW);
  assert.deepEqual(await counts(store), [0, 0, 0, 0, 0, 1]);
  await store.close();
});

test("a pause holds up all that haven't begun, however many, and lets them go on in order", async () => {
  const store = await opened("queues-pause");
  const ids = Array.from({ length: 40 }, (_, n) => `r${n + 10}`);
  await store.create_runs([run("x"), ...ids.map((id, n) => run(id, { priority: n % 3 })), run("y", { queue: "r" })]);
  assert.deepEqual(await claim(store, NOW, 1), ["r12"]);
  const told = [];
  store.listen((changes) => told.push(...changes));
  await store.pause_queue("q", true, NOW);
  assert.equal(told.filter(({ claimable }) => !claimable).length, 40);
  assert.deepEqual(await store.list_queues(), [{ queue: queue({ paused: 1 }), queued: 40, taken: 1 }]);
  assert.deepEqual(await claim(store), ["y"]);
  told.length = 0;
  await store.pause_queue("q", true, NOW);
  await store.set_queues([queue({ concurrency: 3 })], NOW);
  assert.deepEqual(told, []);
  await store.pause_queue("q", false, NOW);
  assert.deepEqual(told.map(({ run_id }) => run_id), ["r15", "r18"]);
  assert.deepEqual(await store.list_queues(), [{ queue: queue({ concurrency: 3 }), queued: 38, taken: 3 }]);
  await store.set_queues([queue()], NOW);
  assert.equal(new Set(told.map(({ run_id }) => run_id)).size, 40);
  assert.equal((await claim(store)).length, 40);
  assert.deepEqual(await counts(store), [0, 0, 0, 0, 0, 0]);
  await store.close();
});

test("a start counts until its period is over, however the sum is rounded", async () => {
  const store = await opened("queues-rate", queue({ rate: 1, period: 0.7 }));
  await store.create_runs(["a", "b"].map((id) => run(id, { created_at: 0, ready_at: 0 })));
  assert.deepEqual(await claim(store, 0.1), ["a"]);
  const due = await store.next_due();
  assert.ok(due === 0.1 + 0.7 && due - 0.7 < 0.1);
  assert.deepEqual(await claim(store, due - 1e-9), []);
  assert.deepEqual(await claim(store, due), ["b"]);
  await store.close();
});

test("names of queues and keys may begin with one another", async () => {
  const store = await opened("queues-names", ...["q", "q2", "p"].map((name) => queue({ name, concurrency: 1 })));
  const names = ["p", "p", "q", "q", "q2", "q2", "q2"];
  await store.create_runs(names.map((name, n) => run(`r${n}`, { queue: name })));
  const seen = (await store.list_queues()).map((state) => [state.queue.name, state.queued, state.taken]);
  assert.deepEqual(seen, [["p", 1, 1], ["q", 1, 1], ["q2", 2, 1]]);
  assert.deepEqual(await claim(store), ["r0", "r2", "r4"]);
  await store.close();
});

test("what is refused as busy leaves nothing of its batch, and says who has the key", async () => {
  const store = await opened("queues-busy");
  await store.create_runs([run("a", { concurrency_key: "k" })]);
  const batch = [run("b", { tags: '["t"]' }), run("c", { concurrency_key: "k", on_busy: "reject" })];
  await assert.rejects(store.create_runs(batch), { name: "Busy", key: "k", id: "a" });
  assert.deepEqual((await store.list_runs({})).map(({ id }) => id), ["a"]);
  assert.deepEqual(await store.list_runs({ tags: ["t"] }), []);
  const { promise, resolve } = Promise.withResolvers();
  await new Bridge(store, (_, answer) => resolve(answer), () => {}).ask(1, "create_runs", JSON.stringify([batch]));
  const message = "run a has the concurrency key k";
  assert.deepEqual(JSON.parse(await promise), { name: "Busy", message, id: "a", key: "k" });
  await store.close();
});

test("a child that gets a place while its siblings are cancelled gives it up again", async () => {
  const store = await opened("queues-cancel");
  await store.create_runs([run("p")]);
  await claim(store);
  const children = ["c1", "c2"].map((id) => run(id, { parent_id: "p", concurrency_key: "k" }));
  await store.create_runs([...children, run("other", { concurrency_key: "k" })]);
  await store.cancel_run("p", NOW);
  assert.equal((await store.get_run("other")).status, "PENDING");
  assert.deepEqual(await claim(store), ["other"]);
  await store.close();
});

test("a page triggers, pauses and looks", async () => {
  const tab = new Tab(checkOptions({ store: "indexeddb:queues-page", worker: false }));
  await tab.store.open();
  await tab.pauseQueue("default");
  const first = await tab.trigger("job", null, { concurrencyKey: ["k", 1] });
  assert.equal(first.status, "QUEUED");
  const [state] = await tab.queues();
  assert.deepEqual([state.queue.name, state.queue.paused, state.queued, state.taken], ["default", 1, 1, 0]);
  const again = tab.trigger("job", null, { concurrencyKey: ["k", 1], onBusy: "reject" });
  await assert.rejects(again, (error) => error instanceof Busy && error.id === first.id && error.key === '["k",1]');
  const same = await tab.trigger("job", null, { concurrencyKey: ["k", 1], onBusy: "skip" });
  assert.deepEqual([same.id, same.disposition], [first.id, "coalesced"]);
  await tab.resumeQueue("default");
  assert.equal((await first.refresh()).status, "PENDING");
  for (const name of ["", null, "a\nb"]) {
    await assert.rejects(tab.pauseQueue(name), { name: "InvalidOption", option: "queue" });
    await assert.rejects(tab.resumeQueue(name), { name: "InvalidOption", option: "queue" });
  }
  await tab.store.close();
});

test("of debounced triggers of a page there is one run, with the last payload", async () => {
  const tab = new Tab(checkOptions({ store: "indexeddb:queues-debounce", worker: false }));
  await tab.store.open();
  const options = { debounceKey: "d", debounceDelay: "1m", ttl: "5m" };
  const runs = [];
  for (const n of [1, 2, 3]) runs.push(await tab.trigger("job", n, options));
  assert.deepEqual(runs.map(({ disposition }) => disposition), ["created", "coalesced", "coalesced"]);
  assert.equal(new Set(runs.map(({ id }) => id)).size, 1);
  const { payload, row } = await runs[0].refresh();
  assert.deepEqual([payload, row.expires_at], [3, row.ready_at + 300]);
  const outlook = await tab.store.outlook(null);
  assert.deepEqual([outlook.claimable, outlook.due], [false, row.ready_at]);
  await tab.store.close();
});
