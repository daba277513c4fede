/**
 * Which events match: a filter on the fields of a payload, as data and never as code, by the rules of
 * `durable_lite/matching.py`.
 */

/** @type {Record<string, (value: any, limit: any) => boolean>} */
const RANGES = { gt: (a, b) => a > b, gte: (a, b) => a >= b, lt: (a, b) => a < b, lte: (a, b) => a <= b };

/**
 * Whether the payload (plain JSON data) matches the filter of this text.
 * @param {string} text
 * @param {any} payload
 */
export function matches(text, payload) {
  return Object.entries(JSON.parse(text)).every(([path, condition]) => fits(field(payload, path), condition));
}

/** @param {any} payload @param {string} path @returns {any} undefined: there is no such field */
function field(payload, path) {
  for (const name of path.split(".")) {
    if (typeof payload !== "object" || payload === null || Array.isArray(payload) || !Object.hasOwn(payload, name)) return;
    payload = payload[name];
  }
  return payload;
}

/** @param {any} value @param {any} condition @returns {boolean} */
function fits(value, condition) {
  if (value === undefined) return false;
  if (typeof condition !== "object" || condition === null) return value === condition;
  if (condition.in) return condition.in.includes(value);
  return Object.entries(condition).every(([name, limit]) => typeof value === typeof limit && RANGES[name](value, limit));
}
