/** openTab's options: each wrong one is refused by its name. */

import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = /** @type {any} */ ({ baseURI: "https://example.org/app/" });
const { checkOptions } = await import("../../web/tab-options.mjs");

const store = "indexeddb:my-app";

test("what is not said has its default", () => {
  const checked = checkOptions({ store });
  assert.equal(checked.store, "my-app");
  assert.deepEqual([checked.durability, checked.heartbeatInterval, checked.staleAfter], ["strict", 5, 30]);
  assert.deepEqual([checked.keepAwake, checked.worker, checked.jobs, checked.files], [true, true, null, null]);
  assert.deepEqual(checked.python, {
    ...{ heartbeat_interval: 5, stale_after: 30, concurrency: 10, environment: null },
  });
});

test("addresses are the page's", () => {
  const checked = checkOptions({ store, jobs: ["jobs.py", new URL("https://cdn.example/b.py")], pyodide: "/py" });
  assert.deepEqual(checked.jobs, ["https://example.org/app/jobs.py", "https://cdn.example/b.py"]);
  assert.equal(checked.pyodide, "https://example.org/py/");
});

test("a store's name may hold colons", () => {
  assert.equal(checkOptions({ store: "indexeddb:a:b" }).store, "a:b");
});

for (const [option, given] of Object.entries({
  store: { store: "sqlite:a.db" },
  durability: { durability: "safe" },
  concurrency: { concurrency: 0 },
  heartbeatInterval: { heartbeatInterval: "often" },
  staleAfter: { heartbeatInterval: "5s", staleAfter: "9s" },
  keepAwake: { keepAwake: "yes" },
  worker: { worker: 1 },
  jobs: { jobs: "http://[" },
  files: { files: "files" },
  keepAlive: { keepAlive: true },
})) {
  test(`a wrong ${option} is named`, () => {
    assert.throws(() => checkOptions(/** @type {any} */ ({ store, ...given })), { name: "InvalidOption", option });
  });
}

test("files need the lock", () => {
  assert.throws(() => checkOptions({ store, files: "/files", keepAwake: false }), { option: "files" });
});
