/**
 * Whether a value fits a JSON Schema, as far as a job's payload needs it.
 *
 * The claim checks again in Python, so in doubt a value is accepted: keywords that aren't known here, all
 * formats, patterns that JavaScript can't read, duplicates under `uniqueItems` (a Python set drops them)
 * and more than one fit under `oneOf`. Values that only `encode` can write fit where Python takes
 * them: a Date as `date-time`, a Uint8Array as base64, a Set as unique items (not for a `frozenset`,
 * which no schema tells from a `set`), a Map as an object.
 */

import { described, field } from "./brief.mjs";
import { encode } from "./values.mjs";

const MAX_PROBLEMS = 20;

/** @typedef {Record<string, any> | boolean} Schema */
/** One bad field: where it is (`$.pages`) and what is wrong. @typedef {{path: string, message: string}} Problem */

/** @type {Record<string, (value: any, schema: Record<string, any>) => boolean>} */
const TYPES = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  integer: (value) => typeof value === "bigint" || Number.isSafeInteger(value), // a larger one is stored as float
  number: (value) => typeof value === "number" || typeof value === "bigint",
  string: (value, { format, contentEncoding }) =>
    typeof value === "string" ||
    (value instanceof Date && format === "date-time") ||
    (value instanceof Uint8Array && (contentEncoding === "base64" || format === "binary")),
  array: (value, { uniqueItems }) => Array.isArray(value) || (value instanceof Set && uniqueItems === true),
  object: (value) =>
    typeof value === "object" &&
    value !== null &&
    ![Array, Set, Date, Uint8Array].some((type) => value instanceof type),
};

/**
 * What is wrong with a value, at most 20 times.
 * @param {Schema} schema
 * @param {unknown} value
 * @returns {Problem[]}
 */
export function problems(schema, value) {
  /** @type {Problem[]} */
  const found = [];
  try {
    new Check(schema, found).value(schema, value, "$");
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return [{ path: "$", message: "nested too deeply" }];
  }
  return found.slice(0, MAX_PROBLEMS);
}

class Check {
  /** @param {Schema} root @param {Problem[]} found */
  constructor(root, found) {
    this.root = root;
    this.found = found;
  }

  /** @param {Schema} s @param {any} value @param {string} path @returns {void} */
  value(s, value, path) {
    if (s === false) this.add(path, "is not allowed");
    if (this.found.length >= MAX_PROBLEMS || typeof s !== "object" || !s) return;
    if (s.$ref) this.value(this.resolve(s.$ref), value, path);
    for (const part of s.allOf ?? []) this.value(part, value, path);
    for (const members of [s.anyOf, s.oneOf]) if (members) this.either(members, value, path);
    const types = [s.type ?? []].flat();
    const known = choices(s);
    if (
      (types.length && !types.some((type) => TYPES[type]?.(value, s) ?? true)) ||
      (known && !known.some((one) => one === value || encode(one) === encode(value)))
    ) {
      this.add(path, `expected ${label(s)}, got ${described(value)}`);
    } else if (typeof value === "string") this.text(s, value, path);
    else if (TYPES.number(value, s)) this.number(s, value, path);
    else if (Array.isArray(value) || value instanceof Set) this.items(s, [...value], path);
    else if (TYPES.object(value, s)) this.fields(s, value, path);
  }

  /** @param {string} path @param {string} message @param {boolean} [bad] */
  add(path, message, bad = true) {
    if (bad) this.found.push({ path, message });
  }

  /** @param {string} ref @returns {any} */
  resolve(ref) {
    /** @type {any} */
    let part = this.root;
    for (const name of ref.split("/").slice(1)) {
      part = part?.[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    return ref[0] === "#" ? part : true;
  }

  /** @param {Schema[]} members @param {any} value @param {string} path */
  either(members, value, path) {
    const trials = [];
    for (const member of members) {
      const trial = new Check(this.root, []);
      trial.value(member, value, path);
      if (!trial.found.length) return;
      trials.push(trial.found);
    }
    // It is meant for the only member that it fits at least outside: say what is wrong inside.
    const deeper = trials.filter((found) => found.every((problem) => problem.path !== path));
    if (deeper.length === 1) this.found.push(...deeper[0]);
    else this.add(path, `expected ${label({ anyOf: members })}, got ${described(value)}`);
  }

  /**
   * @param {Record<string, any>} s
   * @param {number} size
   * @param {"Length" | "Items" | "Properties"} what
   * @param {string} path
   */
  size(s, size, what, path) {
    const [least, most] = [s[`min${what}`], s[`max${what}`]];
    this.add(path, `its size must be at least ${least}, got ${size}`, size < least);
    this.add(path, `its size must be at most ${most}, got ${size}`, size > most);
  }

  /** @param {Record<string, any>} s @param {string} value @param {string} path */
  text(s, value, path) {
    this.size(s, [...value].length, "Length", path);
    let fits = true;
    try {
      fits = new RegExp(s.pattern ?? "", "u").test(value);
    } catch {
      // not in JavaScript's syntax
    }
    this.add(path, `doesn't match ${s.pattern}`, !fits);
  }

  /** @param {Record<string, any>} s @param {number | bigint} value @param {string} path */
  number(s, value, path) {
    this.add(path, `must be at least ${s.minimum}`, value < s.minimum);
    this.add(path, `must be at most ${s.maximum}`, value > s.maximum);
    this.add(path, `must be more than ${s.exclusiveMinimum}`, value <= s.exclusiveMinimum);
    this.add(path, `must be less than ${s.exclusiveMaximum}`, value >= s.exclusiveMaximum);
  }

  /** @param {Record<string, any>} s @param {any[]} items @param {string} path */
  items(s, items, path) {
    this.size(s, items.length, "Items", path);
    const prefix = s.prefixItems ?? [];
    for (const [index, item] of items.entries()) {
      this.value(index < prefix.length ? prefix[index] : s.items, item, `${path}[${index}]`);
      if (this.found.length >= MAX_PROBLEMS) break;
    }
  }

  /** @param {Record<string, any>} s @param {Record<string, any> | Map<any, any>} value @param {string} path */
  fields(s, value, path) {
    const { properties = {}, additionalProperties = true } = s;
    const entries = value instanceof Map ? [...value] : Object.entries(value).filter(([, item]) => item !== undefined);
    this.size(s, entries.length, "Properties", path);
    for (const [name, item] of entries) {
      const where = path + field(name);
      if ("propertyNames" in s) this.value(s.propertyNames, name, `${where} (the key)`);
      if (typeof name === "string" && Object.hasOwn(properties, name)) this.value(properties[name], item, where);
      else if (s.patternProperties) continue;
      else if (additionalProperties === false) this.add(where, `${s.title ?? "the object"} has no such field`);
      else this.value(additionalProperties, item, where);
      if (this.found.length >= MAX_PROBLEMS) break;
    }
    const names = new Set(entries.map(([name]) => name));
    for (const name of s.required ?? []) this.add(path + field(name), "is missing", !names.has(name));
  }
}

/** @param {Record<string, any>} s @returns {unknown[] | undefined} */
const choices = (s) => s.enum ?? ("const" in s ? [s.const] : undefined);

/** What a schema wants, in a word. @param {any} s @returns {string} */
function label(s) {
  const words = choices(s)?.map((one) => JSON.stringify(one)) ?? (s.anyOf ?? s.oneOf)?.map(label);
  if (s.$ref) return s.$ref.split("/").at(-1);
  return words?.join(" | ") ?? ((s.type === "object" && s.title) || [s.type ?? "another value"].flat().join(" | "));
}
