/** Everything that a page can ask of a server, asked of a real one. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { decode, openRemote, RunFailed, Unauthorized } from "../../web/remote.mjs";
import { folder, heard, Server, shown } from "./server.mjs";

const server = new Server({ token: "right" });
let remote;
before(async () => {
  await server.start();
  remote = await openRemote(`${server.url}/`, { token: "right" });
});
after(async () => {
  await remote.close();
  await server.stop("SIGKILL");
});

/** The row of a store, whatever it says. */
const ROW = [
  ...["id", "job", "version", "status", "queue", "priority", "created_at", "ready_at", "claimable", "started_at", "finished_at"],
  ...["payload", "output", "error", "attempt", "first_attempt", "recoveries", "recovery_seq", "generation", "worker", "seq"],
  ...["executed", "last_seen_at", "stale_reason", "max_duration", "deadline", "trigger", "environment", "tags", "progress"],
  ...["metadata", "idempotency_key", "idempotency_expires_at", "key_live", "parent_id", "awaited", "remaining", "interrupted"],
  ...["concurrency_key", "gated", "slot", "key_held", "blocked", "expires_at", "debounce_key", "debounce_until"],
];

const settled = async (run) => {
  await run.result().catch((error) => assert(error instanceof RunFailed, error));
  return run;
};
const ids = (runs) => runs.map((run) => run.id);

test("a run is triggered, followed and has a result", async () => {
  // Not at once: what it logs is told to those who listen, and kept for nobody else.
  const options = { tags: ["b", "a"], priority: 3, delay: "500ms" };
  const run = await remote.trigger("sum_of_squares", { count: 5, pause: "20ms" }, options);
  assert.deepEqual([run.status, run.disposition, run.job], ["PENDING", "created", "sum_of_squares"]);
  const told = { status: [], progress: [], step: [], log: [], event: [] };
  for (const type of Object.keys(told)) run.addEventListener(type, ({ detail }) => told[type].push(detail));
  assert.equal(await run.result(), 30);
  assert.deepEqual(Object.keys(run.row).sort(), ROW.toSorted());
  assert.deepEqual([run.row.tags, run.row.priority, run.output, run.error], ['["a","b"]', 3, 30, null]);
  assert.equal(told.status.at(-1), "COMPLETED");
  assert.deepEqual(told.progress.at(-1), { current: 5, total: 5, message: "squaring" });
  const numbers = told.progress.map(({ current }) => current);
  assert.deepEqual(numbers, [...new Set(numbers)].sort()); // none twice, none backwards
  assert(told.log.some(({ message }) => message === "squared"));
  assert(told.step.some(({ type }) => type === "step.completed"));
  const stored = told.event.map(({ seq }) => seq).filter((seq) => seq !== null);
  const history = await run.history();
  assert.deepEqual(stored, history.map(({ seq }) => seq));
  assert.deepEqual(stored, stored.map((_, i) => i + 1));
  assert.deepEqual([history[0].type, history.at(-1).type], ["run.triggered", "run.completed"]);
  assert.deepEqual(history.at(0).data, told.event.find(({ seq }) => seq === 1).data);
  run.close();
});

test("steps and log lines are rows of a store", async () => {
  const run = await settled(await remote.trigger("sum_of_squares", { count: 2 }));
  const steps = await run.steps();
  assert.deepEqual(steps.map(({ path, kind, state, output, run_id }) => [path, kind, state, output, run_id]), [
    ["square-0", "step", "completed", "0", run.id],
    ["square-1", "step", "completed", "1", run.id],
  ]);
  const logs = (await run.logs()).filter(({ message }) => message === "squared");
  assert.deepEqual(logs.map(({ fields, level, run_id }) => [JSON.parse(fields), level, run_id]), [
    [{ number: 0 }, "info", run.id],
    [{ number: 1 }, "info", run.id],
  ]);
  const empty = await settled(await remote.trigger("nothing"));
  assert.deepEqual([(await empty.steps())[0].output, empty.row.output, empty.output], ["null", "null", null]);
});

