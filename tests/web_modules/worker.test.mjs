/** The worker with a Python that does nothing: what the page said too early is not lost, nor is it late. */

import assert from "node:assert/strict";
import { test } from "node:test";

const told = [];
const calls = [];
let started = Promise.withResolvers();

globalThis.self = globalThis;
globalThis.postMessage = (message) => told.push(message);
globalThis.tabs = {
  async start(given, post, save) {
    calls.push(["start", JSON.parse(given).store, save]);
    return {
      start: () => started.promise,
      lead: (on) => calls.push(["lead", on]),
      beat: () => calls.push(["beat"]),
      stop: async () => calls.push(["stop"]),
    };
  },
};
const PYODIDE = `
  export const version = "1";
  const registerJsModule = (name, module) => (globalThis[name] = module);
  export const loadPyodide = async () => ({ registerJsModule, pyimport: () => globalThis.tabs });
  //`;
const INIT = {
  ...{ op: "init", pyodide: `data:text/javascript,${encodeURIComponent(PYODIDE)}`, version: "1", wheels: [], jobs: [] },
  ...{ bytes: 0, sizes: {}, library: null, micropip: false, packages: [], store: "s", files: null, options: {} },
};

await import("../../web/worker.mjs");
const say = (data) => self.onmessage({ data });
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("orders wait until Python is there, and keep their order", async () => {
  say({ op: "lead", on: true });
  const starting = say({ ...INIT, leads: true });
  say({ op: "beat" });
  await settled();
  say({ op: "lead", on: false });
  started.resolve("{}");
  await starting;
  await settled();
  assert.deepEqual(calls, [
    ["start", "s", undefined], // Python's None, which null would not be
    ...[["beat"], ["lead", false]], // it was never told that it leads
  ]);
  assert.deepEqual(told.map(({ op, stage, manifest }) => [op, stage ?? manifest]), [
    ...[["stage", "download"], ["stage", "jobs"], ["ready", "{}"]],
  ]);
  calls.length = 0;
  say({ op: "beat" });
  say({ op: "lead", on: true });
  await settled();
  say({ op: "stop" });
  await settled();
  assert.deepEqual(calls, [["beat"], ["lead", true], ["stop"]]);
  assert.equal(told.at(-1).op, "stopped");
  calls.length = 0;
});

test("Python's store rests with the page at once, without Python, which may not get so far", async () => {
  const { connect } = globalThis.durable_lite_indexeddb;
  const { store } = connect("rests", "relaxed", () => {}, () => {});
  assert.equal(store.database.silence, null);
  say({ op: "rest", on: true });
  assert.notEqual(store.database.silence, null);
  say({ op: "rest", on: false });
  assert.equal(store.database.silence, null);
  say({ op: "rest", on: true });
  const later = connect("rests", "relaxed", () => {}, () => {}).store; // opened by a Python that is just starting
  assert.notEqual(later.database.silence, null);
  say({ op: "rest", on: false });
  assert.equal(later.database.silence, null);
  assert.deepEqual(calls, []);
});

test("a hidden page carries out what Python asks of its store, whenever that was opened", async () => {
  const { connect } = globalThis.durable_lite_indexeddb;
  const answers = [];
  const answer = (number, text) => answers.push([number, text]);
  for (const hide of ["before", "after"]) {
    told.length = answers.length = 0;
    if (hide === "before") await say({ op: "detour", on: true, turn: 1 });
    const bridge = connect("detour", "relaxed", answer, () => {});
    if (hide === "after") await say({ op: "detour", on: true, turn: 1 });
    assert.deepEqual(told, [{ op: "detoured", turn: 1 }]);
    bridge.ask(7, "get_run", '["r"]');
    await settled();
    const [, { number, ...asked }] = told;
    assert.deepEqual(asked, { op: "ask", verb: "get_run", given: '["r"]' });
    say({ op: "answer", number, answer: "[null]" });
    say({ op: "answer", number, answer: "[null]" });
    await settled();
    assert.deepEqual(answers, [[7, "[null]"]]);
    await say({ op: "detour", on: false, turn: 2 });
    bridge.ask(8, "get_run", '["r"]'); // of a store that isn't open
    await settled();
    assert.deepEqual([answers[1][0], JSON.parse(answers[1][1]).name], [8, "StoreError"]);
    assert.deepEqual(told.at(-1), { op: "detoured", turn: 2 });
  }
});

test("the page is told so only when nothing is under way here any more", async () => {
  const bridge = globalThis.durable_lite_indexeddb.connect("drained", "relaxed", () => {}, () => {});
  const read = Promise.withResolvers();
  bridge.store.get_run = () => read.promise;
  bridge.ask(1, "get_run", '["r"]');
  told.length = 0;
  const hidden = say({ op: "detour", on: true, turn: 1 });
  await settled();
  assert.deepEqual(told, []);
  read.resolve(null);
  await hidden;
  assert.deepEqual(told, [{ op: "detoured", turn: 1 }]);
  await say({ op: "detour", on: false, turn: 2 });
});

test("one that is to leave claims no more, and says so when all it has claimed is stored", async () => {
  const bridge = globalThis.durable_lite_indexeddb.connect("leaves", "relaxed", () => {}, () => {});
  const claimed = Promise.withResolvers();
  bridge.store.claim_runs = () => claimed.promise;
  bridge.ask(1, "claim_runs", "[]");
  told.length = calls.length = 0;
  const left = say({ op: "leave" });
  await settled();
  assert.deepEqual([calls, told], [[["lead", false]], []]);
  claimed.resolve([]);
  await left;
  assert.deepEqual(told, [{ op: "left" }]);
});
