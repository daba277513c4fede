/** The page's side of the worker, with a worker that does what the test says. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { page } from "./page.mjs";
import { Host } from "../../web/host.mjs";

class FakeWorker {
  static made = [];
  constructor(url, options) {
    this.url = url;
    this.options = options;
    this.got = [];
    this.terminated = false;
    FakeWorker.made.push(this);
  }
  postMessage(message) {
    this.got.push(message);
  }
  terminate() {
    this.terminated = true;
  }
  say(op, more = {}) {
    this.onmessage({ data: { op, ...more } });
  }
}

beforeEach(() => {
  FakeWorker.made = [];
  globalThis.Worker = FakeWorker;
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => {
  for (const host of hosts.splice(0)) host.rested?.(); // else it hears the page of the next test
  mock.timers.reset();
});

const hosts = [];

function hosted(init = async () => ({ store: "s" })) {
  const heard = { stages: [], events: [], told: [], again: 0 };
  const host = new Host(init, {
    onstatus: (status) => heard.stages.push(status.stage),
    onevents: (events) => heard.events.push(events),
    onready: (manifest, files) => heard.told.push(manifest, files),
    onagain: () => (heard.again += 1),
    perform: async (verb, given) => `${verb} of ${given}`,
  });
  hosts.push(host);
  return [host, heard];
}

async function booted(init) {
  const [host, heard] = hosted(init);
  await host.boot();
  return [host, heard, FakeWorker.made.at(-1)];
}

test("it starts one worker, and tells it first what it needs", async () => {
  const [host, heard] = hosted();
  assert.equal(FakeWorker.made.length, 0);
  await Promise.all([host.boot(), host.boot()]);
  await host.boot();
  const [worker] = FakeWorker.made;
  assert.equal(FakeWorker.made.length, 1);
  assert(String(worker.url).endsWith("/web/worker.mjs"));
  assert.deepEqual(worker.options, { type: "module" });
  assert.deepEqual(worker.got, [{ op: "init", store: "s" }]);
  worker.say("stage", { stage: "download", loaded: 1, total: 9 });
  assert.deepEqual(host.status, { stage: "download", loaded: 1, total: 9 });
  worker.say("stage", { stage: "jobs" });
  worker.say("ready", { manifest: "{}", files: "digest" });
  worker.say("events", { events: "text" });
  assert.deepEqual(heard, { stages: ["download", "jobs", "ready"], events: ["text"], told: ["{}", "digest"], again: 0 });
  await host.boot();
  assert.equal(FakeWorker.made.length, 1);
});

test("without a worker orders go nowhere", () => {
  const [host, heard] = hosted();
  host.post({ op: "lead", on: true });
  host.rest(true);
  host.rest(false);
  mock.timers.tick(100_000);
  assert.deepEqual(heard.stages, []);
});

test("an order may come to the worker before the first message", async () => {
  const ready = Promise.withResolvers();
  const [host] = hosted(() => ready.promise);
  const starting = host.boot();
  host.post({ op: "lead", on: true });
  ready.resolve({ store: "s" });
  await starting;
  assert.deepEqual(FakeWorker.made[0].got, [{ op: "lead", on: true }, { op: "init", store: "s" }]);
});

test("silence for 30 seconds is a failure, and ends the worker", async () => {
  const [host, heard, worker] = await booted();
  mock.timers.tick(29_999);
  worker.say("stage", { stage: "jobs" });
  mock.timers.tick(29_999);
  assert.equal(worker.terminated, false);
  mock.timers.tick(1);
  assert.equal(worker.terminated, true);
  assert.equal(host.status.kind, "setup");
  assert.match(host.status.message, /nothing happened for 30 s after "jobs"/);
  assert.deepEqual(heard.stages, ["jobs", "failed"]);
});

test("a file that is on its way for minutes is no silence, until all are there", async () => {
  const [host, , worker] = await booted();
  worker.say("stage", { stage: "download", loaded: 0, total: 9 });
  mock.timers.tick(299_999);
  worker.say("stage", { stage: "download", loaded: 5, total: 9 });
  mock.timers.tick(299_999);
  assert.equal(worker.terminated, false);
  worker.say("stage", { stage: "download", loaded: 9, total: 9 });
  mock.timers.tick(30_000);
  assert.match(host.status.message, /nothing happened for 30 s after "download"/);
});

test("what has failed is tried again, each time after twice as long, at most ten minutes", async () => {
  const [host, heard] = await booted();
  for (const [i, again] of [30, 60, 120, 240, 480, 600, 600].entries()) {
    FakeWorker.made.at(-1).say("failed", { kind: "setup", message: "offline" });
    assert.deepEqual([host.failed, host.status.again], [true, again]);
    mock.timers.tick(again * 1000 - 1);
    await host.boot();
    assert.deepEqual([FakeWorker.made.length, heard.again], [i + 1, i]);
    mock.timers.tick(1);
    assert.deepEqual([host.failed, heard.again], [false, i + 1]);
    await host.boot();
    assert.equal(FakeWorker.made.length, i + 2);
  }
  FakeWorker.made.at(-1).say("ready", { manifest: "{}", files: "" });
  FakeWorker.made.at(-1).say("failed", { kind: "setup", message: "its files" });
  assert.equal(host.status.again, 30);
});

test("or when the page is looked at again, or online; once", async () => {
  const browser = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) globalThis[name] = browser[name].bind(browser);
  const ways = [() => page.dispatchEvent(new Event("visibilitychange")), () => browser.dispatchEvent(new Event("online"))];
  for (const back of ways) {
    const [host, heard, worker] = await booted();
    worker.say("failed", { kind: "setup", message: "offline" });
    back();
    assert.deepEqual([host.failed, heard.again], [false, 1]);
    back();
    mock.timers.tick(1_000_000);
    assert.equal(heard.again, 1);
  }
});

test("one that is stopped after a failure stays so", async () => {
  const [host, heard, worker] = await booted();
  worker.say("failed", { kind: "jobs", message: "no" });
  await host.stop();
  mock.timers.tick(1_000_000);
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(heard.again, 0);
});

test("nor what goes wrong with it", async () => {
  const [host, heard, worker] = await booted();
  worker.onerror({ message: "one" });
  worker.onerror({ message: "two" });
  assert.deepEqual([heard.stages, host.status.again], [["failed"], 30]);
  mock.timers.tick(30_000);
  await host.boot();
  worker.onerror({ message: "three" });
  assert.equal(FakeWorker.made.at(-1).terminated, false);
});

test("who stops it when it is told of a stage hears of no failure", async () => {
  const heard = [];
  const host = new Host(async () => ({}), {
    ...{ onevents() {}, onready() {}, onagain() {} },
    onstatus: ({ stage }) => {
      heard.push(stage);
      if (stage === "download") host.stop();
    },
  });
  hosts.push(host);
  await host.boot();
  FakeWorker.made.at(-1).say("stage", { stage: "download", loaded: 0, total: 1 });
  mock.timers.tick(1_000_000);
  assert.deepEqual(heard, ["download", "idle"]);
});

test("what an ended worker still says isn't heard", async () => {
  const [host, heard, worker] = await booted();
  worker.say("failed", { kind: "setup", message: "files" });
  worker.say("ready", { manifest: "{}", files: "" });
  assert.deepEqual([heard.stages, heard.told, host.status.stage], [["failed"], [], "failed"]);
});

test("a worker that is ready may be silent", async () => {
  const [host, , worker] = await booted();
  worker.say("ready", { manifest: "{}" });
  mock.timers.tick(1_000_000);
  assert.equal(host.status.stage, "ready");
});

test("the time in which the page is frozen is no silence", async () => {
  const [host, heard, worker] = await booted();
  mock.timers.tick(20_000);
  host.rest(true);
  mock.timers.tick(500_000);
  host.rest(false);
  assert.deepEqual(worker.got.slice(1), [{ op: "rest", on: true }, { op: "rest", on: false }]);
  mock.timers.tick(29_999);
  assert.deepEqual(heard.stages, []);
  mock.timers.tick(1);
  assert.deepEqual(heard.stages, ["failed"]);
});

test("a worker that is ready isn't watched after a rest either", async () => {
  const [host, , worker] = await booted();
  worker.say("ready", { manifest: "{}" });
  host.rest(true);
  host.rest(false);
  mock.timers.tick(1_000_000);
  assert.equal(host.status.stage, "ready");
});

for (const [name, fail, message] of [
  ["the module isn't there", (worker) => worker.onerror({ message: "" }), /is it there, as text\/javascript\?/],
  ["the module throws", (worker) => worker.onerror({ message: "oops" }), /oops/],
  ["Python says so", (worker) => worker.say("failed", { kind: "jobs", message: "oops", detail: "more" }), /^oops$/],
]) {
  test(`a failure ends the worker: ${name}`, async () => {
    const [host, heard, worker] = await booted();
    fail(worker);
    assert.equal(worker.terminated, true);
    assert.match(host.status.message, message);
    mock.timers.tick(100_000);
    assert.deepEqual(heard.stages, ["failed"]);
    host.post({ op: "beat" });
    assert.equal(worker.got.length, 1);
  });
}

test("what a worker needs can't be found out", async () => {
  const [host, heard, worker] = await booted(() => Promise.reject(new Error("no manifest")));
  assert.deepEqual([heard.stages, host.status.message, worker.terminated], [["failed"], "no manifest", true]);
});

test("stopping waits until Python has let go, two seconds at most", async () => {
  for (const answers of [true, false]) {
    const [host, heard, worker] = await booted();
    worker.say("ready", { manifest: "{}" });
    const stopping = host.stop();
    assert.deepEqual(worker.got.at(-1), { op: "stop" });
    assert.equal(worker.terminated, false);
    if (answers) worker.say("stopped");
    else mock.timers.tick(2000);
    await stopping;
    assert.deepEqual([worker.terminated, heard.stages], [true, ["ready", "idle"]]);
  }
});

for (const end of ["resolve", "reject"]) {
  test(`a start that is stopped ends at once, and fails no more (${end})`, async () => {
    const ready = Promise.withResolvers();
    const [host, heard] = hosted(() => ready.promise);
    const starting = host.boot();
    await host.stop();
    ready[end](new Error("late"));
    await starting;
    mock.timers.tick(100_000);
    assert.deepEqual(heard.stages, ["idle"]);
    assert.deepEqual(FakeWorker.made[0].got, []);
  });
}

/** How long the page's last words take. */
function waits(t, host) {
  let now = 5;
  const clock = t.mock.method(performance, "now", () => now++);
  host.lastWords();
  clock.mock.restore();
  return now - 5;
}

