/** The newest steps of a run, as whoever shows it reads them. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { IndexedDBStore } from "../../web/indexeddb.mjs";
import { newRun } from "../../web/triggers.mjs";

const now = 1_000_000;
const COUNT = 30;
const store = new IndexedDBStore("latest");
let run;

const step = (path, seq, more = {}) => ({
  ...{ run_id: run.id, path, seq, name: "step", title: null, kind: "step", state: seq ? "completed" : "retrying" },
  ...{ attempt: 1, failures: 0, started_at: now + (seq ?? 0), finished_at: seq ? now + seq : null, wake_at: null },
  ...{ output: seq ? "1" : null, error: null, arguments: null },
  ...more,
});
const save = (row) => store.save_step(run.id, run.generation, row);

before(async () => {
  await store.open();
  for (const id of ["r0", "r1", "r2"]) {
    await store.create_runs([newRun({ id, now, job: "job", payload: null })]);
  }
  const claims = await store.claim_runs("w", ["job"], 3, now, "lease");
  run = claims.map((claim) => claim.run).find(({ id }) => id === "r1");
  await save(step("nap", null, { kind: "sleep", state: "waiting", wake_at: now + 99, started_at: now + 1 }));
  await save(step("wink", null, { kind: "sleep", state: "waiting", wake_at: now + 3, started_at: now + 2 }));
  await save(step("step-2", null)); // it was tried again, and then completed
  const last = step("last", null, { started_at: now + 1000 });
  for (let i = 0; i < COUNT; i++) {
    const seq = run.seq + 2 * i + 1;
    await save(step(`step-${i}`, seq));
    const failed = { seq: seq + 1, at: now, type: "step.failed", data: "{}" };
    await store.save_failure(run.id, run.generation, last, failed);
  }
});
after(() => store.close());

const paths = (found) => found.steps.map(({ path }) => path);

test("all of a short run", async () => {
  for (const limit of [COUNT, COUNT + 1, 1000]) {
    const found = await store.latest_steps(run.id, limit, 0, now + 50);
    assert.deepEqual(paths(found), (await store.load_steps(run.id)).map(({ path }) => path));
    assert.deepEqual([found.completed, found.kept], [COUNT, 0]);
  }
});

test("the newest of a long one, in order, and what isn't done yet", async () => {
  for (const limit of [1, 2, COUNT - 1]) {
    const found = await store.latest_steps(run.id, limit, 0, now + 50);
    const newest = Array.from({ length: limit }, (_, i) => `step-${COUNT - limit + i}`);
    assert.deepEqual(paths(found), [...newest, "nap", "last"]);
    assert.equal(found.completed, COUNT);
  }
});

test("how many are kept", async () => {
  const seq = run.seq + 2 * 10 + 1;
  for (const [until, kept] of [[seq, 10], [seq + 1, 11], [1e9, COUNT]]) {
    assert.equal((await store.latest_steps(run.id, 5, until, now)).kept, kept);
  }
});

test("none of a run without any", async () => {
  assert.deepEqual(await store.latest_steps("r2", 5, 7, now), { steps: [], completed: 0, kept: 0 });
});
