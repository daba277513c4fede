/** Server-sent events: parsed however they are cut, and read on after whatever breaks. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { page } from "./page.mjs";
import { chance } from "../http/server.mjs";

const { EventParser, follow } = await import("../../web/event-stream.mjs");

Object.assign(globalThis, {
  addEventListener: (...given) => window.addEventListener(...given),
  removeEventListener: (...given) => window.removeEventListener(...given),
});

const bytes = (text) => new TextEncoder().encode(text);

/** @param {Uint8Array[]} chunks */
function parse(chunks) {
  const parser = new EventParser();
  return { parser, events: chunks.flatMap((chunk) => [...parser.push(chunk)]) };
}

test("whatever a stream has, and wherever it is cut, the same events come of it", () => {
  const random = chance(20_261_122);
  const any = (...values) => values[Math.floor(random() * values.length)];
  const words = ["", "a", " two words", "é😀\u2028", "data: x", ":", "{\"a\":[1]}", "\ufeff", "x".repeat(300)];
  let cuts = 0;
  for (let round = 0; round < 400; round += 1) {
    let text = any("", "\ufeff");
    // A CR and an LF that meet are one end of a line, not two.
    const line = (content = "") => {
      const after = content || text.at(-1) !== "\r";
      text += content + (after ? any("\n", "\r", "\r\n") : any("\r", "\r\n"));
    };
    let [id, retry] = ["", null];
    const expected = [];
    for (let count = Math.floor(random() * 8); count >= 0; count -= 1) {
      const data = Array.from({ length: Math.floor(random() * 4) }, () => any(...words));
      const [type, next] = [any("", "event", "run"), any(null, "", `${round}-${count}`)];
      if (any(true, false)) line(": still here");
      if (type) line(`event: ${type}`);
      if (next !== null) line(`id: ${next}`);
      for (const odd of any([], ["id: nul\0", "odd", "retry: 1x", ":"])) line(odd);
      if (any(true, false)) line(`retry: ${(retry = round)}`);
      for (const one of data) line(`data${one ? `: ${one}` : any("", ":")}`);
      line();
      id = next ?? id;
      if (data.length) expected.push({ type: type || "message", data: data.join("\n"), id });
    }
    const whole = bytes(`${text}data: not whole`);
    const chunks = [];
    const most = any(2, 8, 60, 5000);
    for (let from = 0; from < whole.length; ) {
      const size = Math.floor(random() * most);
      chunks.push(whole.slice(from, from + size));
      from += size;
      cuts += 1;
    }
    const { events, parser } = parse(chunks);
    assert.deepEqual(events, expected);
    assert.deepEqual([parser.id, parser.retry], [id, retry]);
  }
  assert(cuts > 50_000);
});

test("an id counts once its event is whole", () => {
  const { parser } = parse([bytes("id: 1\ndata: x\n\nid: 2\ndata: y\n")]);
  assert.equal(parser.id, "1");
});

// Reading on

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

