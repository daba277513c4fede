/**
 * Calls from Python, a line of JSON each. JSON has too few values: those of JavaScript go both ways as
 * null, true, a text, or [type, data].
 */

import { createInterface } from "node:readline";

import * as moving from "../../web/moving.mjs";
import { problems } from "../../web/schema.mjs";
import * as statuses from "../../web/statuses.mjs";
import { canonical, makeId, newRun, seconds } from "../../web/triggers.mjs";
import { decode, encode } from "../../web/values.mjs";

function told(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") {
    return ["bigint", value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`];
  }
  if (typeof value === "number") {
    if (Number.isNaN(value)) return ["number", "nan"];
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return ["number", bytes.toString("hex")];
  }
  if (Array.isArray(value)) return ["Array", value.map(told)];
  if (value instanceof Date) return ["Date", value.getTime()];
  if (value instanceof Uint8Array) return ["Uint8Array", Buffer.from(value).toString("hex")];
  if (value instanceof Set) return ["Set", [...value].map(told)];
  if (value instanceof Map) return ["Map", [...value].map(([name, item]) => [told(name), told(item)])];
  return ["Object", Object.entries(value).map(([name, item]) => [name, told(item)])];
}

function made(told) {
  if (!Array.isArray(told)) return told;
  const [type, data] = told;
  switch (type) {
    case "undefined":
      return undefined;
    case "bigint":
      return data[0] === "-" ? -BigInt(data.slice(1)) : BigInt(data);
    case "number":
      return data === "nan" ? NaN : Buffer.from(data, "hex").readDoubleBE();
    case "Array":
      return data.map(made);
    case "Date":
      return new Date(data);
    case "Uint8Array":
      return Uint8Array.from(Buffer.from(data, "hex"));
    case "Set":
      return new Set(data.map(made));
    case "Map":
      return new Map(data.map(([name, item]) => [made(name), made(item)]));
    default:
      return Object.fromEntries(data.map(([name, item]) => [name, made(item)]));
  }
}

const verbs = {
  told: (value) => told(made(value)),
  encode: (value) => encode(made(value)),
  decode: (text) => told(decode(text)),
  again: (text) => encode(decode(text)),
  canonical: (parts) => canonical(made(parts)),
  seconds: (value, zero) => seconds(made(value), "x", zero),
  makeId: (moments) => moments.map(makeId),
  problems: (schema, value) => problems(JSON.parse(schema), made(value)),
  statuses: (name) => statuses[name],
  moving: (name) => moving[name],
  readDocument: (text) => moving.read(text),
  firstRow: (run) => statuses.firstRow(run),
  newRun: (given) => newRun({ ...given, payload: made(given.payload), options: made(given.options) }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...given] = JSON.parse(line);
  let answer;
  try {
    answer = { result: verbs[verb](...given) };
  } catch (error) {
    answer = { error: { name: error.name, message: error.message, fields: { ...error } } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
