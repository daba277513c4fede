/** The hooks in React itself, over a tab. */

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Window } from "happy-dom";

const window = new Window({ url: "https://example.org/" });
Object.assign(globalThis, { window, document: window.document });

const { createElement: h, StrictMode, useState, Fragment, startTransition } = await import("react");
const { createRoot, hydrateRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { openTab } = await import("../../web/durable-lite.mjs");
const { useJob, useRun, useRuns } = await import("../../web/react.mjs");

let [tab, stores, roots] = [null, 0, []];
beforeEach(async () => {
  mock.method(console, "error");
  tab = await openTab({ store: `indexeddb:react-${(stores += 1)}`, worker: false });
});
afterEach(async () => {
  for (const root of roots) root.unmount();
  roots = [];
  const said = console.error.mock.calls.map(({ arguments: [what] }) => what);
  mock.restoreAll();
  await tab.close();
  assert.deepEqual(said, []); // React says what it doesn't like
});

function shown(element, strict = true) {
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  roots.push(root);
  const draw = (element) => root.render(strict ? h(StrictMode, null, element) : element);
  draw(element);
  return { place, root, draw };
}

async function until(fits) {
  while (!fits()) await new Promise((resolve) => setImmediate(resolve));
}
const text = (place, wanted) => until(() => place.textContent === wanted);

/** A source that counts what is begun and ended with it. */
function counted(source) {
  const seen = { live: 0, run: 0, listens: 0 };
  const { live, run, store } = source;
  const listen = store.listen.bind(store);
  source.live = (...given) => {
    seen.live += 1;
    const end = live.call(source, ...given);
    return () => void ((seen.live -= 1), end());
  };
  source.run = (id) => void (seen.run += 1) || run.call(source, id);
  store.listen = (listener) => {
    seen.listens += 1;
    const end = listen(listener);
    return () => void ((seen.listens -= 1), end());
  };
  return seen;
}

function One({ source, id, seen = [] }) {
  const now = useRun(source, id);
  seen.push(now);
  return `${now.run?.id ?? "none"} ${now.status} ${now.error?.name ?? now.error?.message ?? ""}`;
}

function Many({ source, filter }) {
  const { runs, error } = useRuns(source, filter);
  return `${runs.map(({ job, status }) => `${job} ${status}`).join(", ")}${error ? ` ${error.name}` : ""}`;
}

test("a run is shown as it is, and as it becomes", async () => {
  const run = await tab.trigger("job", 1);
  const { place } = shown(h(One, { source: tab, id: run.id }));
  await text(place, `${run.id} PENDING `);
  await tab.cancel(run.id);
  await text(place, `${run.id} CANCELLED `);
});

test("while nothing changes the snapshot is the same object, also for others who ask", async () => {
  const run = await tab.trigger("job", 1);
  const [first, second] = [[], []];
  const { place, draw } = shown(h(Fragment, null, h(One, { source: tab, id: run.id, seen: first }), h(One, { source: tab, id: run.id, seen: second })));
  await until(() => first.at(-1)?.status === "PENDING" && second.at(-1)?.status === "PENDING");
  assert.equal(first.at(-1), second.at(-1));
  const before = first.at(-1);
  const drawn = first.length;
  draw(h(Fragment, null, h(One, { source: tab, id: run.id, seen: first }), h(One, { source: tab, id: run.id, seen: second })));
  await until(() => first.length > drawn);
  await tab.trigger("other", 2); // nothing of this run's
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(first.at(-1), before);
  assert.equal(place.textContent, `${run.id} PENDING ${run.id} PENDING `);
});

test("many components share one reader, which ends with the last of them, in StrictMode too", async () => {
  const seen = counted(tab);
  const listening = seen.listens;
  const run = await tab.trigger("job", 1);
  const filter = { job: "job" };
  const all = (count) =>
    h(Fragment, null, ...Array.from({ length: count }, (_, key) => [
      h(One, { key: `one ${key}`, source: tab, id: run.id }), h(Many, { key: `many ${key}`, source: tab, filter: { ...filter } }),
    ]).flat());
  const { place, draw, root } = shown(all(3));
  await text(place, `${run.id} PENDING job PENDING`.repeat(3));
  assert.deepEqual([seen.run, seen.live], [1, 1]);
  draw(all(1));
  await text(place, `${run.id} PENDING job PENDING`);
  assert.deepEqual([seen.run, seen.live], [1, 1]);
  root.unmount();
  await until(() => seen.live === 0 && seen.listens === listening);
  const again = shown(all(1));
  await text(again.place, `${run.id} PENDING job PENDING`);
  assert.deepEqual([seen.run, seen.live], [2, 1]);
});

test("a list follows its filter, and tells of a source that is down", async () => {
  await tab.trigger("a", 1);
  const { place, draw } = shown(h(Many, { source: tab, filter: { job: "a" } }));
  await text(place, "a PENDING");
  const second = await tab.trigger("a", 1);
  await text(place, "a PENDING, a PENDING");
  await tab.cancel(second.id);
  await text(place, "a CANCELLED, a PENDING");
  draw(h(Many, { source: tab, filter: { job: "a", status: ["CANCELLED"] } }));
  await text(place, "a CANCELLED");
  draw(h(Many, { source: tab, filter: { cursor: "nonsense" } }));
  await text(place, " InvalidOption");
  draw(h(Many, { source: null, filter: {} }));
  await text(place, "");
});

test("another run, no run, one that isn't there, and one that is deleted", async () => {
  const [a, b] = [await tab.trigger("job", 1), await tab.trigger("job", 2)];
  const { place, draw } = shown(h(One, { source: tab, id: a.id }));
  await text(place, `${a.id} PENDING `);
  draw(h(One, { source: tab, id: b.id }));
  await text(place, `${b.id} PENDING `);
  draw(h(One, { source: tab, id: null }));
  await text(place, "none null ");
  draw(h(One, { source: tab, id: "nobody" }));
  await text(place, "nobody null RunNotFound");
  draw(h(One, { source: tab, id: b.id }));
  await text(place, `${b.id} PENDING `);
  await tab.cancel(b.id);
  await text(place, `${b.id} CANCELLED `);
  await tab.delete(b.id);
  await text(place, `${b.id} CANCELLED RunNotFound`);
});

test("a job is started from a component", async () => {
  let act;
  function Start({ job }) {
    const { trigger, run, status, error } = useJob(tab, job);
    act = trigger;
    return `${run?.job} ${status} ${error?.name ?? ""}`;
  }
  const { place, draw } = shown(h(Start, { job: "job" }));
  await text(place, "undefined null ");
  const first = act;
  const run = await act({ n: 1 }, { tags: ["from react"] });
  await text(place, "job PENDING ");
  assert.equal(act, first); // a stable function
  assert.deepEqual([run.payload, run.row.tags], [{ n: 1 }, '["from react"]']);
  await tab.cancel(run.id);
  await text(place, "job CANCELLED ");
  assert.equal(await act(() => 1), null);
  await text(place, "undefined null NotSerializable");
  await Promise.all([act(1), act(2)]); // the last one counts
  await text(place, "job PENDING ");
  draw(h(Start, { job: "other" }));
  await text(place, "undefined null ");
});

test("on a server nothing is shown yet, and the page takes over from there", async () => {
  const run = await tab.trigger("job", 1);
  const seen = counted(tab);
  const page = h(StrictMode, null, h("p", null, h(One, { source: tab, id: run.id })), h("p", null, h(Many, { source: tab })));
  const html = renderToString(page);
  assert.equal(html, "<p>none null </p><p></p>");
  assert.deepEqual([seen.run, seen.live], [0, 0]);
  const place = document.body.appendChild(document.createElement("div"));
  place.innerHTML = html;
  roots.push(hydrateRoot(place, page));
  await text(place, `${run.id} PENDING job PENDING`);
});

test("two components never show two states of one run", async () => {
  const run = await tab.trigger("job", 1);
  const torn = [];
  let begin;
  function Slow({ depth }) {
    const { status } = useRun(tab, run.id);
    const until = performance.now() + 3;
    while (performance.now() < until);
    return h(Fragment, null, h("i", null, String(status)), depth ? h(Slow, { depth: depth - 1 }) : null);
  }
  function All() {
    const [depth, set] = useState(1);
    begin = set;
    return h(Slow, { depth });
  }
  const { place } = shown(h(All), false);
  const look = () => {
    const states = new Set([...place.querySelectorAll("i")].map((one) => one.textContent));
    if (states.size > 1) torn.push([...states]);
  };
  await text(place, "PENDINGPENDING");
  startTransition(() => begin(30));
  const cancelled = tab.cancel(run.id);
  await until(() => {
    look();
    return place.textContent === "CANCELLED".repeat(31);
  });
  await cancelled;
  assert.deepEqual(torn, []);
});
