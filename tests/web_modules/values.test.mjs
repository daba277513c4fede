/** What can't be stored is refused by its path; a page's hot path is quick. */

import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";

import { decode, encode, NotSerializable } from "../../web/values.mjs";

class Point {
  x = 1;
}
const cycle = { a: [] };
cycle.a.push(cycle);

for (const [name, value, path] of [
  ["undefined", undefined, "$"],
  ["a function", { a: [0, 1, 2, () => 1] }, "$.a[3]"],
  ["a symbol", { "a key": Symbol("x") }, "$['a key']"],
  ["a hole", [1, , 3], "$[1]"], // eslint-disable-line no-sparse-arrays
  ["undefined in an Array", [[undefined]], "$[0][0]"],
  ["an instance", { Größe: [new Point()] }, "$.Größe[0]"],
  ["an Error", new Error("x"), "$"],
  ["a RegExp", [/x/], "$[0]"],
  ["a Promise", { a: Promise.resolve(1) }, "$.a"],
  ["a boxed number", [new Number(1)], "$[0]"],
  ["another typed array", [new Uint16Array(1)], "$[0]"],
  ["an ArrayBuffer", new ArrayBuffer(1), "$"],
  ["a subclass of Map", new (class extends Map {})(), "$"],
  ["a subclass of Date", new (class extends Date {})(), "$"],
  ["an invalid Date", { at: new Date(NaN) }, "$.at"],
  ["a Date before year 1", new Date(Date.UTC(-1, 0)), "$"],
  ["a Date after year 9999", new Date(Date.UTC(10_000, 0)), "$"],
  ["an object in a Set", { s: new Set([{}]) }, "$.s[0]"],
  ["a Map as a key", new Map([[new Map(), 1]]), "$[Map]"],
  ["a bad value of a Map", new Map([[3, Symbol()]]), "$[3]"],
  ["an object with a toJSON", { toJSON: () => 1 }, "$.toJSON"],
]) {
  test(`refused: ${name}`, () => {
    assert.throws(() => encode(value, "payload of x"), (error) => {
      assert(error instanceof NotSerializable);
      assert.equal(error.name, "NotSerializable");
      assert.equal(error.path, path);
      assert.match(error.message, /^payload of x: \$/);
      return true;
    });
  });
}

test("a cycle", () => {
  assert.throws(() => encode(cycle), /nested too deeply \(more than 200 levels\), or holds itself/);
});

test("a long name or value makes no long message", () => {
  assert.throws(() => encode({ ["k".repeat(9999)]: Symbol("s".repeat(9999)) }), ({ message }) => message.length < 250);
});

test("plain objects of another window or without a prototype", () => {
  assert.equal(encode(vm.runInNewContext("({a: [1, {b: null}]})")), '{"a":[1,{"b":null}]}');
  assert.equal(encode(Object.assign(Object.create(null), { a: 1 })), '{"a":1}');
});

test("the text is that of Python's codec", () => {
  assert.equal(encode(new Date("2025-03-01T09:30:00Z")), '{"$":"datetime","v":"2025-03-01T09:30:00+00:00"}');
  assert.equal(encode(new Date(1.5)), '{"$":"datetime","v":"1970-01-01T00:00:00.001000+00:00"}');
  assert.equal(encode(new Set([3, 1, 2])), '{"$":"set","v":[1,2,3]}');
  assert.equal(encode([NaN, -Infinity]), '[{"$":"float","v":"nan"},{"$":"float","v":"-inf"}]');
  assert.equal(encode(new Map([[[1], "a"]])), '{"$":"map","v":[[{"$":"tuple","v":[1]},"a"]]}');
});

test("without the source a long integer is the nearest number", () => {
  const parse = JSON.parse;
  JSON.parse = (text, reviver) => parse(text, reviver && ((key, value) => reviver(key, value)));
  try {
    assert.deepEqual(decode("[12345678901234567891, 1]"), [12345678901234567891, 1]);
  } finally {
    JSON.parse = parse;
  }
});
