/** What a tab does while its store fails, and while another tab has the lock. */

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
  const made = new Tab(checkOptions({ store: "indexeddb:fails", keepAwake: false })).executor;
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
  assert.deepEqual([one.leads, one.seen.looks], [false, 5]); // once more when its worker claims nothing any more
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

const HEAD_START = 50; // ms

test("a tab without Python leaves what becomes due to those that have it, for a moment", async () => {
  const due = 1025; // seconds
  for (const [jobs, delay] of [[null, HEAD_START], [["job"], 0]]) {
    const one = waiting({ ...NOTHING, due });
    one.known.names = jobs;
    one.look();
    await settled();
    assert.equal(one.leads, false);
    one.at.now += 25_000 + delay;
    await passes(25_000 + delay);
    assert.equal(one.leads, false);
    await passes(1);
    assert.equal(one.leads, true);
    mock.restoreAll();
  }
});

test("nor does it look at what is triggered at once, unless its timers may be late", async () => {
  for (const [jobs, visibilityState, looks] of [[null, "visible", 0], [["job"], "visible", 1], [null, "hidden", 1]]) {
    const one = tab(WORK);
    one.known.names = jobs;
    document.visibilityState = visibilityState;
    one.changed([{ run_id: "r", claimable: true, step: false }]);
    await settled();
    assert.equal(one.seen.looks > 0, looks > 0);
    await passes(HEAD_START + 1);
    assert(one.leads);
  }
  document.visibilityState = "visible";
});

test("what is due and isn't taken up is looked at once in a heartbeat, not all the time", async () => {
  const one = tab({ claimable: false, due: Date.now() / 1000 - 60, leases: [] });
  one.look();
  await settled();
  for (const looks of [2, 2, 3, 3, 4]) { // twice at first: as it leads now
    assert.equal(one.seen.looks, looks);
    await passes(500 * one.options.heartbeatInterval + 1); // half of it
  }
  await one.close();
});

test("one that is closed while it looks takes no lock, and starts no Python", async () => {
  for (const slow of ["outlook", "declared"]) {
    const one = tab(WORK);
    const { promise, resolve } = Promise.withResolvers();
    if (slow === "outlook") one.store.outlook = () => promise;
    else {
      one.store.outlook = async () => NOTHING;
      one.declared = () => promise.then(() => false);
    }
    one.look();
    await settled();
    const closed = one.close();
    resolve(WORK);
    await closed;
    await settled();
    assert.deepEqual([one.leads, one.leader.wanted, one.seen.boots], [false, false, 0], slow);
  }
});

test("mere steps are nothing to look at", async () => {
  const one = tab(WORK);
  one.changed([{ run_id: "r", claimable: false, step: true }]);
  await passes(HEAD_START + 1);
  assert.equal(one.seen.looks, 0);
});

const STALE_AFTER = 30_000; // ms

/** A tab that waits for the lock; the time is `at.now`. */
function waiting(...answers) {
  const at = { now: 1_000_000 };
  mock.method(performance, "now", () => at.now);
  mock.method(Date, "now", () => at.now);
  const one = Object.assign(tab(...answers), { at });
  one.after = async (milliseconds) => {
    at.now += milliseconds;
    return one.stalled();
  };
  return one;
}
afterEach(() => mock.restoreAll());

const held = (heartbeat_at) => ({ ...WORK, leases: [{ run_id: "r", via: "lock", heartbeat_at }] });

test("a holder is stalled whose runs don't beat", async () => {
  const one = waiting(held(1000));
  assert.equal(await one.after(STALE_AFTER), false);
  assert.equal(await one.after(1), true);
});

test("and one that has taken up nothing of what waits", async () => {
  const one = waiting(WORK);
  assert.equal(await one.after(STALE_AFTER + 1), false); // first seen now
  assert.equal(await one.after(STALE_AFTER), false);
  assert.equal(await one.after(1), true);
});

test("but not one that meanwhile had a run, nor one that has nothing to do", async () => {
  const one = waiting(WORK, held(1025), WORK, NOTHING, WORK);
  assert.equal(await one.after(0), false);
  assert.equal(await one.after(STALE_AFTER), false);
  assert.equal(await one.after(STALE_AFTER), false); // its clock runs from here
  assert.equal(await one.after(STALE_AFTER + 1), false);
  assert.equal(await one.after(STALE_AFTER + 1), false);
});

test("nor does the time count that this page was frozen", async () => {
  const one = waiting(WORK);
  one.host.rest = one.leader.rest = one.look = () => {};
  assert.equal(await one.after(0), false);
  one.turn("frozen", { event: "freeze", away: 0 });
  one.at.now += 2 * STALE_AFTER;
  one.turn("visible", { event: "resume", away: 60 });
  assert.equal(await one.after(0), false);
  assert.equal(await one.after(STALE_AFTER + 1), true);
});

