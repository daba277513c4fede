/** What the browser does with a page, event by event, in the orders that browsers have. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { follow, mustRest, next } from "../../web/lifecycle.mjs";

// state: [event, visibility, state after]
const TABLE = {
  visible: [
    ["visible", "visible", "visible"],
    ["hidden", "hidden", "hidden"],
    ["freeze", "hidden", "frozen"],
    ["resume", "visible", "visible"],
    ["resume", "hidden", "hidden"],
    ["pagehide", "visible", "leaving"],
    ["pageshow", "visible", "visible"],
    ["pageshow", "hidden", "hidden"],
  ],
  hidden: [
    ["visible", "visible", "visible"],
    ["hidden", "hidden", "hidden"],
    ["freeze", "hidden", "frozen"],
    ["resume", "visible", "visible"],
    ["resume", "hidden", "hidden"],
    ["pagehide", "hidden", "leaving"],
    ["pageshow", "visible", "visible"],
    ["pageshow", "hidden", "hidden"],
  ],
  frozen: [
    ["visible", "visible", "visible"],
    ["hidden", "hidden", "frozen"],
    ["freeze", "hidden", "frozen"],
    ["resume", "visible", "visible"],
    ["resume", "hidden", "hidden"],
    ["pagehide", "hidden", "leaving"],
    ["pageshow", "visible", "visible"],
    ["pageshow", "hidden", "hidden"],
  ],
  leaving: [
    ["visible", "visible", "visible"],
    ["hidden", "hidden", "leaving"],
    ["freeze", "hidden", "leaving"],
    ["resume", "visible", "visible"],
    ["resume", "hidden", "hidden"],
    ["pagehide", "hidden", "leaving"],
    ["pageshow", "visible", "visible"],
    ["pageshow", "hidden", "hidden"],
  ],
};

for (const [state, row] of Object.entries(TABLE)) {
  for (const [event, visibility, after] of row) {
    test(`${state}, ${event} (${visibility}): ${after}`, () => assert.equal(next(state, event, visibility), after));
  }
}

test("a page rests while it is frozen or leaves", () => {
  assert.deepEqual(Object.keys(TABLE).map(mustRest), [false, false, true, true]);
});

/** A page as `follow` sees it, and what it was told. */
function followed(visibilityState = "visible") {
  const page = Object.assign(new EventTarget(), { visibilityState });
  const view = new EventTarget();
  const heard = [];
  const onchange = (state, before, { event, away }) => heard.push([event, before, state, away]);
  const following = follow({ onchange }, page, view);
  const say = (...names) => {
    for (const name of names) {
      if (name === "visible" || name === "hidden") page.visibilityState = name;
      const target = name.startsWith("page") ? view : page;
      target.dispatchEvent(new Event(name === page.visibilityState ? "visibilitychange" : name));
    }
    return heard.map(([event, before, state]) => `${event}: ${before}, ${state}`);
  };
  return { ...following, heard, say };
}

for (const [name, events, expected] of [
  [
    "Chromium: hidden, frozen and shown again",
    ["hidden", "freeze", "resume", "visible"],
    ["visibilitychange: visible, hidden", "freeze: hidden, frozen", "resume: frozen, hidden", "visibilitychange: hidden, visible"],
  ],
  [
    "Chromium: into the back/forward cache and out of it",
    ["pagehide", "hidden", "freeze", "resume", "visible", "pageshow"],
    ["pagehide: visible, leaving", "resume: leaving, hidden", "visibilitychange: hidden, visible"],
  ],
  [
    "Firefox: into that cache and out of it, with no event but these",
    ["pagehide", "hidden", "visible", "pageshow"],
    ["pagehide: visible, leaving", "visibilitychange: leaving, visible"],
  ],
  [
    "out of that cache behind another window",
    ["pagehide", "hidden", "pageshow"],
    ["pagehide: visible, leaving", "pageshow: leaving, hidden"],
  ],
  [
    "a page that is frozen may leave",
    ["hidden", "freeze", "pagehide"],
    ["visibilitychange: visible, hidden", "freeze: hidden, frozen", "pagehide: frozen, leaving"],
  ],
  ["hidden comes after frozen", ["freeze", "hidden"], ["freeze: visible, frozen"]],
  ["shown without a resume", ["hidden", "freeze", "visible"], [
    ...["visibilitychange: visible, hidden", "freeze: hidden, frozen", "visibilitychange: frozen, visible"],
  ]],
  ["a page that was just loaded", ["pageshow"], []],
]) {
  test(name, () => {
    const page = followed();
    assert.deepEqual(page.say(...events), expected);
    page.stop();
  });
}

test("a page that begins hidden", () => {
  const page = followed("hidden");
  assert.equal(page.state(), "hidden");
  assert.deepEqual(page.say("visible"), ["visibilitychange: hidden, visible"]);
  page.stop();
});

test("it is told before the browser's event ends", () => {
  const page = followed();
  page.say("pagehide"); // dispatchEvent returns when the listeners have
  assert.equal(page.heard.length, 1);
  page.stop();
});

test("the seconds that the page was away", () => {
  mock.timers.enable({ apis: ["Date"], now: 1000 });
  const page = followed();
  page.say("hidden");
  mock.timers.tick(7_000);
  page.say("freeze");
  mock.timers.tick(90_000);
  page.say("pagehide");
  mock.timers.tick(10_500);
  page.say("resume", "visible");
  assert.deepEqual(page.heard.map(([event, , , away]) => [event, away]), [
    ...[["visibilitychange", 0], ["freeze", 0], ["pagehide", 0], ["resume", 100.5], ["visibilitychange", 0]],
  ]);
  page.stop();
  mock.timers.reset();
});

test("after stop it hears nothing", () => {
  const page = followed();
  page.stop();
  assert.deepEqual(page.say("hidden", "freeze", "pagehide", "pageshow"), []);
});

test("the last word of a page that freezes comes after all others, also on its way into the back/forward cache", () => {
  const page = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const view = new EventTarget();
  const heard = [];
  follow({ onchange: (state) => heard.push(state), onfreeze: () => heard.push("the last") }, page, view);
  const say = (target, name) => target.dispatchEvent(new Event(name));
  say(page, "freeze");
  say(page, "resume");
  say(view, "pagehide");
  say(page, "freeze");
  assert.deepEqual(heard, ["frozen", "the last", "hidden", "leaving", "the last"]);
});
