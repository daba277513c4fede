/** A run goes from a tab to a server, and back, and on. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import "../web_modules/page.mjs";
import { heard, Server } from "./server.mjs";

const { openTab } = await import("../../web/durable-lite.mjs");
const { openRemote } = await import("../../web/remote.mjs");

const server = new Server({ token: "right" });
let [tab, remote] = [];
before(async () => {
  await server.start();
  remote = await openRemote(server.url, { token: "right" });
  tab = await openTab({ store: "indexeddb:hand-over", worker: false });
});
after(async () => {
  await tab.close();
  await remote.close();
  await server.stop("SIGKILL");
});

test("what a tab has stored, the server executes", async () => {
  const payload = { count: 4, when: new Date(1000), large: 2n ** 60n + 1n };
  const run = await tab.trigger("echo", payload, { tags: ["moved"] });
  const moved = await remote.importRun(await tab.exportRun(run.id));
  assert.equal(moved.id, run.id);
  assert.deepEqual(await moved.result(), payload);
  assert.equal((await run.refresh()).status, "MOVED");
  const history = await moved.history();
  assert.deepEqual(history.map(({ seq }) => seq), history.map((_, i) => i + 1));
});

test("what the server has begun goes to the tab, with its steps and its token, and back", async () => {
  const run = await remote.trigger("approval", { x: new Set([1]) });
  const statuses = [];
  run.addEventListener("status", ({ detail }) => statuses.push(detail));
  await heard(run, "status", (status) => status === "WAITING");
  const steps = await run.steps();
  const [token] = await remote.tokens({ run: run.id });
  const here = await tab.importRun(await remote.exportRun(run.id));
  while (!run.over) await new Promise((resolve) => setTimeout(resolve, 5)); // its stream has ended
  assert.deepEqual([here.id, here.status, statuses.at(-1)], [run.id, "WAITING", "MOVED"]);
  assert.deepEqual(here.payload, { x: new Set([1]) });
  const stored = await here.steps();
  assert.deepEqual(stored.map(({ path, output }) => [path, output]), steps.map(({ path, output }) => [path, output]));
  assert.equal(stored[0].output, "9");
  assert.deepEqual((await tab.tokens({ run: run.id })).map(({ id, state }) => [id, state]), [[token.id, "pending"]]);
  await assert.rejects(run.result(), { name: "RunFailed", status: "MOVED" });

  await tab.completeToken(token.id, "from the tab");
  const back = await remote.importRun(await tab.exportRun(run.id));
  const expected = [9, "from the tab", { x: new Set([1]) }];
  assert.deepEqual(await back.result(), expected);
  assert.deepEqual(await run.result(), expected); // the first handle goes on, too
  while (statuses.at(-1) !== "COMPLETED") await new Promise((resolve) => setTimeout(resolve, 5)); // its stream says so
  const history = await back.history();
  assert.deepEqual(history.map(({ seq }) => seq), history.map((_, i) => i + 1));
  assert.equal(history.filter(({ type }) => type === "run.moved").length, 4);
});

test("both are the same source, whatever is asked", () => {
  const own = (source) => [...methods(source)].sort();
  const wanted = [
    ...["trigger", "runs", "listRuns", "live", "run", "cancel", "resume", "delete", "replay", "fork", "exportRun", "importRun"],
    ...["knownJobs", "tokens", "completeToken", "failToken", "sendEvent", "queues", "pauseQueue", "resumeQueue", "schedules"],
    ...["pauseSchedule", "resumeSchedule", "close"],
  ];
  for (const source of [tab, remote]) {
    assert.deepEqual(wanted.filter((name) => !own(source).includes(name)), []);
    assert.deepEqual([source.closed, source.readOnly], [false, false]);
  }
});

/** @param {object} source */
const methods = (source) => new Set(Object.getOwnPropertyNames(Object.getPrototypeOf(source)));