test("within the browser's own event the worker falls silent, the lock goes and the store is quiet", async () => {
  const one = tab(NOTHING);
  const told = [];
  one.host.rest = (on) => told.push(["worker", on]);
  one.leader.rest = (on) => told.push(["lock", on]);
  one.store.quiet = (on) => told.push(["store", on]);
  one.look = () => told.push(["look"]);
  one.host.post = ({ op }) => told.push([op]);
  const rest = [["worker", true], ["lock", true], ["store", true]];
  const wake = [["store", false], ["worker", false], ["lock", false]];
  for (const [state, expected] of [
    ["hidden", [["detour"], ["beat"], ...wake, ["look"]]],
    ["frozen", rest],
    ["visible", [["detour"], ...wake, ["look"]]],
    ["leaving", rest],
  ]) {
    told.length = 0;
    one.turn(state, { event: "any", away: 0 });
    assert.deepEqual(told, expected, state);
  }
});

test("a tab whose Python can't start leaves the work to another one, until it tries again", async () => {
  const one = tab(WORK);
  one.look();
  await settled();
  assert.equal(one.leads, true);
  one.host.fail("setup", "offline");
  await settled();
  assert.equal(one.leads, false);
  await passes(29_000);
  assert.equal(one.leads, false);
  await passes(1000);
  assert.equal(one.leads, true);
  await one.close();
});

test("a hidden page carries out what its worker asks, and has it beat once more", () => {
  const one = tab(NOTHING);
  one.look = () => {};
  const posted = [];
  one.host.post = ({ op, on }) => posted.push(on === undefined ? op : `${op} ${on}`);
  one.turn("hidden", { event: "visibilitychange", away: 0 });
  assert.deepEqual(posted, ["detour true", "beat", "rest false"]);
  posted.length = 0;
  one.turn("frozen", { event: "freeze", away: 0 });
  assert.deepEqual(posted, ["rest true"]); // it is as it was
  posted.length = 0;
  one.turn("visible", { event: "resume", away: 1 });
  assert.deepEqual(posted, ["detour false", "rest false"]);
});

test("of what was asked before a freeze no claim is carried out, unless this tab still leads", async () => {
  const one = tab(WORK);
  one.store.claim_runs = async () => ["a run"];
  assert.equal(await one.perform("claim_runs", "[]"), "[[]]");
  one.look();
  await settled();
  assert.equal(await one.perform("claim_runs", "[]"), '[["a run"]]');
});

/** A tab that leads, and now sees no more work; `leave` is its worker's answer. */
async function leaving(...answers) {
  const one = tab(WORK, WORK, ...answers);
  const leave = Promise.withResolvers();
  one.host.leave = () => leave.promise;
  one.posted = [];
  one.host.post = ({ op, on }) => one.posted.push([op, on]);
  one.look();
  await settled();
  one.look();
  await settled();
  one.posted.length = 0;
  return [one, leave.resolve];
}

test("before a tab lets go of the lock its worker claims no more, and what it has claimed is looked at", async () => {
  const [one, left] = await leaving(NOTHING);
  assert.deepEqual([one.leads, one.seen.looks], [true, 3]);
  left();
  await settled();
  assert.deepEqual([one.leads, one.seen.looks, one.posted], [false, 4, [["lead", false]]]);
});

test("a run that it claims between two looks keeps it at work: another tab would take it as a dead one's", async () => {
  const lease = { run_id: "r", via: "lease", heartbeat_at: Date.now() / 1000 };
  const [one, left] = await leaving(NOTHING, { ...NOTHING, leases: [lease] });
  left();
  await settled();
  assert.deepEqual([one.leads, one.posted], [true, [["lead", true]]]);
  await one.close();
});

test("a page that is frozen meanwhile lets go at once", async () => {
  const [one, left] = await leaving(NOTHING);
  one.turn("frozen", { event: "freeze", away: 0 });
  assert.equal(one.leads, false);
  left();
  await settled();
  one.turn("visible", { event: "resume", away: 1 });
  await settled();
  assert.equal(one.leads, false);
});

test("and asks its worker anew before it lets go of what it got after the thaw", async () => {
  const [one, left] = await leaving(NOTHING);
  let asked = 0;
  one.host.leave = async () => void (asked += 1);
  one.turn("frozen", { event: "freeze", away: 0 });
  one.turn("visible", { event: "resume", away: 1 });
  assert.equal(one.leads, true);
  left();
  await settled();
  assert.deepEqual([one.leads, asked], [false, 1]);
});

