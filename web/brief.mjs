/** Values in messages: shown shortly, however large or odd they are. */

/** @param {string} text */
const cut = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

/** A value with its type, as in `got string 'x'`. @param {unknown} value */
export function described(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "object") return value.constructor?.name ?? "object";
  return `${typeof value} ${typeof value === "string" ? `'${cut(value)}'` : cut(String(value))}`;
}

/** A field, an item or a key as a step of a path: `.when`, `[3]`, `['a key']`. @param {unknown} name */
export function field(name) {
  if (typeof name !== "string") return `[${typeof name === "object" ? described(name) : cut(String(name))}]`;
  return /^[\p{L}_][\p{L}\p{N}_]{0,59}$/u.test(name) ? `.${name}` : `['${cut(name)}']`;
}