test("values that JSON hasn't pass in both directions", async () => {
  const payload = {
    ...{ when: new Date("2026-03-01T12:30:00.250Z"), bytes: new Uint8Array([0, 255]), set: new Set([1, 2]) },
    ...{ map: new Map([[1, "one"]]), large: 2n ** 60n + 1n, huge: 2n ** 3000n, nan: NaN, float: 1e300, whole: 1e16, $: { $: 1 }, text: "\ud800 é\u2028" },
  };
  const run = await remote.trigger("echo", payload);
  assert.deepEqual(await run.result(), payload);
  const looked = await remote.run(run.id).refresh();
  assert.deepEqual(looked.payload, payload);
  assert.deepEqual(decode(looked.row.payload), payload);
  const [listed] = await remote.runs({ job: "echo" });
  assert.deepEqual([listed.payload, listed.output], [payload, payload]);
  const shapes = await (await remote.trigger("shapes")).result();
  assert.deepEqual(shapes, {
    ...{ when: new Date("2026-03-01T12:30:00Z"), bytes: new Uint8Array([0, 255]), set: new Set([1, 2]), $: "its own" },
    ...{ large: 2n ** 70n + 1n, inf: Infinity, cost: "9.90", pair: [1, "two"] },
  });
});

test("a key finds the run that it has made, and all options are taken", async () => {
  const options = {
    ...{ idempotencyKey: ["a", 1, 1e16, true, null, 2n ** 60n + 1n], idempotencyTtl: "1h", delay: "1h", priority: -1 },
    ...{ deadline: new Date(Date.now() + 7_200_000), queue: "other", maxDuration: 60, tags: new Set(["x"]), ttl: "2h" },
    ...{ concurrencyKey: "one", onBusy: "reject", debounceKey: null, scope: "global" },
  };
  const first = await remote.trigger("echo", 1, options);
  const second = await remote.trigger("echo", 1, options);
  assert.deepEqual([first.disposition, second.disposition, second.id], ["created", "idempotent", first.id]);
  assert.equal(first.row.idempotency_key, '["global",["a",1,1e+16,true,null,1152921504606846977]]');
  assert.deepEqual([first.row.queue, first.row.max_duration, first.row.concurrency_key], ["other", 60, '"one"']);
  assert.equal(first.row.deadline, options.deadline.getTime() / 1000);
  await assert.rejects(remote.trigger("echo", 2, { concurrencyKey: "one", onBusy: "reject" }), { name: "Busy", id: first.id });
  const debounce = { debounceKey: "d", debounceDelay: "1h", debounceMode: "trailing", debounceMax: "2h" };
  const [one, two] = [await remote.trigger("echo", 1, debounce), await remote.trigger("echo", 2, debounce)];
  assert.deepEqual([two.id, two.disposition, two.payload], [one.id, "coalesced", 2]);
});

test("lists have filters, tags, moments, cursors and a search", async () => {
  const tag = "listed";
  const made = [];
  for (let n = 0; n < 5; n += 1) made.push(await settled(await remote.trigger("echo", { n, needle: `Nadel ${n}` }, { tags: [tag, `n${n}`] })));
  const newest = ids(made).reverse();
  assert.deepEqual(ids(await remote.runs({ tag })), newest);
  assert.deepEqual(ids(await remote.runs({ tag: [tag, "n3"] })), [made[3].id]);
  assert.deepEqual(ids(await remote.runs({ tag, status: ["COMPLETED", "FAILED"], limit: 2 })), newest.slice(0, 2));
  assert.deepEqual(await remote.runs({ tag, status: "FAILED" }), []);
  assert.deepEqual(await remote.listRuns({ status: [] }), { runs: [], cursor: null, searched: null });
  assert.deepEqual(ids(await remote.runs({ tag, job: "echo", createdAfter: made[3].createdAt.getTime() / 1000 - 0.001 })).at(-1), made[3].id);
  assert.deepEqual(ids(await remote.runs({ tag, createdBefore: made[0].createdAt })), []);
  const first = await remote.listRuns({ tag, limit: 3 });
  const second = await remote.listRuns({ tag, limit: 3, cursor: first.cursor });
  assert.deepEqual([ids(first.runs), ids(second.runs)], [newest.slice(0, 3), newest.slice(3)]);
  assert.deepEqual([first.searched, second.cursor], [null, null]);
  const found = await remote.listRuns({ tag, search: "nadel 2" });
  assert.deepEqual([ids(found.runs), found.searched, found.cursor], [[made[2].id], 5, null]);
  await assert.rejects(remote.listRuns({ cursor: "nonsense" }), { name: "InvalidOption", option: "cursor", code: "invalid_option" });
});

