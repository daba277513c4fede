/** Durations, moments, names and keys as a page writes them, read into plain values or refused by name. */

import { described } from "./brief.mjs";
import { DurableError } from "./statuses.mjs";
import { numberText } from "./values.mjs";

const LONGEST = 1000 * 366 * 86_400;
const MAX_KEY_BYTES = 1024;
const MAX_NAME = 200;
const MAX_TAGS = 50;
const UNITS = { w: 604_800, d: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 };
const PATTERN = Object.keys(UNITS).map((unit) => `(?:(\\d+(?:\\.\\d+)?)${unit})?`);
const DURATION = new RegExp(`^${PATTERN.join("")}$`);
const PRINTABLE = /^(?: |[^\p{C}\p{Z}])+$/u;

/** An option has a value that it can't have; the message names the option. */
export class InvalidOption extends DurableError {
  /** @param {string} option @param {string} detail */
  constructor(option, detail) {
    super(`${option}: ${detail}`);
    Object.assign(this, { option, detail });
  }
}

/**
 * The seconds of a duration: a number of seconds, or text such as `"90s"`, `"1h30m"`, `"250ms"`.
 * @param {unknown} value
 * @param {string} option for the `InvalidOption`
 * @param {boolean} [allowZero]
 */
export function seconds(value, option, allowZero = false) {
  let result = value;
  if (typeof value === "string") {
    const found = value && DURATION.exec(value);
    const sizes = Object.values(UNITS);
    if (found) result = found.slice(1).reduce((sum, amount, index) => sum + Number(amount ?? 0) * sizes[index], 0);
  }
  if (typeof result !== "number") {
    const examples = 'use seconds, or text such as "90s", "5m", "24h", "3d", "1h30m", "250ms"';
    throw new InvalidOption(option, `${described(value)} is not a duration; ${examples}`);
  }
  if (!(allowZero ? result >= 0 : result > 0)) {
    throw new InvalidOption(option, `must be ${allowZero ? "zero or more" : "more than zero"}, got ${described(value)}`);
  }
  if (result > LONGEST) throw new InvalidOption(option, `must be at most 1,000 years, got ${described(value)}`);
  return result + 0; // -0 is 0
}

/** The same, or null for null. @param {unknown} value @param {string} option */
export const optionalSeconds = (value, option) => (value === null ? null : seconds(value, option));

/** @param {unknown} value @param {string} option @param {string[]} choices */
export function oneOf(value, option, choices) {
  if (choices.includes(/** @type {any} */ (value))) return;
  throw new InvalidOption(option, `expected one of ${choices.join(", ")}, got ${described(value)}`);
}

/** The epoch seconds of a Date, or of such seconds. @param {unknown} value @param {string} option */
export function moment(value, option) {
  const result = value instanceof Date ? value.getTime() / 1000 : value;
  if (typeof result === "number" && Math.abs(result) <= LONGEST) return result;
  throw new InvalidOption(option, `expected a Date or epoch seconds, got ${described(value)}`);
}

/** A name of a job or a queue. @param {unknown} value @param {string} option */
export function nameOf(value, option) {
  if (typeof value === "string" && PRINTABLE.test(value) && [...value].length <= MAX_NAME) return value;
  const wanted = `expected printable text of 1 to ${MAX_NAME} characters`;
  throw new InvalidOption(option, `${wanted}, got ${described(value)}`);
}

/** Tags as JSON text, each once. @param {any} tags */
export function tagsText(tags) {
  const names = typeof tags === "string" ? [tags, null] : [...new Set(tags?.[Symbol.iterator] ? tags : [null])];
  const fits = (/** @type {unknown} */ name) =>
    typeof name === "string" && PRINTABLE.test(name) && [...name].length <= MAX_NAME;
  if (names.length <= MAX_TAGS && names.every(fits)) {
    const text = names.sort().map((name) => JSON.stringify(name));
    return `[${text.join(", ")}]`;
  }
  const wanted = `at most ${MAX_TAGS} printable texts of 1 to ${MAX_NAME} characters`;
  throw new InvalidOption("tags", `expected a list of ${wanted}, got ${described(tags)}`);
}

/**
 * A trigger's key as JSON text: a string, or an Array of strings, numbers, booleans and nulls. Equal
 * parts give Python's own text: a number is its `float` unless whole and below 2^53, a BigInt its `int`.
 * @param {unknown} parts
 * @param {string} [option]
 */
export function canonical(parts, option = "idempotencyKey") {
  if (typeof parts !== "string" && !Array.isArray(parts)) {
    throw new InvalidOption(option, `expected a string or a list of parts, got ${described(parts)}`);
  }
  if (!parts.length) throw new InvalidOption(option, "must not be empty");
  const text = typeof parts === "string" ? part(parts) : `[${Array.from(parts, part)}]`;
  const size = new TextEncoder().encode(text).length;
  if (size <= MAX_KEY_BYTES) return text;
  throw new InvalidOption(option, `has ${size} bytes as JSON; at most ${MAX_KEY_BYTES} are allowed; hash long parts`);

  /** @param {unknown} value @param {number} [index] @returns {string} */
  function part(value, index) {
    if (typeof value === "string" && !/\p{Cs}/u.test(value)) return JSON.stringify(value);
    if (typeof value === "number" && Number.isFinite(value)) return numberText(value);
    if (value === null || typeof value === "boolean" || typeof value === "bigint") return String(value);
    const wanted = "expected well-formed text, a finite number, a boolean or null";
    throw new InvalidOption(option, `${index === undefined ? "" : `part ${index}: `}${wanted}, got ${described(value)}`);
  }
}
