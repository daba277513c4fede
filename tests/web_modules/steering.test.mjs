/** Lists with a search, live lists, replay, fork and the rest of a source, through the tab's own verbs. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";

import "./page.mjs";

const { Conflict, openTab, RunNotFound } = await import("../../web/durable-lite.mjs");

const NOW = Date.now() / 1000;
let stores = 0;

const opened = () => openTab({ store: `indexeddb:steering-${(stores += 1)}`, worker: false });

/** Many runs at once, the last one newest. */
async function filled(tab, count, row = () => ({})) {
  const plain = { version: null, queue: "default", priority: 0 };
  const rows = Array.from({ length: count }, (_, i) => ({
    ...{ ...plain, id: `run-${String(i).padStart(6, "0")}`, job: "job", created_at: NOW + i, ready_at: NOW + i, payload: "null" },
    ...row(i),
  }));
  await tab.store.create_runs(rows);
}

const ids = ({ runs }) => runs.map((run) => Number(run.id.slice(4)));

function step(run_id, path, seq, given = {}) {
  return {
    ...{ run_id, path, seq, kind: "step", state: seq === null ? "failed" : "completed", name: path, arguments: null },
    ...{ output: "1", error: null, failures: 0, attempt: 2, generation: 3, started_at: NOW, finished_at: NOW + 1 },
    ...{ wake_at: null, title: null, ref: null, ...given },
  };
}

/** A run that has these steps, as a fork would make it. */
async function stepped(tab, steps) {
  const { id } = await tab.trigger("job", { pages: 3 }, { tags: ["a", "b"], priority: 5, queue: "slow" });
  const row = await tab.store.get_run(id);
  const made = steps.map(([path, seq, given]) => step("run", path, seq, given));
  const { run } = await tab.store.fork_run({ ...row, id: "run", created_at: NOW, ready_at: NOW }, made);
  return tab.run(run.id);
}

test("pages follow one another by their cursors, and the last one has none", async () => {
  const tab = await opened();
  await filled(tab, 5);
  const first = await tab.listRuns({ limit: 2 });
  const second = await tab.listRuns({ limit: 2, cursor: first.cursor });
  const third = await tab.listRuns({ limit: 2, cursor: second.cursor });
  assert.deepEqual([first, second, third].map(ids), [[4, 3], [2, 1], [0]]);
  assert.deepEqual([first.searched, third.cursor], [null, null]);
  for (const cursor of ["x", "1:", ":a", "NaN:a", 3]) {
    await assert.rejects(tab.listRuns({ cursor }), { name: "InvalidOption", option: "cursor" });
  }
  await tab.close();
});

test("of several tags a run has all; moments and statuses narrow, too", async () => {
  const tab = await opened();
  await filled(tab, 6, (i) => ({ tags: JSON.stringify(["x", "y", "z"].slice(0, i % 4)) }));
  assert.deepEqual(ids(await tab.listRuns({ tag: "x" })), [5, 3, 2, 1]);
  assert.deepEqual(ids(await tab.listRuns({ tag: ["y", "x"] })), [3, 2]);
  assert.deepEqual(ids(await tab.listRuns({ tag: ["x", "nobody"] })), []);
  assert.deepEqual(ids({ runs: await tab.runs({ tag: ["x", "y", "z"] }) }), [3]);
  assert.deepEqual(ids(await tab.listRuns({ createdAfter: new Date((NOW + 1.5) * 1000), createdBefore: NOW + 3 })), [2]);
  await tab.cancel("run-000002");
  assert.deepEqual(ids(await tab.listRuns({ status: ["CANCELLED", "FAILED"], tag: ["x"] })), [2]);
  await tab.close();
});

test("a search looks into ids, tags and payloads, whatever the case", async () => {
  const tab = await opened();
  const payload = (i) => JSON.stringify({ who: i === 1 ? 'ÄÖ "quoted"' : "nobody" });
  await filled(tab, 4, (i) => ({ payload: payload(i), tags: i === 2 ? '["Urgent"]' : "[]" }));
  for (const [search, found] of [["000003", [3]], ["URG", [2]], ["äö", [1]], ['"QUOTED"', [1]], ["NoBody", [3, 2, 0]], ["-", [3, 2, 1, 0]], ["none", []]]) {
    const page = await tab.listRuns({ search });
    assert.deepEqual([ids(page), page.cursor, page.searched], [found, null, 4], search);
  }
  const page = await tab.listRuns({ search: "nobody", limit: 2 });
  assert.deepEqual([ids(page), page.searched], [[3, 2], 2]);
  assert.deepEqual(ids(await tab.listRuns({ search: "nobody", cursor: page.cursor })), [0]);
  await tab.close();
});

test("a search looks at 10,000, and goes on after them", async () => {
  const tab = await opened();
  // To store so many takes long.
  const rows = Array.from({ length: 10_001 }, (_, i) => ({
    ...{ id: `run-${String(i).padStart(6, "0")}`, created_at: NOW + i, tags: "[]" },
    payload: i === 0 ? '"needle"' : '"hay"',
  })).reverse();
  tab.store.list_runs = async ({ cursor, limit }) => {
    const from = cursor ? rows.findIndex(({ id }) => id < cursor[1]) : 0;
    return rows.slice(from, from + limit);
  };
  const page = await tab.listRuns({ search: "needle" });
  assert.deepEqual([ids(page), page.searched], [[], 10_000]);
  assert.deepEqual(ids(await tab.listRuns({ search: "needle", cursor: page.cursor })), [0]);
  await tab.close();
});

