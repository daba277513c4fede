/**
 * Values to the text that Python's codec reads, and back. JavaScript has fewer types than Python:
 *
 * - A whole number is an `int` for Python, also 1.0 and -0; from 2^53 on, where it is no longer exact, a
 *   `float`. A BigInt is always an `int`.
 * - Python's `tuple` comes back as an Array, its `frozenset` as a Set, a `timedelta` as seconds, and a
 *   `date`, `Decimal`, `UUID` or `datetime` without a zone as text; of a `datetime` its milliseconds.
 * - A dataclass or model comes back as an object of its fields, an Enum as its member's name.
 * - An integer beyond 2^53 comes back as a BigInt. Written as digits it can be told from a number only
 *   where `JSON.parse` shows its reviver the source; an older browser gives the nearest number.
 */

import { described, field } from "./brief.mjs";
import { DurableError } from "./statuses.mjs";

const MAX_DEPTH = 200; // levels of JSON, where a tag is a level too
const LONG = 1n << 2000n; // Python reads decimal text only up to a limit

/** Where a value is inside another; the outermost is named by what it is for. @typedef {{up: Place | null, name: any}} Place */

/** A value can't be stored, or a stored one can't be read; `path` says where, such as `$.rows[3].when`. */
export class NotSerializable extends DurableError {
  /** @param {string} key what the value is for @param {string} path @param {string} detail */
  constructor(key, path, detail) {
    super(`${key}: ${path}: ${detail}`);
    Object.assign(this, { key, path, detail });
  }
}

/** @param {Place} place @param {string} detail */
function refused(place, detail) {
  let path = "";
  for (; place.up; place = place.up) path = field(place.name) + path;
  return new NotSerializable(place.name, `$${path}`, detail);
}

/**
 * The text of a value: plain JSON, and whatever `decode` gives. A property that is undefined is left out.
 * Inside a Set, and as a key of a Map, an Array is a `tuple`: Python could hold no `list` there.
 * @param {unknown} value
 * @param {string} [key] what it is for, in the `NotSerializable`
 */
export const encode = (value, key = "value") => write(value, { up: null, name: key }, MAX_DEPTH, false);

/** A finite number as Python writes it: whole ones below 2^53 as an `int`. @param {number} value */
export function numberText(value) {
  if (Number.isSafeInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e16) return String(value) + (Number.isInteger(value) ? ".0" : "");
  const [digits, sign, power] = value.toExponential().split(/e(.)/);
  return `${digits}e${sign}${power.padStart(2, "0")}`;
}

/** @param {string} kind @param {string} text */
const tag = (kind, text) => `{"$":"${kind}","v":${text}}`;

/**
 * @param {any} value
 * @param {Place} up
 * @param {number} depth
 * @param {boolean} hashed where Python needs a value with a hash
 * @returns {string}
 */
function write(value, up, depth, hashed) {
  if (typeof value === "string") return JSON.stringify(value); // writes half of a pair as an escape
  if (typeof value === "boolean" || value === null) return String(value);
  if (typeof value === "number") {
    if (Number.isFinite(value)) return numberText(value);
    return tag("float", `"${String(value).toLowerCase().replace("inity", "")}"`);
  }
  if (typeof value === "bigint") {
    const size = value < 0n ? -value : value;
    return size < LONG ? String(value) : tag("int", `"${value < 0n ? "-" : ""}0x${size.toString(16)}"`);
  }
  if (typeof value !== "object") throw refused(up, `${described(value)} can't be stored`);
  if (depth <= 0) throw refused(up, `nested too deeply (more than ${MAX_DEPTH} levels), or holds itself`);
  if (Array.isArray(value)) {
    const text = `[${items(value, up, hashed ? depth - 2 : depth - 1, hashed)}]`;
    return hashed ? tag("tuple", text) : text;
  }
  switch (Object.getPrototypeOf(value)) {
    case Date.prototype:
      return tag("datetime", moment(value, up));
    case Uint8Array.prototype: {
      let text = "";
      for (const byte of value) text += String.fromCharCode(byte);
      return tag("bytes", `"${btoa(text)}"`);
    }
    case Set.prototype:
      return tag(hashed ? "frozenset" : "set", `[${items(value, up, depth - 2, true).sort()}]`);
  }
  if (hashed) throw refused(up, `${described(value)} can't be in a Set or a key: Python has no hash of it`);
  if (Object.getPrototypeOf(value) === Map.prototype) {
    const pairs = [...value].map(([name, item]) => {
      const place = { up, name };
      return `[${write(name, place, depth - 3, true)},${write(item, place, depth - 3, false)}]`;
    });
    return tag("map", `[${pairs}]`);
  }
  return object(value, up, depth);
}

