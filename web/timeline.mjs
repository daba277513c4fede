/** What a run was and did from its creation on, in order of time: the same as `durable_lite/timeline.py`. */

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */
/** @typedef {import("./records.mjs").Moment} Moment */

/**
 * A stored event, whose data is JSON text or what that says.
 * @typedef {{seq: number | null, at: Moment, type: string, data: any}} Told
 */

/**
 * What the run was: a status in small letters, or "gap": nobody was at it, though there was something to do.
 * @typedef {object} Span
 * @property {string} is
 * @property {Moment} from
 * @property {Moment} to
 * @property {string | null} worker
 * @property {number | null} generation
 * @property {number | null} attempt
 * @property {string | null} why
 */

/**
 * @typedef {object} TimelineStep
 * @property {string} path
 * @property {number} depth how many of its ancestors are steps here
 * @property {string | null} title
 * @property {string} kind
 * @property {string} is "completed", "failed", "retrying", "waiting" or "waited"
 * @property {Moment} from
 * @property {Moment | null} to null while it isn't over
 * @property {number} attempt
 * @property {number} failures
 * @property {boolean} kept a later execution of the run answered it from its checkpoint
 * @property {number | null} seq
 * @property {string | null} ref
 */

/**
 * @typedef {object} Timeline
 * @property {Moment} from
 * @property {Moment} to
 * @property {Span[]} spans without holes and overlaps
 * @property {TimelineStep[]} steps by begin, then path
 * @property {{at: Moment, type: string, seq: number, text: string}[]} marks
 */

const SHOWN = 3; // of the waits that a run is suspended in
const LONGEST = 100; // characters of a mark's text
const FINITE = 1e300;
const LATE = 1; // seconds after the end of a wait until it is worth a word that nobody takes the run

/** What a run is after an event that says no more than that. @type {Record<string, string>} */
const AFTER = {
  "run.waiting": "waiting",
  "run.retrying": "waiting",
  "run.completed": "completed",
  "run.failed": "failed",
  "run.cancelled": "cancelled",
  "run.timed_out": "timed_out",
  "run.expired": "expired",
  "run.moved": "moved",
};

/** For what a run that is due has to wait; no event says it. @type {Record<string, string>} */
const HELD = { QUEUED: "queued", WAITING_ON_CONNECTIONS: "waiting_on_connections" };

/** @type {Record<string, string>} */
const WORDS = {
  "run.triggered": "triggered",
  "run.completed": "completed",
  "run.expired": "expired",
  "run.released": "released",
};

/**
 * Of a run with all its steps and stored events. A clock that was set back puts nothing out of order.
 * @param {Run} run
 * @param {Step[]} steps
 * @param {Told[]} events
 * @param {Moment} now
 * @returns {Timeline}
 */
export function timeline(run, steps, events, now) {
  const told = events
    .filter(({ seq }) => typeof seq === "number")
    .map((event) => ({ ...event, seq: event.seq ?? 0, data: parsed(event.data) }))
    .sort((a, b) => a.seq - b.seq);
  const [begin, known] = [run.created_at, told.map(({ at }) => at)];
  for (const step of steps) known.push(step.started_at, step.finished_at ?? step.started_at);
  const end = known.reduce((last, at) => Math.max(last, at), Math.max(begin, run.finished_at ?? now));
  const marks = told
    .filter(({ type }) => type !== "step.completed")
    .map(({ at, type, seq, data }) => ({ at: within(at, begin, end), type, seq, text: said(type, data) }));
  return { from: begin, to: end, spans: spansOf(run, told, begin, end), steps: stepsOf(steps, told, begin, end), marks };
}

/**
 * @param {Run} run
 * @param {Told[]} events
 * @param {Moment} begin
 * @param {Moment} end
 */