test("a page that freezes lets its worker end what it has begun; without one it doesn't wait", (t) => {
  const [host] = hosted();
  assert.equal(waits(t, host), 0);
  host.boot();
  const ms = waits(t, host);
  assert.ok(ms >= 15 && ms < 20); // a handler of ours takes less than 20 ms
});

test("nor for one that has left its transactions to the hidden page", async (t) => {
  const [host, , worker] = await booted();
  host.hide(true);
  assert.deepEqual(worker.got.at(-1), { op: "detour", on: true, turn: 1 });
  assert.ok(waits(t, host));
  worker.say("detoured", { turn: 1 });
  assert.equal(waits(t, host), 0);
  host.hide(false);
  host.hide(true);
  worker.say("detoured", { turn: 2 }); // between the two it had some again
  assert.ok(waits(t, host));
  worker.say("detoured", { turn: 3 });
  assert.equal(waits(t, host), 0);
  host.hide(false);
  worker.say("detoured", { turn: 4 });
  assert.ok(waits(t, host));
});

test("what it asks then is carried out, and the worker of a hidden page is told so at its start", async () => {
  const [host] = hosted();
  host.hide(true);
  await host.boot();
  const [worker] = FakeWorker.made;
  assert.deepEqual(worker.got, [{ op: "detour", on: true, turn: 2 }, { op: "init", store: "s" }]);
  worker.say("ask", { number: 3, verb: "get_run", given: "[]" });
  await Promise.resolve();
  await Promise.resolve();
  assert.deepEqual(worker.got.at(-1), { op: "answer", number: 3, answer: "get_run of []" });
});

test("no other worker gets its answers", async () => {
  const [host, , worker] = await booted();
  worker.say("ask", { number: 3, verb: "get_run", given: "[]" });
  worker.say("failed", { kind: "setup", message: "files" });
  host.again();
  await host.boot();
  assert.deepEqual(FakeWorker.made.map(({ got }) => got.length), [1, 1]);
});

test("to leave takes until the worker says so, or is no more", async () => {
  const [host, , worker] = await booted();
  for (const end of [() => worker.say("left"), () => worker.say("failed", { kind: "setup", message: "files" })]) {
    let left = false;
    const leaving = host.leave().then(() => (left = true));
    assert.deepEqual(worker.got.at(-1), { op: "leave" });
    await new Promise(setImmediate);
    assert.equal(left, false);
    end();
    await leaving;
  }
  await host.leave(); // there is none
});
