/** The hooks over a server. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Window } from "happy-dom";

import { Server } from "./server.mjs";

const window = new Window({ url: "https://example.org/" });
Object.assign(globalThis, { window, document: window.document });

const { createElement: h, StrictMode } = await import("react");
const { createRoot } = await import("react-dom/client");
const { openRemote } = await import("../../web/remote.mjs");
const { useJob, useRuns } = await import("../../web/react.mjs");

const server = new Server();
let remote;
before(async () => {
  await server.start();
  remote = await openRemote(server.url);
});
after(async () => {
  await remote.close();
  await server.stop("SIGKILL");
});

test("a component starts a job, shows how far it is and what came of it, and ends its streams", async () => {
  const drawn = [];
  function Squares() {
    const { trigger, status, progress, output } = useJob(remote, "sum_of_squares");
    const { runs } = useRuns(remote, { job: "sum_of_squares" });
    drawn.push([status, progress?.current ?? 0]);
    return h("button", { onClick: () => trigger({ count: 20, pause: "25ms" }) }, `${status} ${output} ${runs.map((run) => run.status)}`);
  }
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  root.render(h(StrictMode, null, h(Squares)));
  const until = async (fits) => {
    while (!fits()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await until(() => place.textContent === "null null ");
  place.querySelector("button").click();
  await until(() => place.textContent === "COMPLETED 2470 COMPLETED");
  const progress = drawn.map(([, current]) => current);
  assert.deepEqual(progress, progress.toSorted((a, b) => a - b)); // never backwards
  assert(new Set(progress).size > 3);
  assert.equal(drawn.at(-1)[1], 20);
  root.unmount();
  await until(() => remote.streams === 0 && remote.watched.size === 0);
});