/**
 * @param {Iterable<any>} values
 * @param {Place} up
 * @param {number} depth
 * @param {boolean} hashed
 */
function items(values, up, depth, hashed) {
  return Array.from(values, (item, name) => write(item, { up, name }, depth, hashed)); // a hole is undefined
}

/** @param {any} value @param {Place} up @param {number} depth */
function object(value, up, depth) {
  const prototype = Object.getPrototypeOf(value);
  // Another window's Object is as plain as ours.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const hint = typeof value.then === "function" ? "await it first" : "use plain values";
    throw refused(up, `${described(value)} can't be stored as JSON: ${hint}`);
  }
  const names = Object.keys(value);
  const wrapped = names.includes("$");
  let text = "";
  for (const name of names) {
    const item = value[name];
    if (item === undefined) continue;
    const part = write(item, { up, name }, wrapped ? depth - 2 : depth - 1, false);
    text += `${text && ","}${JSON.stringify(name)}:${part}`;
  }
  return wrapped ? tag("dict", `{${text}}`) : `{${text}}`;
}

/** As Python's `isoformat` writes it. @param {Date} date @param {Place} up */
function moment(date, up) {
  const year = date.getUTCFullYear();
  if (!(year >= 1 && year <= 9999)) throw refused(up, "a Date needs a year from 1 to 9999");
  return `"${date.toISOString().replace(/(\.000)?Z/, (_, whole) => (whole ? "" : "000") + "+00:00")}"`;
}

/**
 * The value of a text that `encode`, here or in Python, gave; `NotSerializable` if it can't be read.
 * @param {string} text
 * @param {string} [key] for the error
 * @returns {any}
 */
export function decode(text, key = "stored value") {
  try {
    const plain = /(^|[-:,[\s])\d{16}/.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
    return text.includes('"$"') ? untag(plain) : plain;
  } catch (error) {
    throw new NotSerializable(key, "$", `the stored text can't be read: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {string} _ @param {any} value @param {{source?: string}} [context] */
function exact(_, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return context?.source && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

/** @type {Record<string, (data: any) => any>} */
const LOADS = {
  tuple: untag,
  set: (data) => new Set(untag(data)),
  frozenset: (data) => new Set(untag(data)),
  map: (data) => new Map(untag(data)),
  dict: fields,
  bytes: (data) => Uint8Array.from(atob(data), (char) => char.charCodeAt(0)),
  datetime: (data) => date(typeof data === "string" ? data : data.at),
  date: String,
  timedelta: ([days, seconds, micros]) => days * 86_400 + seconds + micros / 1e6,
  decimal: String,
  uuid: String,
  float: (data) => Number(data.replace("inf", "Infinity")),
  int: (data) => (data[0] === "-" ? -BigInt(data.slice(1)) : BigInt(data)),
  str: (data) => data.join(""),
};

/** @param {any} tree @returns {any} */
function untag(tree) {
  if (typeof tree !== "object" || tree === null) return tree;
  if (Array.isArray(tree)) return tree.map(untag);
  if (!Object.hasOwn(tree, "$")) return fields(tree);
  const { $: kind, v } = tree;
  const load = Object.hasOwn(LOADS, kind) ? LOADS[kind] : kind.includes(":") && untag; // the class is Python's
  if (!load || v === undefined) throw new Error(`it has a tag that this version doesn't know: ${kind}`);
  return load(v);
}

/** @param {any} tree */
function fields(tree) {
  return Object.fromEntries(Object.entries(tree).map(([name, item]) => [name, untag(item)]));
}

/** A Date, or the text itself where no zone is in it. @param {string} text */
function date(text) {
  // Python's offsets may have seconds, and its seconds six digits: no browser is bound to read those.
  const [, local, sign, hours, minutes, seconds] = /^(.*)([+-])(\d\d):(\d\d):?([\d.]*)$/.exec(text) ?? [];
  if (!local) return text.endsWith("Z") ? new Date(text) : text;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds);
  return new Date(Date.parse(`${local.slice(0, 23)}Z`) - Number(`${sign}1000`) * offset);
}