function spansOf(run, events, begin, end) {
  const spans = [span("pending", begin)];
  /** @type {Moment[]} of life, since the last claim */
  let signs = [];
  let [before, waits] = ["", ""]; // what it was when it was moved away, and what it waited for last
  let due = FINITE; // when that wait was to end
  for (const { type, data, at: moment } of events) {
    const last = spans[spans.length - 1];
    const at = within(moment, last.from, end);
    if (type === "step.completed" || type === "step.failed") signs.push(at);
    else if (type === "run.claimed") {
      if (last.is === "pending") last.is = HELD[text(data, "from")] ?? "pending";
      // One that was QUEUED then is PENDING when it is claimed.
      else if (last.is === "waiting") overdue(spans, due, at, text(data, "from") === "PENDING", null);
      const [worker, generation] = [text(data, "worker") || null, count(data, "generation")];
      spans.push({ ...span("executing", at), worker, generation, attempt: count(data, "attempt") });
      signs = [];
    } else if (type === "run.stale") {
      signs = [within(number(data, "heartbeat_at", at), last.from, at), ...signs, at];
      leave(spans, silence(signs), text(data, "reason") || null);
    } else if (type === "run.released") leave(spans, at, "released");
    else if (type === "run.resumed" && "gap_ms" in data) {
      // Who let go of it has said so, unless that is not among the events.
      if (spans.at(-2)?.is !== "executing") continue;
      const silent = last.from - number(data, "gap_ms", 0) / 1000;
      spans.pop();
      leave(spans, within(silent, spans[spans.length - 1].from, last.from), null);
      spans.push(last);
    } else if (type === "run.resumed") spans.push(span("pending", at));
    else if (type === "run.moved" && data.direction === "in") {
      spans.push(before === "WAITING" ? span("waiting", at, waits || null) : span("pending", at));
    } else if (Object.hasOwn(AFTER, type)) {
      if (AFTER[type] === "waiting") due = number(data, "ready_at", FINITE);
      if (type === "run.waiting") waits = waitsOf(data);
      else if (type === "run.moved") before = text(data, "from");
      let why = type === "run.waiting" ? waits : text(data, "code");
      if (type === "run.retrying") why = `retry: ${text(data.error, "type") || "error"}`;
      spans.push(span(AFTER[type], at, why || null));
    }
  }
  const last = spans[spans.length - 1];
  if (last.is === "pending" && run.status in HELD) Object.assign(last, { is: HELD[run.status], why: run.blocked });
  else if (last.is === "waiting" && ["WAITING", "QUEUED"].includes(run.status)) {
    const queued = run.status === "QUEUED";
    overdue(spans, queued ? due : (run.ready_at ?? due), end, queued, run.blocked);
  }
  spans.forEach((span, i) => (span.to = spans[i + 1]?.from ?? end));
  // An execution is a fact, also one that took no time.
  const shown = spans.filter((span) => span.to > span.from || span.is === "executing");
  return shown.length ? shown : spans.slice(-1);
}

/** @param {string} is @param {Moment} at @param {string | null} [why] @returns {Span} */
function span(is, at, why = null) {
  return { is, from: at, to: at, worker: null, generation: null, attempt: null, why };
}

/** From now on nobody is at it. @param {Span[]} spans @param {Moment} at @param {string | null} why */
function leave(spans, at, why) {
  spans.push({ ...spans[spans.length - 1], is: "gap", from: at, to: at, why });
}

/**
 * The wait was over at `due`, but the run had to queue, or there was no worker to take it.
 * @param {Span[]} spans
 * @param {Moment} due
 * @param {Moment} at
 * @param {boolean} queued
 * @param {string | null} blocked
 */
function overdue(spans, due, at, queued, blocked) {
  if (at - due <= LATE) return;
  const begin = Math.max(due, spans[spans.length - 1].from);
  spans.push(queued ? span("queued", begin, blocked) : span("gap", begin, "no worker"));
}

/**
 * Where the longest silence begins between the last heartbeat and when it was noticed. A dead worker may have
 * stored steps after its last heartbeat; one that froze may have stored the step in which it froze when it woke up.
 * @param {Moment[]} signs
 */
function silence(signs) {
  const heard = signs.filter((sign) => sign >= signs[0]).sort((a, b) => a - b);
  let longest = 0;
  for (let i = 1; i + 1 < heard.length; i++) {
    if (heard[i + 1] - heard[i] > heard[longest + 1] - heard[longest]) longest = i;
  }
  return heard[longest];
}

/**
 * @param {Step[]} steps
 * @param {Told[]} events
 * @param {Moment} begin
 * @param {Moment} end
 * @returns {TimelineStep[]}
 */
function stepsOf(steps, events, begin, end) {
  const paths = new Set(steps.map(({ path }) => path));
  const above = new Map([...paths].map((path) => [path, ancestors(path).filter((one) => paths.has(one))]));
  const [kept, failed] = [keptUntil(events), firstFailures(events)];
  /** @type {Map<string, Moment>} */
  const begun = new Map();
  for (const { path, attempt, started_at } of steps) {
    begun.set(path, within(Math.min(started_at, failed.get(`${attempt} ${path}`) ?? started_at), begin, end));
  }
  for (const [path, moment] of [...begun]) {
    // What was done in it, it had begun before.
    for (const one of above.get(path) ?? []) begun.set(one, Math.min(begun.get(one) ?? moment, moment));
  }
  const found = steps.map(({ path, state, wake_at, finished_at, title, kind, attempt, failures, seq, ref }) => {
    const [waits, from] = [state === "waiting", begun.get(path) ?? begin];
    const waited = waits && wake_at !== null && wake_at <= end;
    const over = waited ? wake_at : waits || state === "retrying" ? null : finished_at;
    return {
      ...{ path, depth: above.get(path)?.length ?? 0, title, kind, is: waited ? "waited" : state, from },
      ...{ to: over === null ? null : within(over, from, end), attempt, failures },
      ...{ kept: seq !== null && seq < kept, seq, ref },
    };
  });
  return found.sort((a, b) => a.from - b.from || compare(a.path, b.path));
}

