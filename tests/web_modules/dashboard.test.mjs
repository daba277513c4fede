/** What the dashboard reckons without a page: its words, its routes, and one list of what is live and what was read. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";

const { away, span, story, ticks } = await import("../../web/dashboard/words.mjs");
const { format, parse } = await import("../../web/dashboard/routes.mjs");
// It needs preact, which isn't there before `scripts/vendor.py` has copied it.
const vendored = existsSync(new URL("../../web/dashboard/vendor/preact.mjs", import.meta.url));

test("how long something took is told in two units at most", () => {
  const told = [0, 0.0004, 0.25, 0.9996, 1.04, 9.96, 59.9, 60, 61.4, 3599.6, 3600, 5400, 86_399, 90_000, 8.64e7, -3].map(span);
  assert.deepEqual(told, [
    ...["0 ms", "0 ms", "250 ms", "1 s", "1 s", "10 s", "1 min", "1 min", "1 min 1 s"],
    ...["1 h", "1 h", "1 h 30 min", "23 h 59 min", "1 d 1 h", "1,000 d", "0 ms"],
  ]);
  assert.deepEqual([away(100, 40), away(40, 100), away(0, 5400), away(604_799, 0)], ["in 1 min", "1 min ago", "2 h ago", "in 7 d"]);
});

test("a schedule's text is told in words, and one that can't be read as it is", () => {
  const specs = ['{"cron": "0 6 * * *", "tz": "Europe/Berlin"}', '{"every": 86400.0}', "?", '{"later": 1}'];
  assert.deepEqual(specs.map(ticks), ["0 6 * * * (Europe/Berlin)", "every 1 d", "?", '{"later": 1}']);
});

test("each stored event has its words; of what isn't known its type is told", () => {
  const types = ["triggered", "claimed", "stale", "resumed", "waiting", "retrying", "released", "completed", "failed"];
  types.push("cancelled", "timed_out", "expired", "moved");
  for (const type of types) assert.match(story({ type: `run.${type}`, at: 1, data: {} })[1], / /, type);
  const failed = (/** @type {any} */ data) => story({ type: "step.failed", at: 1, data: { path: "pay", error: { type: "E", message: "m" }, ...data } });
  assert.deepEqual(failed({ failures: 1, retry_at: null }), ["bad", "Step pay failed: E: m"]);
  assert.deepEqual(failed({ failures: 22, retry_at: null })[1], "Step pay failed, for the 22nd time: E: m");
  assert.match(failed({ failures: 11, retry_at: 3 })[1], /^Step pay failed, for the 11th time: E: m; tried again at /);
  assert.equal(failed({ failures: 2, retry_at: 3 })[0], "warn");
  assert.equal(story({ type: "step.completed", at: 1, data: {} }), null);
  assert.deepEqual(story({ type: "run.new", at: 1, data: null }), ["", "run.new"]);
  assert.deepEqual(story({ type: "constructor", at: 1, data: null }), ["", "constructor"]);
  assert.match(story({ type: "run.resumed", at: 1, data: { replayed: 1, gap_ms: 1500 } })[1], /after 1\.5 s: 1 step answered/);
});

test("a route is text and back, whatever an id holds", () => {
  const routes = [
    ...[{ view: "runs" }, { view: "queues" }, { view: "run", id: "a/b?c#d %é" }],
    { view: "runs", status: "FAILED,STALE", job: "a&b", tag: "x, y", q: "100 %" },
  ];
  for (const route of routes) assert.deepEqual(parse(format(route)), route);
  for (const hash of ["", "#", "#elsewhere", "#/nothing", "#/runs/", "#/runs?later=1"]) assert.deepEqual(parse(hash), { view: "runs" });
  assert.deepEqual(parse("#/runs/%zz"), { view: "run", id: "%zz" });
});

test("what was read of older runs stays below the live ones, unless there is a hole", { skip: !vendored }, async () => {
  const { merged } = await import("../../web/dashboard/data.mjs");
  const made = new Map();
  const run = (n) => made.get(n) ?? made.set(n, { id: `r${n}`, row: { id: `r${n}`, created_at: n } }).get(n);
  const runs = (...numbers) => numbers.map(run);
  const told = (known, newest, all = false) => merged(runs(...known), runs(...newest), all).map(({ row }) => row.created_at);
  assert.deepEqual(told([], [9, 8]), [9, 8]);
  assert.deepEqual(told([9, 8, 7, 6], [10, 9, 8]), [10, 9, 8, 7, 6]);
  assert.deepEqual(told([9, 8, 7, 6], [9, 7]), [9, 7, 6], "8 is gone");
  assert.deepEqual(told([9, 8, 7], [9, 8], true), [9, 8], "there are no more");
  assert.deepEqual(told([9, 8, 7], [20, 19]), [20, 19], "between 19 and 9 there may be others");
  assert.deepEqual(told([9, 8], []), []);
});

test("spans that nobody could see by themselves are drawn as one, and none is lost", { skip: !vendored }, async () => {
  const { coarse } = await import("../../web/dashboard/picture.mjs");
  const span = (/** @type {string} */ is, /** @type {number} */ from, /** @type {number} */ to) => ({ is, from, to });
  const short = Array.from({ length: 100_000 }, (_, i) => span(i % 3 ? "waiting" : "executing", i, i + 1));
  const all = /** @type {any[]} */ ([span("pending", -500, 0), ...short, span("executing", 100_000, 101_000)]);
  const found = coarse(all, 200);
  assert(found.length < 1100);
  assert.equal(found.reduce((sum, one) => sum + one.of, 0), all.length);
  assert.deepEqual([found[0].is, found[0].of, found.at(-1)?.is, found.at(-1)?.of], ["pending", 1, "executing", 1]);
  assert.equal(found[1].is, "waiting"); // most of it
  found.forEach((one, i) => i && assert.equal(one.from, found[i - 1].to));
  assert.deepEqual(coarse(all.slice(0, 2), 0).map(({ is, from, to }) => ({ is, from, to })), all.slice(0, 2));
});