test("a live list follows what happens", async () => {
  const filter = { tag: "live", limit: 3 };
  const pages = [];
  const end = remote.live(filter, (page) => pages.push(page));
  await shown(remote, filter, ({ runs }) => runs.length === 0);
  const run = await remote.trigger("approval", 1, { tags: ["live"] });
  const { runs } = await shown(remote, filter, (page) => page.runs[0]?.status === "WAITING");
  assert.deepEqual([ids(runs), runs[0].payload], [[run.id], undefined]); // a list has no payloads
  assert.equal((await runs[0].refresh()).payload, 1);
  for (let n = 0; n < 3; n += 1) await remote.trigger("echo", n, { tags: ["live"] });
  await shown(remote, filter, (page) => page.runs.length === 3 && page.runs.every(({ status }) => status === "COMPLETED"));
  while (pages.at(-1).runs.map(({ status }) => status).join() !== "COMPLETED,COMPLETED,COMPLETED") await new Promise(setImmediate);
  assert(pages.every(({ error }) => !error));
  assert.deepEqual(pages[0].runs, []);
  const [a, b] = pages.slice(-2);
  assert(b.runs.some((one) => a.runs.includes(one)) || a.runs.length < 3); // the handles on the others stay the same
  const told = pages.length;
  end();
  await settled(await remote.trigger("echo", 9, { tags: ["live"] }));
  assert.equal(pages.length, told);
});

test("a live search", async () => {
  const run = await settled(await remote.trigger("echo", "Stecknadel"));
  const page = await shown(remote, { search: "stecknadel" }, () => true);
  assert.deepEqual([ids(page.runs), page.searched > 0], [[run.id], true]);
});

test("a run is cancelled, resumed, and followed again", async () => {
  const run = remote.run((await remote.trigger("approval", "x")).id);
  const [statuses, payloads] = [[], []];
  run.addEventListener("status", ({ detail }) => {
    statuses.push(detail);
    payloads.push(run.payload); // a stream tells it once
  });
  await heard(run, "status", (status) => status === "WAITING");
  const ended = run.result();
  await run.cancel();
  await assert.rejects(ended, { name: "RunFailed", status: "CANCELLED" });
  while (!run.over) await new Promise((resolve) => setTimeout(resolve, 5)); // until its stream has ended
  await assert.rejects(remote.cancel(run.id), { name: "Conflict", code: "conflict", status: 409 });
  await run.resume();
  await heard(run, "status", (status) => status === "WAITING");
  const [token] = await remote.tokens({ run: run.id, state: "pending" });
  await remote.completeToken(token.id, "yes");
  assert.deepEqual(await run.result(), [9, "yes", "x"]);
  assert(payloads.every((payload) => payload === "x"), JSON.stringify(payloads));
  assert.deepEqual(statuses.filter((status, i) => status !== statuses[i - 1] && status !== "EXECUTING" && status !== "PENDING"),
    ["WAITING", "CANCELLED", "WAITING", "COMPLETED"]);
  run.close();
});

