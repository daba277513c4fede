/** A stored value as a tree that opens and closes: text only, and of what is large a part until all is asked for. */

import { html, useMemo, useState } from "./html.mjs";
import { number } from "./words.mjs";

const ITEMS = 50; // of an array or object, at first
const LETTERS = 400; // of a text, at first
const OPEN = 2; // levels
const SMALL = 120; // characters, in which a value fits on a line

/** A number that JavaScript can't hold, as it is written. */
class Written {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** @param {string} _ @param {any} value @param {{source?: string}} [context] */
function exact(_, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !context?.source) return value;
  return Number(context.source) === value && String(value) === context.source ? value : new Written(context.source);
}

/** @param {string} text @returns {{value?: any, plain?: string}} */
function parsed(text) {
  try {
    return { value: JSON.parse(text, exact) };
  } catch {
    return { plain: text };
  }
}

/**
 * @param {{text: string, label: string, say: (text: string) => void}} given
 */
export function Value({ text, label, say }) {
  const { value, plain } = useMemo(() => parsed(text), [text]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`${label} copied`);
    } catch {
      say(`${label} can't be copied here`);
    }
  };
  return html`<div class="value">
    <button type="button" class="copy quiet" onclick=${copy} aria-label=${`Copy ${label.toLowerCase()}`}>Copy</button>
    <div class="json">${plain === undefined ? html`<${Node} value=${value} level=${0} />` : html`<${Text} text=${plain} />`}</div>
  </div>`;
}

/** @param {{value: any, level: number, name?: string}} given */
function Node({ value, level, name }) {
  const label = name === undefined ? null : html`<span class="name">${name}</span><span class="soft">: </span>`;
  if (typeof value === "string") return html`<div class="line">${label}<${Text} text=${value} quoted /></div>`;
  if (value instanceof Written || typeof value !== "object" || value === null) {
    return html`<div class="line">${label}<span class="atom">${value instanceof Written ? value.text : String(value)}</span></div>`;
  }
  const tag = !Array.isArray(value) && typeof value.$ === "string" && "v" in value ? value.$ : null;
  if (tag !== null) {
    if (typeof value.v !== "object" || value.v === null) {
      return html`<div class="line">${label}<span class="kind">${tag} </span><${Text} text=${String(value.v)} /></div>`;
    }
    return html`<${Branch} label=${label} kind=${tag} value=${value.v} level=${level} />`;
  }
  return html`<${Branch} label=${label} kind="" value=${value} level=${level} />`;
}

/** @param {{label: any, kind: string, value: any, level: number}} given */
function Branch({ label, kind, value, level }) {
  const list = Array.isArray(value);
  const keys = Object.keys(value);
  const [open, setOpen] = useState(level < OPEN || (level < 6 && keys.length < 4));
  const [most, setMost] = useState(ITEMS);
  const [left, right] = list ? "[]" : "{}";
  const type = kind ? html`<span class="kind">${kind} </span>` : null;
  if (!keys.length) return html`<div class="line">${label}${type}<span class="soft">${left}${right}</span></div>`;
  const brief = short(value);
  const hint = open ? "" : (brief ?? `${left} ${number(keys.length)} … ${right}`);
  return html`<div class="branch">
    <button type="button" class="fold" aria-expanded=${open} onclick=${() => setOpen(!open)}>${label}${type}<span class="soft">${
      open ? `${left}${list ? ` ${number(keys.length)}` : ""}` : hint
    }</span></button>
    ${open &&
    html`<div class="inner">
      ${keys.slice(0, most).map((key) => html`<${Node} key=${key} name=${list ? key : key} value=${value[key]} level=${level + 1} />`)}
      ${keys.length > most &&
      html`<button type="button" class="quiet" onclick=${() => setMost(Infinity)}>Show all ${number(keys.length)}</button>`}
    </div>`}
  </div>`;
}

/** A value on one line, if it fits there. @param {any} value */
function short(value) {
  const keys = Object.keys(value);
  if (keys.length > 8 || keys.some((key) => typeof value[key] === "object" && value[key] !== null)) return null;
  const text = JSON.stringify(value);
  return text.length <= SMALL ? text : null;
}

/** @param {{text: string, quoted?: boolean}} given */
export function Text({ text, quoted = false }) {
  const [all, setAll] = useState(false);
  const cut = !all && text.length > LETTERS;
  const shown = cut ? text.slice(0, LETTERS) : text;
  const mark = quoted ? '"' : "";
  const rest = html`<button type="button" class="quiet" onclick=${() => setAll(true)}>… show all ${number(text.length)} characters</button>`;
  return html`<span class=${quoted ? "text" : ""}>${mark}${shown}${cut ? "" : mark}</span>${cut && rest}`;
}
