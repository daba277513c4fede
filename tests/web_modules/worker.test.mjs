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
  assert.equal(store.silence, null);
  say({ op: "rest", on: true });
  assert.notEqual(store.silence, null);
  say({ op: "rest", on: false });
  assert.equal(store.silence, null);
  say({ op: "rest", on: true });
  const later = connect("rests", "relaxed", () => {}, () => {}).store; // opened by a Python that is just starting
  assert.notEqual(later.silence, null);
  say({ op: "rest", on: false });
  assert.equal(later.silence, null);
  assert.deepEqual(calls, []);
});