test("a failed run is resumed from its failed step; replay and fork make others", async () => {
  const flag = join(folder(), "flag");
  const run = await remote.trigger("needs_file", { flag });
  await assert.rejects(run.result(), { name: "RunFailed", status: "FAILED" });
  assert.equal(run.error.type, "FileNotFoundError");
  writeFileSync(flag, "there");
  await remote.resume(run.id);
  assert.equal(await remote.run(run.id).result(), "there");
  const replayed = await remote.replay(run.id);
  assert.deepEqual([await replayed.result(), replayed.payload, replayed.id === run.id], ["there", { flag }, false]);
  assert.deepEqual(JSON.parse(replayed.row.trigger), { kind: "replay", of: run.id });
  writeFileSync(`${flag}2`, "other");
  const other = await remote.replay(run.id, { flag: `${flag}2` });
  assert.equal(await other.result(), "other");
  const forked = await remote.fork(run.id, "read");
  assert.equal(await forked.result(), "there");
  assert.deepEqual((await forked.steps()).map(({ path, attempt }) => path), ["before", "read"]);
  await assert.rejects(remote.fork(run.id, "nowhere"), { name: "InvalidOption" });
});

test("a run is deleted, and who watches it hears of it", async () => {
  const run = await remote.trigger("approval", 1);
  await heard(run, "status", (status) => status === "WAITING");
  await assert.rejects(remote.delete(run.id), { name: "Conflict" });
  await run.cancel();
  await remote.delete(run.id);
  const other = remote.run(run.id);
  const error = await heard(other, "gone");
  assert.deepEqual([error.name, error.id], ["RunNotFound", run.id]);
  await assert.rejects(run.refresh(), { name: "RunNotFound", id: run.id });
  assert.equal(await remote.store.get_run(run.id), null);
  await assert.rejects(remote.cancel(run.id), { name: "RunNotFound", code: "run_not_found", status: 404 });
  for (const id of ["", ".", "..", "../runs", "a/b", "?", "#", "\ud800", "%2e%2e"]) {
    await assert.rejects(remote.run(id).refresh(), { name: "RunNotFound" }, id);
    await assert.rejects(remote.delete(id), { name: "RunNotFound" }, id);
    assert((await heard(remote.run(id), "gone")).name === "RunNotFound");
  }
});

test("tokens are listed, completed and failed", async () => {
  const [one, two] = [await remote.trigger("approval", 1), await remote.trigger("approval", 2)];
  for (const run of [one, two]) await heard(run, "status", (status) => status === "WAITING");
  const [token] = await remote.tokens({ run: one.id });
  assert.deepEqual([token.state, token.kind, token.output, token.run_id], ["pending", "token", null, one.id]);
  assert((await remote.tokens({ state: "pending" })).some(({ id }) => id === token.id));
  const value = { at: new Date(0), ids: new Set(["a"]) };
  assert.equal((await remote.completeToken(token.id, value)).state, "completed");
  assert.deepEqual(await one.result(), [9, value, 1]);
  const [done] = await remote.tokens({ run: one.id });
  assert.deepEqual(decode(done.output), value);
  const [other] = await remote.tokens({ run: two.id });
  await remote.failToken(other.id, "no <b>way</b>");
  await assert.rejects(two.result(), ({ name, error }) => name === "RunFailed" && error.message.includes("no <b>way</b>"));
  await assert.rejects(remote.completeToken("tok_nothing", 1), { name: "TokenNotFound", id: "tok_nothing" });
  await assert.rejects(remote.completeToken("..", 1), { name: "TokenNotFound", id: ".." });
  assert.equal((await remote.failToken(done.id, "late")).state, "completed"); // the first one counts
});

