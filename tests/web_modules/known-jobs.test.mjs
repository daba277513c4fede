/** What a page refuses to trigger: only what is wrong by what was told of the job files that there are now. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import { IndexedDBStore } from "../../web/indexeddb.mjs";
import { digest, digestOf } from "../../web/job-files.mjs";
import { KnownJobs } from "../../web/known-jobs.mjs";
import { InvalidPayload, UnknownJob } from "../../web/triggers.mjs";

const file = (text) => `data:text/x-python,${encodeURIComponent(text)}`;
const [BEFORE, NOW] = [file("old"), file("new")];
const manifest = (version) =>
  JSON.stringify({ old: { version, queue: "q", payload: { type: "object", properties: { pages: { type: "integer" } } } } });
const wanted = (job, payload = null) => ({ id: "r", now: 1000, job, payload });

let made = 0;

/** A page with this job file, in whose store a worker with that one has told of its jobs. */
async function known({ file, told, init = async () => ({ jobs: [file] }) }) {
  const store = new IndexedDBStore(`known-${made++}`);
  await store.open();
  await store.set_meta("manifest", manifest("1"));
  await store.set_meta("declared", await digestOf([told]));
  const jobs = new KnownJobs(store, { init });
  return { jobs, store };
}

test("a digest tells addresses and texts apart, and in which files", async () => {
  const files = [{ url: "a", text: "1" }, { url: "b", text: "2" }];
  const others = [
    [files[0]], [files[1], files[0]], [{ url: "a", text: "12" }, { url: "b", text: "" }], [{ url: "ab", text: "1" }, files[1]],
    [{ url: "a", text: "1é" }, files[1]], [{ url: "a", text: "1😀" }, files[1]], [],
  ];
  const digests = [files, ...others].map(digest);
  assert.equal(new Set(digests).size, digests.length);
  for (const one of digests) assert.match(one, /^[0-9a-f]{16}$/);
  assert.equal(await digestOf([BEFORE]), digest([{ url: BEFORE, text: "old" }]));
  assert.equal(await digestOf([BEFORE, "http://127.0.0.1:1/none.py"]), null);
});

test("by the same job files, an unknown job and a payload that doesn't fit are refused", async () => {
  const { jobs, store } = await known({ file: BEFORE, told: BEFORE });
  await assert.rejects(jobs.row(wanted("new")), UnknownJob);
  await assert.rejects(jobs.row(wanted("old", { pages: "x" })), InvalidPayload);
  const row = await jobs.row(wanted("old", { pages: 2 }));
  assert.deepEqual([row.version, row.queue], ["1", "q"]);
  await store.close();
});

test("a page whose job files are newer may trigger what nobody has told of yet", async () => {
  const { jobs, store } = await known({ file: NOW, told: BEFORE });
  for (const [one, queue] of [[wanted("new"), "default"], [wanted("old", { pages: "x" }), "q"]]) {
    const row = await jobs.row(one);
    assert.deepEqual([row.job, row.version, row.queue], [one.job, null, queue]);
  }
  assert.equal((await jobs.row(wanted("old", { pages: 2 }))).version, "1");
  await assert.rejects(jobs.row(wanted("", {})), { name: "InvalidOption" }); // which no job file changes
  await store.close();
});

test("once another tab has told, that counts", async () => {
  const { jobs, store } = await known({ file: NOW, told: BEFORE });
  await jobs.row(wanted("typo"));
  await store.set_meta("manifest", manifest("2"));
  await store.set_meta("declared", await digestOf([NOW]));
  await assert.rejects(jobs.row(wanted("typo")), UnknownJob);
  assert.equal((await jobs.row(wanted("old"))).version, "2");
  await store.close();
});

test("a tab with Python knows its jobs itself", async () => {
  const { jobs, store } = await known({ file: NOW, told: BEFORE });
  const executes = { mine: { version: "3", queue: "q", payload: {}, executes: true } };
  jobs.learn(JSON.stringify({ ...executes, other: { ...executes.mine, executes: false } }), await digestOf([NOW]));
  assert.deepEqual(jobs.names, ["mine"]);
  await assert.rejects(jobs.row(wanted("old")), UnknownJob);
  assert.equal((await jobs.row(wanted("mine"))).version, "3");
  assert.equal(await jobs.declared(), true);
  const later = new KnownJobs(store, { init: async () => ({ jobs: [NOW] }) });
  assert.equal(await later.declared(), true); // the next page
  await store.close();
});

test("where the job files can't be read, what was told counts", async () => {
  const inits = [
    async () => Promise.reject(new Error("no manifest")),
    async () => ({ jobs: null }),
    async () => ({ jobs: ["http://127.0.0.1:1/none.py"] }),
  ];
  for (const init of inits) {
    const { jobs, store } = await known({ told: BEFORE, init });
    await assert.rejects(jobs.row(wanted("new")), UnknownJob);
    await store.close();
  }
});

test("a change of a job file is to be declared anew, also at the same address", async () => {
  for (const [file, declared] of [[BEFORE, true], [NOW, false]]) {
    const { jobs, store } = await known({ file, told: BEFORE });
    assert.equal(await jobs.declared(), declared);
    await store.close();
  }
});

test("a file that was not there for a moment is asked for again", async () => {
  let urls = ["http://127.0.0.1:1/none.py"];
  const { jobs, store } = await known({ told: BEFORE, init: async () => ({ jobs: urls }) });
  assert.equal(await jobs.declared(), false);
  urls = [BEFORE];
  assert.equal(await jobs.declared(), true);
  await store.close();
});

test("a server that answers nothing keeps nobody waiting for ever", async (t) => {
  const { jobs, store } = await known({ told: BEFORE, init: () => new Promise(() => {}) });
  t.mock.method(AbortSignal, "timeout", (ms) => {
    const gone = new AbortController();
    setImmediate(() => gone.abort());
    assert.equal(ms, 10_000);
    return gone.signal;
  });
  assert.equal(await jobs.declared(), false);
  await assert.rejects(jobs.row(wanted("new")), UnknownJob);
  await store.close();
});

test("a store that is down for the moment declares nothing anew", async () => {
  const { jobs, store } = await known({ file: NOW, told: BEFORE });
  store.get_meta = () => Promise.reject(new Error("down"));
  assert.equal(await jobs.declared(), true);
  await store.close();
});
