/** What a tab does while its store fails. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import "./page.mjs";

const { StoreUnavailable, Tab } = await import("../../web/durable-lite.mjs");
const { checkOptions } = await import("../../web/tab-options.mjs");

const RETRY = 5000; // ms
const WORK = { claimable: true, due: null, leases: [] };
const NOTHING = { claimable: false, due: null, leases: [] };

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

const settled = () => new Promise((resolve) => setImmediate(resolve));

async function passes(milliseconds) {
  mock.timers.tick(milliseconds);
  await settled();
}

/** A tab whose store answers so, one after the other and the last for ever; null: it can't be read. */
function tab(...answers) {
  const made = new Tab(checkOptions({ store: "indexeddb:fails", keepAwake: false }));
  const seen = { looks: 0, boots: 0 };
  made.store.outlook = async () => {
    const answer = answers[Math.min(seen.looks++, answers.length - 1)];
    if (!answer) throw new StoreUnavailable("down");
    return answer;
  };
  made.host.boot = async () => void (seen.boots += 1);
  return Object.assign(made, { seen });
}

test("a store that can't be read is looked at again, and what it holds is executed", async () => {
  const one = tab(null, WORK);
  one.look();
  await settled();
  assert.deepEqual([one.seen, one.leads], [{ looks: 1, boots: 0 }, false]);
  await passes(RETRY);
  assert.equal(one.seen.looks, 1);
  await passes(1);
  assert(one.leads);
  assert(one.seen.boots);
});

test("again and again, for as long as it fails", async () => {
  const one = tab(null, null, null, NOTHING);
  one.look();
  await settled();
  for (const looks of [2, 3, 4, 4, 4]) {
    await passes(RETRY + 1);
    assert.equal(one.seen.looks, looks);
  }
});

test("whoever leads, leads on meanwhile", async () => {
  const one = tab(WORK, WORK, null, NOTHING);
  one.look();
  await settled();
  assert.deepEqual([one.leads, one.seen.looks], [true, 2]); // once more since it leads
  one.look();
  await settled();
  assert.deepEqual([one.leads, one.seen.looks], [true, 3]);
  await passes(RETRY + 1);
  assert.deepEqual([one.leads, one.seen.looks], [false, 4]);
});

test("what is told meanwhile is looked at at once, and needs no retry", async () => {
  const one = tab(null, NOTHING);
  one.look();
  await settled();
  one.look();
  await settled();
  assert.equal(one.seen.looks, 2);
  await passes(2 * RETRY);
  assert.equal(one.seen.looks, 2);
});