test("events start jobs and end waits, once for an id", async () => {
  const waits = await remote.trigger("paid", { org: "acme" });
  await heard(waits, "status", (status) => status === "WAITING");
  const payload = { org: "acme", at: new Date(5) };
  const sent = await remote.sendEvent("invoice.paid", payload, { id: "e1" });
  assert.deepEqual([sent.fresh, sent.waits], [true, 1]);
  assert.deepEqual(await waits.result(), payload);
  assert.equal((await remote.sendEvent("invoice.paid", payload, { id: "e1" })).fresh, false);
  const { runs } = await remote.sendEvent("order.placed", { order: 7 });
  assert.equal(await remote.run(runs[0]).result(), "shipped 7");
});

test("queues are paused and resumed, whatever their names are", async () => {
  const name = "slow/lane";
  assert((await remote.queues()).some(({ queue }) => queue.name === name && queue.concurrency === 1 && queue.paused === 0));
  await remote.pauseQueue(name);
  const run = await remote.trigger("slow");
  await heard(run, "status", (status) => status === "QUEUED");
  const state = (await remote.queues()).find(({ queue }) => queue.name === name);
  assert.deepEqual([state.queue.paused, state.queued], [1, 1]);
  await remote.resumeQueue(name);
  assert.equal(await run.result(), "through");
  await assert.rejects(remote.pauseQueue(".."), { name: "InvalidOption" });
});

test("schedules and jobs", async () => {
  const [row] = await remote.schedules();
  assert.deepEqual([row.job, row.name, row.paused, typeof JSON.parse(row.spec)], ["rarely", "rarely", 0, "object"]);
  await remote.pauseSchedule("rarely", "rarely");
  assert.equal((await remote.schedules())[0].paused, 1);
  await remote.resumeSchedule("rarely", "rarely");
  assert.equal((await remote.schedules())[0].paused, 0);
  await assert.rejects(remote.pauseSchedule("rarely", "never"), { name: "InvalidOption" });
  const jobs = await remote.knownJobs();
  assert.deepEqual(jobs.find(({ name }) => name === "slow"), { name: "slow", version: null, queue: "slow/lane" });
});

test("the runs that a run has started", async () => {
  const run = await remote.trigger("parent", 3);
  assert.deepEqual(await run.result(), [0, 1, 2]);
  const children = await run.children();
  assert.deepEqual(children.map(({ job, status }) => [job, status]), Array(3).fill(["echo", "COMPLETED"]));
  assert.deepEqual((await remote.store.get_runs([...ids(children), "nothing"])).map(({ id }) => id), ids(children));
});

test("what is wrong is named", async () => {
  await assert.rejects(remote.trigger("nobody"), { name: "UnknownJob", code: "unknown_job" });
  await assert.rejects(remote.trigger("sum_of_squares", 3), ({ name, problems, job }) => {
    return name === "InvalidPayload" && job === "sum_of_squares" && problems[0].path === "$";
  });
  await assert.rejects(remote.trigger("echo", () => 1), { name: "NotSerializable" });
  await assert.rejects(remote.trigger("echo", 1, { prio: 1 }), { name: "InvalidOption", option: "prio" });
  await assert.rejects(remote.trigger("echo", 1, { scope: "run" }), { name: "InvalidOption", option: "scope" });
  await assert.rejects(remote.trigger("echo", 1, { delay: "soon" }), { name: "InvalidOption", option: "delay" });
  await assert.rejects(remote.trigger("echo", "x".repeat(4_200_000)), { name: "TooLarge", status: 413 });
  for (const name of ["", undefined, "a\nb"]) {
    await assert.rejects(remote.trigger(name), { name: "InvalidOption", option: "job" });
    await assert.rejects(remote.sendEvent(name), { name: "InvalidOption" });
  }
  for (const given of [undefined, 3]) await assert.rejects(remote.importRun(given), { code: "invalid_request", status: 422 });
  await assert.rejects(remote.importRun("{}"), { name: "InvalidDocument" });
  await assert.rejects(remote.listRuns({ status: "NONE" }), { name: "DurableError", code: "invalid_request", status: 422 });
  const [told] = [await shown(remote, { status: "NONE" }, () => true)];
  assert.equal(told.error.code, "invalid_request");
  for (const url of ["ftp://x", "nowhere", "http://u:p@x", "http://x?y", "http://x#y"]) {
    await assert.rejects(openRemote(url), { name: "InvalidOption", option: "url" });
  }
  for (const token of ["", "a b", "é", 3]) await assert.rejects(openRemote(server.url, { token }), { name: "InvalidOption", option: "token" });
  await assert.rejects(openRemote(server.url, { tokens: 1 }), { name: "InvalidOption", option: "tokens" });
});