/** @param {string} path */
function ancestors(path) {
  const parts = path.split("/");
  return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join("/"));
}

/** By code points, as Python does. @param {string} a @param {string} b */
function compare(a, b) {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((char, i) => char !== right[i]);
  if (at < 0) return left.length - right.length;
  return (left[at].codePointAt(0) ?? 0) - (right[at]?.codePointAt(0) ?? -1);
}

/**
 * Steps before this seq were answered from their checkpoints: they were done before the run was interrupted, or
 * by another worker, or by the run that this one was forked from.
 * @param {Told[]} events
 */
function keptUntil(events) {
  let [kept, worker] = [0, ""];
  for (const { seq, type, data } of events) {
    const other = type === "run.claimed" && text(data, "worker") !== worker;
    if (other || (type === "run.resumed" && "replayed" in data)) kept = seq ?? 0;
    if (type === "run.claimed") worker = text(data, "worker");
  }
  return kept;
}

/** When a step failed first in an attempt of the run: a row says when its last try began. @param {Told[]} events */
function firstFailures(events) {
  /** @type {Map<string, Moment>} */
  const found = new Map();
  let attempt = 1;
  for (const { type, data, at } of events) {
    if (type === "run.claimed") attempt = count(data, "attempt") || attempt;
    if (type !== "step.failed") continue;
    const key = `${attempt} ${text(data, "path")}`;
    if (!found.has(key)) found.set(key, at);
  }
  return found;
}

/** A stored event in few words. @param {string} type @param {any} data */
function said(type, data) {
  const chars = [...words(type, data)];
  return chars.length > LONGEST ? `${chars.slice(0, LONGEST - 1).join("")}…` : chars.join("");
}

/** @param {string} type @param {any} data @returns {string} */
function words(type, data) {
  const again = (data.retry_at ?? null) === null ? "" : ", tries again";
  switch (type) {
    case "run.claimed":
      return `attempt ${count(data, "attempt") || "?"} by ${text(data, "worker")}`;
    case "run.stale":
      return `stale: ${text(data, "reason")}`;
    case "run.resumed": {
      if (!("replayed" in data)) return "resumed by request";
      const replayed = count(data, "replayed") ?? 0;
      return `resumed, ${replayed} ${replayed === 1 ? "step" : "steps"} from checkpoints`;
    }
    case "run.waiting":
      return `waiting for ${waitsOf(data) || "its time"}`;
    case "run.retrying":
      return `failed, tries again: ${errorOf(data.error)}`;
    case "run.failed":
      return `failed: ${errorOf(data.error)}`;
    case "run.timed_out":
      return `timed out: ${text(data, "code")}`;
    case "run.cancelled":
      return "parent" in data ? "cancelled with its parent" : "cancelled";
    case "run.moved":
      return `moved ${text(data, "direction")}`;
    case "step.failed":
      return `step ${text(data, "path")} failed${again}: ${errorOf(data.error)}`;
  }
  return Object.hasOwn(WORDS, type) ? WORDS[type] : type;
}

/** @param {any} error */
function errorOf(error) {
  const message = text(error, "message");
  return (text(error, "type") || "error") + (message ? `: ${message}` : "");
}

/** @param {any} data */
function waitsOf(data) {
  const paths = Array.isArray(data.waits) ? data.waits.filter((/** @type {any} */ path) => typeof path === "string") : [];
  const more = paths.length > SHOWN ? [`${paths.length - SHOWN} more`] : [];
  return [...paths.slice(0, SHOWN), ...more].join(", ");
}

// An event's data may come from a document: it is what it says it is, or nothing.

/** @param {any} data */
function parsed(data) {
  const value = typeof data === "string" ? JSON.parse(data) : data;
  return typeof value === "object" && value !== null ? value : {};
}

/** @param {any} data @param {string} name @returns {string} */
function text(data, name) {
  const given = typeof data === "object" && data !== null && Object.hasOwn(data, name);
  return given && typeof data[name] === "string" ? data[name] : "";
}

/** @param {any} data @param {string} name @param {number} otherwise @returns {number} */
function number(data, name, otherwise) {
  const value = Object.hasOwn(data, name) ? data[name] : null;
  return typeof value === "number" && Math.abs(value) < FINITE ? value : otherwise;
}

/** @param {any} data @param {string} name */
function count(data, name) {
  const value = number(data, name, 0.5);
  return Number.isSafeInteger(value) ? value + 0 : null; // -0 is 0
}

/** @param {Moment} at @param {Moment} first @param {Moment} last */
function within(at, first, last) {
  return Math.max(first, Math.min(at, last));
}
