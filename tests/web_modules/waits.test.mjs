/** What only IndexedDB can get wrong about tokens and children: order, indexes, and how much is read. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import { IndexedDBStore } from "../../web/indexeddb.mjs";

const NOW = 1000;

const run = (id, more = {}) => ({
  ...{ id, job: "job", version: null, queue: "default", priority: 0, payload: "{}" },
  ...{ created_at: NOW, ready_at: NOW, ...more },
});

const step = (path, seq = null, more = {}) => ({
  ...{ run_id: "r", path, seq, kind: "step", state: seq ? "completed" : "waiting", name: null, arguments: null },
  ...{ output: seq ? "1" : null, error: null, failures: 0, attempt: 1, generation: 1, started_at: NOW },
  ...{ finished_at: seq ? NOW : null, wake_at: seq ? null : NOW + 60, title: null, ref: null, ...more },
});

const token = (id, more = {}) => ({
  ...{ id, run_id: "r", path: id, kind: "token", state: "pending", created_at: NOW, deadline: NOW + 60 },
  ...{ finished_at: null, output: null, error: null, name: null, match: null, ...more },
});

const settlement = (status, more = {}) => ({
  ...{ status, at: NOW, attempt: 1, executed: 0, ready_at: null, output: null, error: null },
  ...{ type: "run.completed", data: "{}", progress: null, metadata: null, logs: [] },
  ...more,
});

/** A store with runs that are executing, as many as have ids. */
async function opened(name, ...ids) {
  const store = new IndexedDBStore(name);
  await store.open();
  await store.create_runs(ids.map((id) => run(id)));
  await store.claim_runs("w", ["job"], ids.length, NOW, "lease");
  return store;
}

/** How many rows are read of which object store while `act` runs. */
async function reads(act) {
  const seen = {};
  const { get } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.get = function (key) {
    seen[this.name] = (seen[this.name] ?? 0) + 1;
    return get.call(this, key);
  };
  try {
    await act();
  } finally {
    IDBObjectStore.prototype.get = get;
  }
  return seen;
}

const keys = (store, index) =>
  store.transact("runs", "readonly", async (t) => {
    const request = t.objectStore("runs").index(index).getAllKeys();
    return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
  });

test("writes of one run are applied in the order of their calls", async () => {
  const store = await opened("waits-order", "r");
  const failed = { seq: 7, at: NOW, type: "step.failed", data: "{}" };
  const order = [];
  const done = (name) => () => order.push(name);
  await Promise.all([
    store.save_step("r", 1, step("a", 3)).then(done("a")),
    store.save_step("r", 1, step("b", 4)).then(done("b")),
    store.create_children("r", 1, step("c", 5), [run("child", { parent_id: "r" })]).then(done("c")),
    store.save_step("r", 1, step("d", 6)).then(done("d")),
    store.save_failure("r", 1, step("e", null, { state: "failed", error: "{}" }), failed).then(done("e")),
  ]);
  assert.deepEqual(order, ["a", "b", "c", "d", "e"]);
  assert.equal((await store.load_steps("r"))[2].ref, "child");
  await store.close();
});

test("a wait's token comes after the steps that were given before", async () => {
  const store = await opened("waits-token-order", "r");
  const order = [];
  await Promise.all([
    store.save_step("r", 1, step("a", 3)).then(() => order.push("a")),
    store.save_step("r", 1, step("b", 4)).then(() => order.push("b")),
    store.create_token("r", 1, step("t"), token("t")).then(() => order.push("t")),
  ]);
  assert.deepEqual(order, ["a", "b", "t"]);
  await store.close();
});

test("children whose step can't be stored don't exist", async () => {
  const store = await opened("waits-atomic", "r");
  await store.save_step("r", 1, step("a", 3));
  const created = store.create_children("r", 1, step("b", 3), [run("child", { parent_id: "r", tags: '["x"]' })]);
  await assert.rejects(created, { name: "StoreError" });
  assert.equal(await store.get_run("child"), null);
  assert.deepEqual(await store.list_runs({ tags: ["x"] }), []);
  await store.close();
});