test("a wrong token is told once, whatever is asked", async () => {
  const run = await settled(await remote.trigger("echo", 1));
  for (const token of ["wrong", null]) {
    const other = await openRemote(server.url, { token });
    const told = [];
    other.addEventListener("unauthorized", ({ detail }) => told.push(detail));
    await assert.rejects(other.runs(), (error) => error instanceof Unauthorized && error.message === "a token is needed");
    await assert.rejects(other.trigger("echo"), { name: "Unauthorized", status: 401 });
    assert((await shown(other, {}, () => true)).error instanceof Unauthorized);
    const watched = other.run(run.id);
    watched.addEventListener("gone", () => assert.fail("it isn't gone"));
    await assert.rejects(watched.result(), { name: "Unauthorized" });
    assert.equal(told.length, 1);
    assert(told[0] instanceof Unauthorized);
    await other.close();
  }
});

test("more runs than there are connections are followed all the same", async () => {
  const runs = await Promise.all(Array.from({ length: 8 }, (_, n) => remote.trigger("approval", n)));
  const seqs = runs.map((run) => {
    const seen = [];
    run.addEventListener("event", ({ detail }) => detail.seq !== null && seen.push(detail.seq));
    return seen;
  });
  await Promise.all(runs.map((run) => heard(run, "status", (status) => status === "WAITING")));
  const results = runs.map((run) => run.result());
  const filter = { job: "approval", limit: runs.length };
  const pages = [];
  const ends = [0, 1, 2].map((n) => remote.live(filter, (page) => (pages[n] = page)));
  assert.equal(remote.streams, 4); // of the six connections that a browser has
  for (const run of runs) {
    const [token] = await remote.tokens({ run: run.id });
    await remote.completeToken(token.id, "yes");
  }
  assert.deepEqual(await Promise.all(results), runs.map((_, n) => [9, "yes", n]));
  for (const [n, run] of runs.entries()) {
    const history = await run.history();
    while (seqs[n].length < history.length) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(seqs[n], history.map(({ seq }) => seq));
    run.close();
  }
  const done = (page) => page?.runs.every(({ status }) => status === "COMPLETED");
  while (![0, 1, 2].every((n) => done(pages[n]))) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(pages.map((page) => ids(page.runs)), Array(3).fill(ids(await remote.runs(filter))));
  for (const end of ends) end();
  assert.equal(remote.watched.has(runs[0]), false);
});

test("a closed source asks nothing more", async () => {
  const other = await openRemote(server.url, { token: "right" });
  const run = await other.trigger("approval", 1);
  const told = [];
  run.addEventListener("status", ({ detail }) => told.push(detail));
  other.live({}, (page) => told.push(page));
  const asked = other.runs();
  await other.close();
  await assert.rejects(asked, { name: "StoreUnavailable" });
  await assert.rejects(other.runs(), { name: "StoreUnavailable", message: "this Remote was closed" });
  assert.deepEqual([told, other.watched.size], [[], 0]);
  await remote.cancel(run.id);
});

test("a run of a source that is down is StoreUnavailable, and no answer is waited for without end", async () => {
  const nobody = await openRemote("http://127.0.0.1:9");
  await assert.rejects(nobody.runs(), { name: "StoreUnavailable" });
  assert((await shown(nobody, {}, () => true)).error.name === "StoreUnavailable");
  await nobody.close();
});
