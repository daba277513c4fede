/** A tab that is about to be frozen leaves no transaction open, and loses nothing by it. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import { IndexedDBStore } from "../../web/indexeddb.mjs";

const run = (id) => ({
  ...{ id, job: "job", version: null, queue: "default", priority: 0, payload: "{}" },
  ...{ created_at: 1000, ready_at: 1000 },
});

async function stores(name) {
  const found = [new IndexedDBStore(name), new IndexedDBStore(name)];
  for (const store of found) await store.open();
  return found;
}

const close = (...all) => Promise.all(all.map((store) => store.close()));

/** A transaction whose body stays in it until `leave` is called. */
function lingering(store, mode) {
  const seen = { times: 0, stay: true, entered: Promise.withResolvers() };
  seen.result = store.transact("runs", mode, async (t) => {
    seen.times += 1;
    do {
      await new Promise((resolve, reject) => {
        const request = t.objectStore("runs").count();
        request.onsuccess = resolve;
        request.onerror = () => reject(request.error);
      });
      seen.entered.resolve();
    } while (seen.stay);
    return "done";
  });
  return seen;
}

for (const mode of ["readonly", "readwrite"]) {
  test(`what is under way (${mode}) makes room for others, and is begun anew`, async () => {
    const [frozen, other] = await stores(`quiet-${mode}`);
    const lingers = lingering(frozen, mode);
    await lingers.entered.promise;
    frozen.quiet(true);
    frozen.quiet(true);
    lingers.stay = false;
    await other.create_runs([run("r")]); // would wait for ever
    assert.equal(lingers.times, 1);
    frozen.quiet(false);
    assert.equal(await lingers.result, "done");
    assert.equal(lingers.times, 2);
    await close(frozen, other);
  });
}

test("who listens looks again after it: a page in the back/forward cache isn't told what others commit", async () => {
  const [store] = await stores("quiet-told");
  const told = [];
  store.listen((changes) => told.push(...changes));
  store.quiet(false); // it was not
  store.quiet(true);
  assert.deepEqual(told, []);
  store.quiet(false);
  store.quiet(false);
  assert.deepEqual(told, [{ run_id: null, claimable: false }]);
  await close(store);
});

test("a verb that is interrupted happens once", async () => {
  const [store, other] = await stores("quiet-verb");
  const created = store.create_runs([run("a"), run("b")]);
  await other.leases();
  store.quiet(true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  store.quiet(false);
  assert.deepEqual((await created).map(({ disposition }) => disposition), ["created", "created"]);
  assert.deepEqual((await other.read_events("a", 0, 10)).map(({ type }) => type), ["run.triggered"]);
  await close(store, other);
});

test("what the verb itself refuses is refused as ever", async () => {
  const [store, other] = await stores("quiet-refused");
  const refused = assert.rejects(store.cancel_run("never there", 1000), { name: "RunNotFound" });
  store.quiet(true);
  store.quiet(false);
  await refused;
  await close(store, other);
});

test("what was waiting for the database when silence began, begins after it", async () => {
  const store = new IndexedDBStore("quiet-connecting");
  const opening = store.open();
  let begun = 0;
  const result = store.transact("runs", "readonly", async () => (begun += 1));
  store.quiet(true);
  await opening;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(begun, 0);
  store.quiet(false);
  assert.equal(await result, 1);
  await close(store);
});

test("a claim that silence has ended isn't begun anew: another tab may have the lock by then", async () => {
  const [store, other] = await stores("quiet-claim");
  await store.create_runs([run("r")]);
  const claim = (one) => one.claim_runs(one === store ? "a" : "b", ["job"], 1, 1000, "lock");
  const frozen = claim(store);
  await other.leases(); // until it is on its way
  store.quiet(true);
  store.quiet(false);
  assert.deepEqual(await frozen, []);
  assert.deepEqual((await claim(store)).map((one) => one.run.id), ["r"]);
  await close(store, other);
});
