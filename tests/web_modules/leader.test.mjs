/** Which tab executes: the lock is asked for, held, let go and stolen as it must be. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Leader } from "../../web/leader.mjs";
import { Locks } from "./locks.mjs";

let locks, patience;

beforeEach(() => {
  locks = new Locks();
  patience = []; // what ends each request's patience
  mock.method(AbortSignal, "timeout", (milliseconds) => {
    assert.equal(milliseconds, 1000);
    const controller = new AbortController();
    patience.push(() => controller.abort(new DOMException("The time is up", "TimeoutError")));
    return controller.signal;
  });
});
afterEach(() => mock.restoreAll());

const settled = () => new Promise((resolve) => setImmediate(resolve));

async function timeUp() {
  for (const end of patience.splice(0)) end();
  await settled();
}

/** A tab's leader; `told` is what it said. */
function tab(options = {}) {
  const told = [];
  const leader = new Leader({
    ...{ name: "lock", locks, stalled: async () => false, onchange: (leads) => told.push(leads) },
    ...options,
  });
  return Object.assign(leader, { told });
}

async function leading(options) {
  const leader = tab(options);
  leader.want(true);
  await settled();
  assert(leader.leads);
  return leader;
}

test("it leads while it is wanted", async () => {
  const one = tab();
  assert.equal(locks.requests, 0);
  one.want(true);
  assert.deepEqual(one.told, []);
  await settled();
  assert.deepEqual(one.told, [true]);
  one.want(true);
  await settled();
  assert.deepEqual([one.told, locks.requests], [[true], 1]);
  one.want(false);
  assert.deepEqual(one.told, [true, false]);
  await settled();
  assert.deepEqual(locks.query("lock"), { held: false, waiting: 0 });
  one.want(true);
  await settled();
  assert.deepEqual(one.told, [true, false, true]);
});

test("the next one leads when the first lets go", async () => {
  const [one, two] = [await leading(), tab()];
  two.want(true);
  await settled();
  assert.deepEqual(two.told, []);
  one.want(false);
  await settled();
  assert.deepEqual([one.told, two.told], [[true, false], [true]]);
});

test("a page that rests lets go before `rest` returns, and doesn't ask", async () => {
  const one = await leading();
  one.rest(true);
  assert.deepEqual(one.told, [true, false]);
  await settled();
  one.want(true);
  one.rest(true);
  await settled();
  assert.deepEqual([locks.query("lock").held, locks.requests], [false, 1]);
  one.rest(false);
  await settled();
  assert.deepEqual(one.told, [true, false, true]);
});

test("a page that rests leaves the queue: it would hold what it can't let go of", async () => {
  const [one, two, three] = [await leading(), tab(), tab()];
  two.want(true);
  await settled();
  assert.equal(locks.query("lock").waiting, 1);
  two.rest(true);
  assert.equal(locks.query("lock").waiting, 0);
  three.want(true);
  one.want(false);
  await settled();
  assert.deepEqual([two.told, three.told], [[], [true]]);
  two.rest(false);
  await settled();
  assert.equal(locks.query("lock").waiting, 1);
  three.want(false);
  await settled();
  assert.deepEqual(two.told, [true]);
});

test("a lock that comes when it isn't wanted any more is let go at once", async () => {
  const two = tab();
  two.want(true);
  const { callback } = locks.at("lock").queue[0];
  two.want(false);
  assert.equal(await callback(), undefined);
  await settled();
  assert.deepEqual([two.told, locks.query("lock")], [[], { held: false, waiting: 0 }]);
});

test("one request at a time, however often the wish changes", async () => {
  const [one, two] = [await leading(), tab()];
  for (let i = 0; i < 5; i++) {
    two.want(true);
    two.want(false);
    two.rest(true);
    two.want(true);
    two.rest(false);
  }
  await settled();
  assert.equal(locks.query("lock").waiting, 1);
  for (let i = 0; i < 3; i++) await timeUp();
  assert.equal(locks.query("lock").waiting, 1);
  one.want(false);
  await settled();
  assert.deepEqual(two.told, [true]);
  two.want(false);
  await settled();
  assert.deepEqual(locks.query("lock"), { held: false, waiting: 0 });
});

test("let go and wanted again at once", async () => {
  const one = await leading();
  one.want(false);
  one.want(true);
  await settled();
  assert.deepEqual(one.told, [true, false, true]);
  assert.deepEqual(locks.query("lock"), { held: true, waiting: 0 });
});

test("who waits asks anew when time is up: some requests are never answered", async () => {
  const [one, two] = [await leading(), tab()];
  two.want(true);
  await settled();
  assert.equal(locks.requests, 2);
  const [forgotten] = locks.at("lock").queue;
  await timeUp();
  assert.equal(locks.requests, 3);
  assert(!locks.at("lock").queue.includes(forgotten));
  assert.deepEqual([one.told, two.told], [[true], []]);
});

test("it isn't stolen while the holder's runs beat, and is when they don't", async () => {
  let stalled = false;
  const [one, two] = [await leading(), tab({ stalled: async () => stalled })];
  two.want(true);
  await settled();
  await timeUp();
  assert.deepEqual([one.told, two.told], [[true], []]);
  stalled = true;
  await timeUp();
  assert.deepEqual([one.told, two.told], [[true, false], [true]]);
});

test("who was stolen from asks again, in the queue", async () => {
  const [one, two] = [await leading({ stalled: async () => false }), tab({ stalled: async () => true })];
  two.want(true);
  await settled();
  await timeUp();
  assert.deepEqual([one.told, two.told], [[true, false], [true]]);
  assert.deepEqual(locks.query("lock"), { held: true, waiting: 1 });
  two.want(false);
  await settled();
  assert.deepEqual([one.told, two.told], [[true, false, true], [true, false]]);
});

test("who was stolen from and isn't wanted any more doesn't ask", async () => {
  const [one, two] = [await leading(), tab({ stalled: async () => true })];
  two.want(true);
  await settled();
  one.want(false); // in the very moment
  await timeUp();
  assert.deepEqual([one.told, two.told], [[true, false], [true]]);
  assert.deepEqual(locks.query("lock"), { held: true, waiting: 0 });
});

test("nothing is stolen by a page that rests meanwhile", async () => {
  const asked = Promise.withResolvers();
  const [one, two] = [await leading(), tab({ stalled: () => asked.promise })];
  two.want(true);
  await settled();
  await timeUp();
  two.rest(true);
  asked.resolve(true);
  await settled();
  assert.deepEqual([one.told, two.told, locks.query("lock").waiting], [[true], [], 0]);
});

test("a store that can't be asked is no reason to steal", async () => {
  const [one, two] = [await leading(), tab({ stalled: () => Promise.reject(new Error("down")) })];
  two.want(true);
  await settled();
  await timeUp();
  assert.deepEqual([one.told, two.told, locks.query("lock").waiting], [[true], [], 1]);
});

test("without locks everybody leads who is wanted", () => {
  const [one, two] = [tab({ locks: null }), tab({ locks: null })];
  one.want(true);
  two.want(true);
  one.rest(true);
  assert.deepEqual([one.told, two.told], [[true, false], [true]]);
  one.rest(false);
  one.want(false);
  assert.deepEqual(one.told, [true, false, true, false]);
});
