/** What Python asks of its store while somebody else carries it out, and in which order. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge } from "../../web/bridge.mjs";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A bridge to a store whose verbs end when the test says so, and what became of each ask. */
function bridged() {
  const answers = [];
  const pending = {};
  const store = {
    listen: () => () => {},
    open: async () => "opened",
    save: (what) => new Promise((resolve) => (pending[what] = () => resolve(`here: ${what}`))),
  };
  const bridge = new Bridge(store, (number, answer) => answers.push([number, ...JSON.parse(answer)]), () => {});
  const ask = (number, verb, ...given) => void bridge.ask(number, verb, JSON.stringify(given));
  return { bridge, answers, pending, ask };
}

const there = (pending) => (verb, given) =>
  new Promise((resolve) => (pending[JSON.parse(given)[0]] = () => resolve(JSON.stringify([`there: ${verb} ${given}`]))));

test("what is asked after a detour has begun waits for what was asked before it; and back", async () => {
  const { bridge, answers, pending, ask } = bridged();
  ask(1, "save", "a");
  await settled();
  let begun = false;
  bridge.detour(there(pending)).then(() => (begun = true));
  ask(2, "save", "b");
  await settled();
  assert.deepEqual([Object.keys(pending), begun], [["a"], false]);
  pending.a();
  await settled();
  assert.deepEqual([Object.keys(pending), begun], [["a", "b"], true]);
  bridge.detour(null);
  ask(3, "save", "c");
  await settled();
  assert.deepEqual(Object.keys(pending), ["a", "b"]);
  pending.b();
  await settled();
  pending.c();
  await settled();
  assert.deepEqual(answers, [[1, "here: a"], [2, 'there: save ["b"]'], [3, "here: c"]]);
});

test("what was asked at once with the order goes the old way, and is waited for", async () => {
  const { bridge, answers, pending, ask } = bridged();
  ask(1, "save", "a");
  bridge.detour(there(pending));
  bridge.detour(null);
  bridge.detour(there(pending));
  let done = false;
  bridge.settled().then(() => (done = true));
  await settled();
  assert.equal(done, false);
  pending.a();
  await settled();
  assert.deepEqual([answers, done], [[[1, "here: a"]], true]);
});

test("a store is opened by itself", async () => {
  const { bridge, answers, pending, ask } = bridged();
  await bridge.detour(there(pending));
  ask(1, "open");
  await settled();
  assert.deepEqual(answers, [[1, "opened"]]);
});

test("one that is closed answers no more", async () => {
  const { bridge, answers, pending, ask } = bridged();
  ask(1, "save", "a");
  await settled();
  bridge.close();
  pending.a();
  await settled();
  assert.deepEqual(answers, []);
});
