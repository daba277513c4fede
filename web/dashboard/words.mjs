/** Statuses, times and events in words. */

import { FINAL, TRANSITIONS } from "../statuses.mjs";

export const STATUSES = Object.keys(TRANSITIONS);
export const ACTIVE = STATUSES.filter((one) => !FINAL.includes(one));
/** What ended without a result. */
export const BROKEN = ["FAILED", "TIMED_OUT", "INVALID_PAYLOAD", "UNRESOLVED_AUTH"];

const count = new Intl.NumberFormat("en");
/** @param {number} n */
export const number = (n) => count.format(n);

/** @param {number} n @param {string} one @param {string} [many] */
export const many = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** @param {string} status */
export const word = (status) => status.toLowerCase().replaceAll("_", " ");

/** How long, in two units at most. @param {number} seconds */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 59.5) return `${s < 9.95 ? Number(s.toFixed(1)) : Math.round(s)} s`;
  const whole = Math.round(s);
  const [size, unit, part, name] = /** @type {[number, string, number, string]} */ (
    whole < 3600 ? [60, "min", 1, "s"] : whole < 86_400 ? [3600, "h", 60, "min"] : [86_400, "d", 3600, "h"]
  );
  const rest = Math.floor((whole % size) / part);
  return `${number(Math.floor(whole / size))} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
}

/** @param {number} n @param {number} [places] */
const pad = (n, places = 2) => String(n).padStart(places, "0");

/** The day, as ISO 8601 writes it, here. @param {Date} date */
const day = (date) => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;

/** The time of day. @param {number} at @param {boolean} [exact] with milliseconds */
export function clock(at, exact = false) {
  const date = new Date(at * 1000);
  if (Number.isNaN(date.getTime())) return "–";
  const text = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return exact ? `${text}.${pad(date.getMilliseconds(), 3)}` : text;
}

/** The time of day if it is today, else the day. @param {number} at @param {number} now */
export function when(at, now) {
  const date = new Date(at * 1000);
  if (Number.isNaN(date.getTime())) return "–";
  const text = day(date);
  return text === day(new Date(now * 1000)) ? clock(at) : `${text} ${clock(at).slice(0, 5)}`;
}

/** The whole moment. @param {number | null | undefined} at */
export function moment(at) {
  if (at === null || at === undefined) return "–";
  const date = new Date(at * 1000);
  return Number.isNaN(date.getTime()) ? "–" : `${day(date)} ${clock(at, true)}`;
}

/** @param {number} n */
const ordinal = (n) => `${number(n)}${(n % 100 > 10 && n % 100 < 14) || n % 10 > 3 ? "th" : ["th", "st", "nd", "rd"][n % 10]}`;

/** How far away, in the nearest unit, and in which direction. @param {number} at @param {number} now */
export function away(at, now) {
  const s = Math.abs(at - now);
  const [size, unit] = s < 59.5 * 60 ? [60, "min"] : s < 23.5 * 3600 ? [3600, "h"] : [86_400, "d"];
  const text = s < 59.5 ? span(s) : `${number(Math.max(1, Math.round(s / size)))} ${unit}`;
  return at > now ? `in ${text}` : `${text} ago`;
}

/** JSON text, or what stands for it if it can't be read. @param {string | null | undefined} text @param {any} [otherwise] */
export function read(text, otherwise = null) {
  try {
    return text ? JSON.parse(text) : otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {any} error */
export const failure = (error) => (error ? `${error.type ?? "error"}${error.message ? `: ${error.message}` : ""}` : "");

/** When a schedule ticks, from its stored text. @param {string} spec */
export function ticks(spec) {
  const { cron, tz, every } = read(spec, {});
  if (cron) return `${cron}${tz ? ` (${tz})` : ""}`;
  return typeof every === "number" ? `every ${span(every)}` : spec;
}

/** @type {Record<string, string>} */
const GONE = {
  suspended: "its worker stood still",
  heartbeat: "its worker gave no sign of life",
  "worker gone": "its worker is gone",
};

/** @type {Record<string, (data: any, at: number) => [string, string]>} */
const STORIES = {
  "run.triggered": () => ["", "Stored: from here on it survives its process."],
  "run.claimed": ({ worker, from }) => ["", `${from === "WAITING" ? "It goes on" : "A worker took it"}${worker ? ` (${worker})` : ""}.`],
  "run.stale": ({ reason, heartbeat_at }, at) => [
    "warn",
    `Interrupted: ${GONE[reason] ?? reason}${heartbeat_at ? ` for ${span(at - heartbeat_at)}` : ""}. Any worker may go on with it.`,
  ],
  "run.resumed": (data) => {
    if (!("replayed" in data)) return ["good", "Resumed on request: it goes on from its checkpoints."];
    const gap = data.gap_ms ? ` after ${span(data.gap_ms / 1000)}` : "";
    return ["good", `It went on${gap}: ${many(data.replayed, "step")} answered from checkpoints.`];
  },
  "run.waiting": ({ waits, ready_at }, at) => {
    const names = Array.isArray(waits) ? waits.map((one) => (typeof one === "string" ? one : (one?.path ?? ""))).filter(Boolean) : [];
    const until = ready_at ? `, until ${when(ready_at, at)} at the latest` : "";
    return ["", `It waits${names.length ? ` (${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""})` : ""}${until}, and holds no worker.`];
  },
  "run.retrying": ({ error, attempt, ready_at }, at) => [
    "warn",
    `It failed, and is tried again${ready_at ? ` at ${when(ready_at, at)}` : ""} (attempt ${attempt}): ${failure(error)}`,
  ],
  "run.released": () => ["", "Its worker let go of it in good order."],
  "run.completed": () => ["good", "Done: the output is stored."],
  "run.failed": ({ error }) => ["bad", `It failed: ${failure(error)}`],
  "run.cancelled": () => ["warn", "Cancelled. What is done stays done."],
  "run.timed_out": ({ code }) => ["bad", `Out of time${code ? ` (${word(code)})` : ""}.`],
  "run.expired": () => ["bad", "It expired before it could start."],
  "run.moved": ({ direction }) => ["warn", direction === "out" ? "Handed over: it goes on in another store." : "It came from another store."],
  "step.failed": ({ path, error, failures, retry_at }, at) => [
    retry_at ? "warn" : "bad",
    `Step ${path} failed${failures > 1 ? `, for the ${ordinal(failures)} time` : ""}: ${failure(error)}${retry_at ? `; tried again at ${when(retry_at, at)}` : ""}`,
  ],
};

/**
 * What just happened, and how good that is; null for what the steps tell already.
 * @param {{type: string, at: number, data: any}} event
 * @returns {[string, string] | null}
 */
export function story({ type, at, data }) {
  if (type === "step.completed") return null;
  return Object.hasOwn(STORIES, type) ? STORIES[type](data ?? {}, at) : ["", type];
}