test("a live list tells the newest, and again when they have changed", async () => {
  const tab = await opened();
  await filled(tab, 3);
  const told = [];
  const next = Promise.withResolvers();
  const last = Promise.withResolvers();
  const end = tab.live({ status: "PENDING", limit: 2 }, (page) => {
    told.push(ids(page));
    (told.length === 1 ? next : last).resolve(undefined);
  });
  await next.promise;
  await tab.cancel("run-000002");
  await last.promise;
  assert.deepEqual(told, [[2, 1], [1, 0]]);
  end();
  await tab.cancel("run-000001");
  await new Promise((resolve) => setTimeout(resolve, 300)); // longer than between two looks
  assert.equal(told.length, 2);
  await tab.close();
});

test("a store that is down is told of, and then goes on", async () => {
  const tab = await opened();
  await filled(tab, 1);
  const list = tab.store.list_runs.bind(tab.store);
  let down = true;
  tab.store.list_runs = async (filter) => {
    if (down) throw new Error("down");
    return list(filter);
  };
  const told = [];
  const back = Promise.withResolvers();
  const end = tab.live({}, (one) => {
    told.push("error" in one ? one.error.message : ids(one));
    down = false;
    if (told.length === 2) back.resolve(undefined);
  });
  await back.promise;
  assert.deepEqual(told, ["down", [0]]);
  end();
  await tab.close();
});

test("a replay is a new run of the same, or with another payload", async () => {
  const tab = await opened();
  const { id } = await tab.trigger("job", { pages: 3 }, { tags: ["a"], priority: 5, queue: "slow", maxDuration: 60 });
  const again = await tab.replay(id);
  const other = await tab.replay(id, { pages: 4 });
  const { row } = again;
  assert.deepEqual([row.payload, row.tags, row.priority, row.queue, row.max_duration], ['{"pages":3}', '["a"]', 5, "slow", 60]);
  assert.deepEqual([JSON.parse(row.trigger), other.payload], [{ kind: "replay", of: id }, { pages: 4 }]);
  assert.equal(new Set([id, again.id, other.id]).size, 3);
  await assert.rejects(tab.replay("nobody"), RunNotFound);
  await tab.store.set_meta("manifest", JSON.stringify({ job: { version: "2", queue: "q", payload: { type: "integer" } } }));
  await assert.rejects(tab.replay(id, "text"), { name: "InvalidPayload" });
  assert.equal((await tab.replay(id, 3)).row.version, "2");
  assert.deepEqual(await tab.knownJobs(), [{ name: "job", version: "2", queue: "q" }]);
  await tab.close();
});

test("a fork has the checkpoints before a step, and not what it is in or what is in it", async () => {
  const tab = await opened();
  const run = await stepped(tab, [["a", 2], ["t", 3, { kind: "token" }], ["b/x", 4], ["b", 5], ["c", 6]]);
  const forked = await tab.fork(run.id, "b/x");
  assert.deepEqual((await forked.steps()).map(({ path, seq, attempt }) => [path, seq, attempt]), [["a", 2, 1]]);
  const { row } = forked;
  assert.deepEqual([JSON.parse(row.trigger), row.tags, row.payload], [
    { kind: "fork", of: run.id, step: "b/x" },
    '["a", "b"]',
    '{"pages":3}',
  ]);
  const later = await tab.fork(run.id, "c");
  assert.deepEqual((await later.steps()).map(({ path }) => path), ["a", "b/x", "b"]); // no token that nobody has kept
  await assert.rejects(tab.fork(run.id, "nobody"), { name: "InvalidOption", option: "fromStep" });
  await tab.close();
});

test("what a run has started are its children, each once", async () => {
  const tab = await opened();
  await filled(tab, 3);
  const refs = ["run-000002", "run-000000\nrun-000001\nrun-000002\nrun-gone"];
  const run = await stepped(tab, [["a", 2, { kind: "trigger", ref: refs[0] }], ["b", 3, { kind: "call", ref: refs[1] }], ["c", 4]]);
  assert.deepEqual(ids({ runs: await run.children() }), [2, 0, 1]);
  assert.deepEqual(await tab.run("run-000000").children(), []);
  const history = await run.history();
  assert.deepEqual(history.map(({ seq, type }) => [seq, type]), [[1, "run.triggered"], ...[2, 3, 4].map((seq) => [seq, "step.completed"])]);
  assert.equal(history[1].data.path, "a");
  await tab.close();
});

test("a run is deleted once it has ended", async () => {
  const tab = await opened();
  const { id } = await tab.trigger("job");
  await assert.rejects(tab.delete(id), Conflict);
  await tab.cancel(id);
  await tab.delete(id);
  await assert.rejects(tab.run(id).refresh(), RunNotFound);
  await tab.close();
});

test("schedules are listed, paused and resumed; one that isn't there is named", async () => {
  const tab = await opened();
  const schedule = { job: "job", name: "daily", spec: '{"every":60}', catch_up: "latest", next_at: 7, last_at: null, paused: 0 };
  await tab.store.set_schedules(["job"], [schedule]);
  await tab.pauseSchedule("job", "daily");
  assert.deepEqual(await tab.schedules(), [{ ...schedule, paused: 1 }]);
  await tab.resumeSchedule("job", "daily");
  assert.equal((await tab.schedules())[0].paused, 0);
  await assert.rejects(tab.pauseSchedule("job", "nightly"), { name: "InvalidOption", option: "schedule" });
  await tab.close();
});