test("who ends without a parent that waits reads no other run", async () => {
  const store = await opened("waits-reads", "r", "s");
  await store.create_runs([
    run("awaited", { parent_id: "s", awaited: 1 }),
    run("started", { parent_id: "s" }),
  ]);
  await store.claim_runs("w", ["job"], 9, NOW, "lease");
  for (const [id, more] of [["r", 0], ["started", 0], ["awaited", 1]]) {
    const seen = await reads(() => store.settle(id, 1, settlement("COMPLETED")));
    assert.deepEqual(seen, { runs: 1 + more }, id);
  }
  await store.close();
});

test("only unfinished children are found by their parent", async () => {
  const store = await opened("waits-index", "r");
  await store.create_runs(["a", "b", "c"].map((id) => run(id, { parent_id: "r" })));
  assert.deepEqual(await keys(store, "children"), ["a", "b", "c"]);
  await store.cancel_run("b", NOW);
  assert.deepEqual(await keys(store, "children"), ["a", "c"]);
  await store.resume_run("b", NOW);
  assert.deepEqual(await keys(store, "children"), ["a", "b", "c"]);
  await store.cancel_run("r", NOW);
  assert.deepEqual(await keys(store, "children"), []);
  await store.close();
});

test("purge goes on behind what stays, however many finished at once", async () => {
  const store = await opened("waits-purge", "r", "s");
  const ids = Array.from({ length: 12 }, (_, n) => `c${n + 10}`);
  await store.create_runs(ids.map((id, n) => run(id, { parent_id: n % 3 ? "r" : "s", awaited: 1 })));
  await store.settle("s", 1, settlement("COMPLETED"));
  for (const id of ids) await store.cancel_run(id, NOW);
  assert.equal(await store.purge(NOW, 99), 0);
  assert.equal(await store.purge(NOW + 1, 0), 0);
  for (const gone of [2, 2, 1, 0]) assert.equal(await store.purge(NOW + 1, 2), gone); // four, and the run s
  const stay = ids.filter((_, n) => n % 3);
  assert.deepEqual((await store.list_runs({ statuses: ["CANCELLED"] })).map(({ id }) => id).sort(), stay);
  await store.settle("r", 1, settlement("COMPLETED"));
  assert.equal(await store.purge(NOW + 1, 99), stay.length + 1);
  await store.close();
});

test("a list of tokens by run and state", async () => {
  const store = await opened("waits-list", "r", "s");
  for (const [n, run_id] of ["r", "s", "r", "s", "r"].entries()) {
    const made = token(`t${n}`, { run_id, created_at: NOW + (n >> 1) });
    await store.create_token(run_id, 1, step(`t${n}`, null, { run_id }), made);
  }
  await store.finish_token("t2", "completed", "1", null, NOW);
  const ids = async (filter) => (await store.list_tokens(filter)).map(({ id }) => id);
  assert.deepEqual(await ids({}), ["t4", "t3", "t2", "t1", "t0"]);
  assert.deepEqual(await ids({ run_id: "r" }), ["t4", "t2", "t0"]);
  assert.deepEqual(await ids({ run_id: "r", state: "pending", limit: 2 }), ["t4", "t0"]);
  assert.deepEqual(await ids({ state: "pending", cursor: [NOW + 1, "t3"] }), ["t1", "t0"]);
  assert.deepEqual(await ids({ state: "completed" }), ["t2"]);
  assert.deepEqual(await ids({ limit: 0 }), []);
  await store.settle("r", 1, settlement("COMPLETED"));
  await store.delete_run("r");
  assert.deepEqual(await ids({}), ["t3", "t1"]);
  await store.close();
});

test("a token that nobody has made is named", async () => {
  const store = await opened("waits-unknown");
  await assert.rejects(store.finish_token("none", "completed", "1", null, NOW), { name: "TokenNotFound", id: "none" });
  await store.close();
});
