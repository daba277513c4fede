/** Nothing missed and nothing told twice, whatever breaks between a page and its server. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openRemote } from "../../web/remote.mjs";
import { chance, cutting, heard, Server, shown } from "./server.mjs";

// The pauses are those of a page, but a second is 20 ms.
const { setTimeout: wait } = globalThis;
globalThis.setTimeout = (then, ms, ...given) => wait(then, ms > 60 && ms <= 60_000 ? Math.max(ms / 50, 1) : ms, ...given);

const server = new Server();
before(() => server.start());
after(() => server.stop("SIGKILL"));

/** What a run tells, until its stream has ended. */
function following(run) {
  const seen = { seqs: [], types: [], statuses: [] };
  run.addEventListener("event", ({ detail }) => {
    if (detail.seq === null) return;
    seen.seqs.push(detail.seq);
    seen.types.push(detail.type);
  });
  run.addEventListener("status", ({ detail }) => seen.statuses.push(detail));
  return seen;
}

async function isWhole(run, seen) {
  while (!run.over) await new Promise((resolve) => wait(resolve, 5));
  const { events } = await (await fetch(`${server.url}/api/runs/${run.id}/events?limit=1000`)).json();
  assert.deepEqual(seen.seqs, events.map(({ seq }) => seq));
  assert.deepEqual(seen.types, events.map(({ type }) => type));
  assert.deepEqual(seen.seqs, seen.seqs.map((_, i) => i + 1));
  assert.equal(seen.statuses.at(-1), "COMPLETED");
}

test("a proxy cuts a hundred connections, each after some bytes", async () => {
  const random = chance(7);
  const near = await openRemote(server.url);
  const run = await near.trigger("sum_of_squares", { count: 900 }, { tags: ["cut"] });
  const proxy = await cutting(server.url, () => 1 + random() * (random() < 0.2 ? 700 : 4500), 100);
  const far = await openRemote(proxy.url);
  const same = far.run(run.id);
  const seen = following(same);
  await isWhole(same, seen);
  assert.equal(proxy.seen.cuts, 100);
  assert.equal(same.output, await near.run(run.id).result());
  same.close();
  await far.close();
  await near.close();
  proxy.close();
});

test("so does one that cuts a list", async () => {
  const random = chance(11);
  const near = await openRemote(server.url);
  const proxy = await cutting(server.url, () => 1 + random() * 6000, 25);
  const far = await openRemote(proxy.url);
  const pages = [];
  const end = far.live({ tag: "list", limit: 5 }, (told) => pages.push(told));
  const runs = [];
  while (proxy.seen.cuts < 25) {
    runs.unshift(await near.trigger("sum_of_squares", { count: 3, pause: "1ms" }, { tags: ["list"] }));
    await runs[0].result();
    runs[0].close();
  }
  const wanted = JSON.stringify(runs.slice(0, 5).map(({ id }) => [id, "COMPLETED"]));
  const last = () => JSON.stringify(pages.findLast((page) => page.runs)?.runs.map(({ id, status }) => [id, status]));
  while (last() !== wanted) await new Promise((resolve) => wait(resolve, 5));
  assert(!("error" in pages.at(-1)));
  for (const { runs: shown = [] } of pages) {
    assert.equal(new Set(shown.map(({ id }) => id)).size, shown.length);
    assert.deepEqual(shown, shown.toSorted((a, b) => b.row.created_at - a.row.created_at));
  }
  end();
  await far.close();
  await near.close();
  proxy.close();
});

test("a server is killed in the middle of a stream, and started again", async () => {
  const remote = await openRemote(server.url);
  const run = await remote.trigger("sum_of_squares", { count: 40, pause: "20ms" }, { tags: ["killed"] });
  const seen = following(run);
  const pages = [];
  remote.live({ tag: "killed" }, (told) => pages.push(told));
  const result = run.result();
  await heard(run, "event", ({ seq }) => seq > 10);
  await server.stop("SIGKILL");
  const before = seen.seqs.length;
  while (!pages.at(-1)?.error) await new Promise((resolve) => wait(resolve, 5));
  assert.equal(pages.at(-1).error.name, "StoreUnavailable");
  await assert.rejects(run.refresh(), { name: "StoreUnavailable" });
  await server.start();
  assert.equal(await result, 20_540);
  await isWhole(run, seen);
  assert(seen.seqs.length > before);
  await shown(remote, { tag: "killed" }, ({ runs }) => runs[0].status === "COMPLETED");
  while (pages.at(-1).runs?.[0].status !== "COMPLETED") await new Promise((resolve) => wait(resolve, 5));
  await remote.close();
});

test("who waits for a result when the page lets go of the server waits no more", async () => {
  const remote = await openRemote(server.url);
  const run = await remote.trigger("approval", 1);
  const result = run.result();
  await heard(run, "status", (status) => status === "WAITING");
  await remote.close();
  await assert.rejects(result, { name: "StoreUnavailable", message: new RegExp(run.id) });
});

test("a server is stopped in its good time: its streams end, and those who followed come again", async () => {
  const remote = await openRemote(server.url);
  const run = await remote.trigger("approval", 1);
  const seen = following(run);
  await heard(run, "status", (status) => status === "WAITING");
  await server.stop("SIGTERM");
  await server.start();
  const [token] = await remote.tokens({ run: run.id });
  await remote.completeToken(token.id, "yes");
  assert.deepEqual(await run.result(), [9, "yes", 1]);
  await isWhole(run, seen);
  await remote.close();
});

test("a server that comes back with another token is waited for no longer", async () => {
  const other = await new Server({ token: "first" }).start();
  const remote = await openRemote(other.url, { token: "first" });
  const told = [];
  remote.addEventListener("unauthorized", ({ detail }) => told.push(detail));
  const run = await remote.trigger("approval", 1);
  await heard(run, "status", (status) => status === "WAITING");
  const results = [run.result(), run.result(), remote.run(run.id).result()];
  const refused = results.map((result) => assert.rejects(result, { name: "Unauthorized", status: 401 }));
  await Promise.all([run.refresh(), remote.runs()]); // what they ask at first has its answer
  await other.stop("SIGKILL");
  other.token = "second";
  await other.start();
  await Promise.all(refused);
  assert.equal(told.length, 1);
  await remote.close();
  await other.stop("SIGKILL");
});

test("an error that was told is taken back when the server is there, though nothing has changed", async () => {
  const proxy = await cutting(server.url, () => Infinity, 0);
  const remote = await openRemote(proxy.url);
  const pages = [];
  remote.live({ tag: "nothing" }, (told) => pages.push(told));
  while (!pages.length) await new Promise((resolve) => wait(resolve, 5));
  const port = Number(new URL(proxy.url).port);
  proxy.close();
  while (!pages.at(-1).error) await new Promise((resolve) => wait(resolve, 5));
  const again = await cutting(server.url, () => Infinity, 0, port);
  while (pages.at(-1).error) await new Promise((resolve) => wait(resolve, 5));
  assert.deepEqual(pages.at(-1), { runs: [], cursor: null, searched: null });
  await remote.close();
  again.close();
});