const settled = async () => {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A reader of streams that the test opens, feeds and breaks; `pauses` is without jitter. */
function reading({ broken = () => false } = {}) {
  mock.method(Math, "random", () => 1);
  const ended = new AbortController();
  const seen = { lasts: [], told: [], errors: [], opened: 0, streams: [] };
  let answer = () => Promise.reject(new Error("down"));
  const done = follow({
    signal: ended.signal,
    connect(last, signal) {
      seen.lasts.push(last);
      return answer(signal);
    },
    told({ data }) {
      seen.told.push(data);
      return data === "end";
    },
    broken(error) {
      seen.errors.push(error.message);
      return broken(error);
    },
    opened: () => (seen.opened += 1),
  });
  const up = () => {
    answer = (signal) => {
      const one = { signal, pulls: 0 };
      one.body = new ReadableStream(
        {
          start: (controller) => void (one.controller = controller),
          pull: () => void (one.pulls += 1),
          cancel: () => void (one.cancelled = true),
        },
        { highWaterMark: 0 },
      );
      signal.addEventListener("abort", () => (one.aborted = true));
      seen.streams.push(one);
      return Promise.resolve(one.body);
    };
  };
  const down = () => (answer = () => Promise.reject(new Error("down")));
  const send = async (text) => {
    seen.streams.at(-1).controller.enqueue(bytes(text));
    await settled();
  };
  const passes = async (ms) => {
    mock.timers.tick(ms);
    await settled();
  };
  return Object.assign(seen, { up, down, send, passes, done, ended });
}

test("it goes on after the last event that was whole, after pauses that grow", async () => {
  const one = reading();
  await settled();
  assert.deepEqual(one.lasts, [""]);
  for (const pause of [1000, 2000, 4000, 8000, 10_000, 10_000]) {
    const asked = one.lasts.length;
    await one.passes(pause - 1);
    assert.equal(one.lasts.length, asked);
    await one.passes(1);
    assert.equal(one.lasts.length, asked + 1);
  }
  one.up();
  await one.passes(10_000);
  await one.send("retry: 300\n\nid: 7\ndata: a\n\nid: 8\ndata: b");
  assert.deepEqual([one.told, one.opened], [["a"], 1]);
  one.streams[0].controller.error(new Error("cut"));
  await settled();
  await one.passes(300); // it was there: the pauses begin anew, and as the server says
  assert.equal(one.lasts.at(-1), "7");
  await one.send("id: 8\ndata: b\n\n");
  one.streams[1].controller.close(); // a server that ends its streams ends none of these
  await settled();
  await one.passes(300);
  await one.send("data: end\n\n");
  await one.done;
  assert.deepEqual([one.told, one.lasts.at(-1), one.streams.length], [["a", "b", "end"], "8", 3]);
  assert(one.streams[2].cancelled || one.streams[2].aborted);
  assert.deepEqual(new Set(one.errors), new Set(["down", "cut"]));
});

test("no longer than until the page is looked at, or the network is back", async () => {
  for (const [target, type] of [[page, "visibilitychange"], [window, "online"]]) {
    const one = reading();
    await settled();
    await one.passes(1000);
    const asked = one.lasts.length;
    target.dispatchEvent(new Event(type));
    await settled();
    assert.equal(one.lasts.length, asked + 1, type);
    one.ended.abort();
    await one.done;
  }
});

test("a hidden page waits on", async () => {
  const one = reading();
  await settled();
  page.visibilityState = "hidden";
  page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.equal(one.lasts.length, 1);
  page.visibilityState = "visible";
  one.ended.abort();
  await one.done;
});

test("silence of a minute, or of less on a page that comes back, is a break", async () => {
  const one = reading();
  one.up();
  await settled();
  await one.passes(1000);
  for (let i = 0; i < 5; i += 1) {
    await one.passes(59_999);
    await one.send(": still here\n\n");
  }
  assert.equal(one.streams.length, 1);
  await one.passes(60_000);
  assert(one.streams[0].aborted);
  await one.passes(1000);
  assert.equal(one.streams.length, 2);
  await one.passes(20_000);
  page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.equal(one.streams.length, 2);
  await one.passes(1);
  page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert(one.streams[1].aborted);
  assert.deepEqual(one.errors, ["down", "the server was silent for 60 s", "the server was silent for 20 s"]);
  one.ended.abort();
  await one.done;
});

test("it ends when it is told to, while it reads and while it waits, and leaves no listener behind", async () => {
  let listeners = 0;
  for (const target of [page, window]) {
    const { addEventListener, removeEventListener } = target;
    mock.method(target, "addEventListener", (...given) => void (listeners += 1) || addEventListener.apply(target, given));
    mock.method(target, "removeEventListener", (...given) => void (listeners -= 1) || removeEventListener.apply(target, given));
  }
  const one = reading();
  await settled();
  one.ended.abort();
  await one.done;
  const two = reading();
  two.up();
  await settled();
  await two.passes(1000);
  two.ended.abort();
  await two.done;
  assert(two.streams[0].aborted);
  const three = reading({ broken: () => true });
  await three.done;
  assert.deepEqual(three.errors, ["down"]);
  assert.equal(listeners, 0);
});

test("it asks for more when it has told what it has", async () => {
  const one = reading();
  one.up();
  await settled();
  await one.passes(1000);
  const [{ body }] = one.streams;
  assert.equal(one.streams[0].pulls, 1);
  for (let n = 1; n <= 3; n += 1) {
    await one.send(`data: ${n}\n\n`);
    assert.deepEqual([one.told.length, one.streams[0].pulls], [n, n + 1]);
  }
  assert(body.locked);
  one.ended.abort();
  await one.done;
});
