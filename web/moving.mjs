/**
 * Hand-over: a run with all it has, as JSON text that another store can go on from, by the rules of
 * `durable_lite/moving.py`. A document may come from anybody: every field is checked before anything is
 * stored.
 */

import { described, field } from "./brief.mjs";
import { Conflict, DurableError, RunNotFound } from "./statuses.mjs";
import { MAX_VALUE_BYTES, TooLarge } from "./triggers.mjs";

/** @typedef {import("./records.mjs").Moved} Moved */
/** @typedef {import("./records.mjs").StoredEvent} StoredEvent */
/** @typedef {import("./records.mjs").Token} Token */
/** @typedef {Record<string, any>} Fields */

const FORMAT = 1;
export const VERSION = "0.1.0"; // of durable_lite
const BATCH = 500;

/** A document isn't one that `exportRun` gave; nothing was stored. `path` is the field: `logs[3].at`. */
export class InvalidDocument extends DurableError {
  /** @param {string} path @param {string} detail */
  constructor(path, detail) {
    super(`${path}: ${detail}`);
    this.path = path;
    this.detail = detail;
  }
}

// The fields of each record, and which of the kinds below each is; with `?` it may be null.
export const RUN = {
  ...{ id: "id", job: "name", version: "name?", status: "status", queue: "name", priority: "priority" },
  ...{ created_at: "moment", ready_at: "moment?", started_at: "moment?", payload: "value", error: "error?" },
  ...{ attempt: "ordinal", first_attempt: "ordinal", recoveries: "count", recovery_seq: "count" },
  ...{ generation: "ordinal", seq: "ordinal", executed: "seconds", last_seen_at: "moment?" },
  ...{ max_duration: "seconds?", deadline: "moment?", trigger: "object", environment: "text?", tags: "tags" },
  ...{ progress: "progress?", metadata: "object", idempotency_key: "key?", idempotency_expires_at: "moment?" },
};
export const STEP = {
  ...{ path: "path", seq: "ordinal?", kind: "kind", state: "state", name: "text?", arguments: "text?" },
  ...{ output: "value?", error: "error?", failures: "count", attempt: "count", generation: "count" },
  ...{ started_at: "moment", finished_at: "moment?", wake_at: "moment?", title: "text?", ref: "text?" },
};
export const EVENT = { seq: "ordinal", at: "moment", type: "type", data: "object" };
export const LOG = {
  ...{ attempt: "ordinal", path: "place", ordinal: "count", at: "moment", level: "level" },
  ...{ message: "text", fields: "object" },
};
export const TOKEN = {
  ...{ id: "token", path: "path", kind: "token_kind", state: "token_state", created_at: "moment" },
  ...{ deadline: "moment", finished_at: "moment?", output: "value?", error: "error?", name: "text?" },
  ...{ match: "object?" },
};
const DOCUMENT = ["format", "durable_lite", "run", "steps", "events", "logs", "tokens"];
/** What a run is while it is nowhere. */
const NOWHERE = {
  ...{ claimable: 0, finished_at: null, output: null, worker: null, stale_reason: null, key_live: 0 },
  ...{ parent_id: null, awaited: 0, remaining: null, interrupted: 0, concurrency_key: null, gated: 0, slot: 0 },
  ...{ key_held: 0, blocked: null, expires_at: null, debounce_key: null, debounce_until: null },
};

// Out of a store

/**
 * Make a run MOVED, and return its document. Again returns the same.
 * @param {import("./indexeddb.mjs").IndexedDBStore} store
 * @param {string} id
 * @param {number} now
 */
export async function exportRun(store, id, now) {
  const run = await store.move_run(id, now);
  const [steps, logs] = [await store.load_steps(id), await store.read_logs(id)];
  /** @type {Token[]} */
  const tokens = [];
  for (let more = true; more; ) {
    const last = tokens.at(-1);
    const page = await store.list_tokens({ run_id: id, cursor: last && [last.created_at, last.id], limit: BATCH });
    tokens.push(...page);
    more = page.length > 0;
  }
  /** @type {StoredEvent[]} */
  const events = [];
  for (let more = true; more; ) {
    const batch = await store.read_events(id, events.at(-1)?.seq ?? 0, BATCH);
    events.push(...batch);
    more = batch.length > 0;
  }
  const last = events.at(-1);
  if (!last) throw new RunNotFound(id); // it was deleted meanwhile
  if (last.seq !== run.seq || last.type !== "run.moved") {
    throw new Conflict(`run ${id} can't be exported: it has come back meanwhile`);
  }
  const { from, ready_at } = JSON.parse(last.data);
  const kept = from === "PENDING" || from === "WAITING";
  const status = kept ? { status: from, ready_at } : { status: "PENDING", ready_at: null }; // nobody holds it now
  return JSON.stringify({
    format: FORMAT,
    durable_lite: VERSION,
    run: fields({ ...run, ...status }, RUN),
    steps: steps.map((step) => fields(step, STEP)),
    // The others are in their steps' rows.
    events: events.filter(({ type }) => type !== "step.completed").map((event) => fields(event, EVENT)),
    logs: logs.map((line) => fields(line, LOG)),
    tokens: tokens.map((token) => fields(token, TOKEN)),
  });
}

/** @param {Fields} row @param {Fields} names */
const fields = (row, names) => Object.fromEntries(Object.keys(names).map((name) => [name, row[name]]));

// Into a store

/**
 * What a document says. `InvalidDocument` names the field that is wrong, `TooLarge` the value.
 * @param {unknown} document
 * @returns {Moved}
 */
export function read(document) {
  if (typeof document !== "string") throw new InvalidDocument("document", `expected JSON text, got ${described(document)}`);
  /** @type {any} */
  let given;
  try {
    given = parsed(document);
  } catch (error) {
    throw new InvalidDocument("document", why(error));
  }
  if (!isObject(given)) throw new InvalidDocument("document", `expected an object, got ${described(given)}`);
  if (Object.hasOwn(given, "format") && given.format !== FORMAT) {
    throw new InvalidDocument("format", `this durable_lite reads format ${FORMAT}, got ${described(given.format)}`);
  }
  has("", given, DOCUMENT);
  if (typeof given.durable_lite !== "string") {
    throw new InvalidDocument("durable_lite", `expected a version, got ${described(given.durable_lite)}`);
  }
  const run = readRecord("run", given.run, RUN);
  const moved = /** @type {Moved} */ ({
    run: { ...run, ...NOWHERE },
    steps: records(given, "steps", STEP).map((step) => ({ run_id: run.id, ...step })),
    events: records(given, "events", EVENT),
    logs: records(given, "logs", LOG).map((line) => ({ run_id: run.id, ...line })),
    tokens: records(given, "tokens", TOKEN).map((token) => ({ run_id: run.id, ...token })),
  });
  checkRun(moved);
  checkSteps(moved);
  checkTokens(moved);
  checkOrder(moved);
  return moved;
}

/** What is wrong with a value. */
class Wrong extends Error {}

/** @param {unknown} error */
function why(error) {
  if (error instanceof Wrong) return error.message;
  if (error instanceof SyntaxError) return `not JSON: ${error.message}`;
  throw error;
}

/** @param {Fields} given @param {string} name @param {Record<string, string>} kinds */
function records(given, name, kinds) {
  const list = given[name];
  if (!Array.isArray(list)) throw new InvalidDocument(name, `expected a list, got ${described(list)}`);
  return list.map((one, index) => readRecord(`${name}[${index}]`, one, kinds));
}

/** @param {string} where @param {any} given @param {Record<string, string>} kinds */
function readRecord(where, given, kinds) {
  if (!isObject(given)) throw new InvalidDocument(where, `expected an object, got ${described(given)}`);
  has(where, given, Object.keys(kinds));
  /** @type {Fields} */
  const found = {};
  for (const [name, kind] of Object.entries(kinds)) {
    found[name] = given[name];
    if (given[name] === null && kind.endsWith("?")) continue;
    try {
      found[name] = KINDS[kind.replace("?", "")](given[name]);
    } catch (error) {
      throw new InvalidDocument(`${where}.${name}`, why(error));
    }
    if (kind.startsWith("value") && bytes(found[name]) > MAX_VALUE_BYTES) {
      throw new TooLarge(`${where}.${name}: more than ${MAX_VALUE_BYTES} bytes`);
    }
  }
  return found;
}

/** Exactly these fields. @param {string} where @param {Fields} given @param {string[]} names */
function has(where, given, names) {
  const refuse = (/** @type {string} */ path, /** @type {string} */ detail) => {
    throw new InvalidDocument(path.replace(/^\./, ""), detail);
  };
  for (const name of Object.keys(given)) if (!names.includes(name)) refuse(where + field(name), "there is no such field");
  for (const name of names) if (!Object.hasOwn(given, name)) refuse(`${where}.${name}`, "is missing");
}

/** @param {Moved} moved */
function checkRun({ run, steps, tokens }) {
  if (run.started_at === null && (run.status === "WAITING" || steps.length || tokens.length)) {
    throw new InvalidDocument("run.started_at", "the run has been executed");
  }
  if (run.first_attempt > run.attempt) throw new InvalidDocument("run.first_attempt", "must be at most the run's attempt");
  if (run.recovery_seq > run.seq) throw new InvalidDocument("run.recovery_seq", "must be at most the run's seq");
}

/** What a step or a token in a state has, and what it hasn't. @typedef {Record<string, [string[], string[]]>} States */

/** @type {States} */
const STEPS = {
  completed: [["seq", "output"], ["error", "wake_at"]],
  waiting: [["wake_at"], ["seq", "output", "error"]],
  retrying: [["error", "wake_at"], ["seq", "output"]],
  failed: [["error"], ["seq", "output", "wake_at"]],
};
const WAITS = ["sleep", "event"]; // a call that waits has children, which don't come along
/** Those with a ref. @type {Record<string, string[]>} */
const REFS = { completed: ["token", "wait", "event", "trigger"], waiting: ["event"] };
/** @type {States} */
const TOKENS = {
  pending: [[], ["finished_at", "output", "error"]],
  completed: [["finished_at", "output"], ["error"]],
  failed: [["finished_at", "error"], ["output"]],
  expired: [["finished_at"], ["output", "error"]],
};
/** @type {States} */
const KINDS_OF_TOKENS = { token: [[], ["name", "match"]], event: [["name"], []] };

/** @param {Moved} moved */
function checkSteps({ steps, tokens }) {
  const [paths, ids] = [new Set(), new Set(tokens.map(({ id }) => id))];
  for (const [index, step] of steps.entries()) {
    const [where, what] = [`steps[${index}]`, `a ${step.state} ${step.kind}`];
    if (step.state === "waiting" && !WAITS.includes(step.kind)) {
      throw new InvalidDocument(`${where}.state`, `${what} can't come along`);
    }
    hasValues(where, step, STEPS[step.state], what);
    if (REFS[step.state]?.includes(step.kind)) hasValues(where, step, [["ref"], []], what);
    if (step.state === "waiting" && step.kind === "event" && !ids.has(step.ref ?? "")) {
      throw new InvalidDocument(`${where}.ref`, "is none of the tokens");
    }
    if (paths.has(step.path)) throw new InvalidDocument(`${where}.path`, "another step has it");
    paths.add(step.path);
  }
}

/** @param {Moved} moved */
function checkTokens({ tokens }) {
  const ids = new Set();
  for (const [index, token] of tokens.entries()) {
    const where = `tokens[${index}]`;
    hasValues(where, token, TOKENS[token.state], `a ${token.state} token`);
    hasValues(where, token, KINDS_OF_TOKENS[token.kind], `a token of kind ${token.kind}`);
    if (ids.has(token.id)) throw new InvalidDocument(`${where}.id`, "another token has it");
    ids.add(token.id);
  }
}

/** @param {string} where @param {Fields} row @param {[string[], string[]]} names it must have, it mustn't @param {string} what */
function hasValues(where, row, [must, mustnt], what) {
  for (const name of [...must, ...mustnt]) {
    const wanted = must.includes(name);
    if ((row[name] === null) === wanted) {
      throw new InvalidDocument(`${where}.${name}`, `${what} has ${wanted ? "one" : "none"}`);
    }
  }
}

/** @param {Moved} moved */
function checkOrder({ run, steps, events, logs }) {
  const found = [...steps, ...events].map(({ seq }) => seq).filter((seq) => seq !== null);
  if (found.sort((a, b) => a - b).some((seq, index) => seq !== index + 1) || found.length !== run.seq) {
    throw new InvalidDocument("run.seq", "events and completed steps must be numbered from 1 to it, each once");
  }
  const last = events.at(-1);
  if (last?.seq !== run.seq || last.type !== "run.moved") {
    throw new InvalidDocument("events", "the last one must be run.moved");
  }
  const lines = new Set();
  for (const [index, { attempt, path, ordinal }] of logs.entries()) {
    const line = `${attempt} ${ordinal} ${path}`;
    if (lines.has(line)) throw new InvalidDocument(`logs[${index}].ordinal`, "another line has it");
    lines.add(line);
  }
}

// Kinds of fields: what a value must be.

const MOST = 2 ** 31 - 1;
const LONGEST = 1000 * 366 * 86_400;
const MAX_NAME = 200;
const MAX_TAGS = 50;
const MAX_KEY_BYTES = 512;
const MAX_DEPTH = 202; // of what Python's codec writes
const ENGINE = "%"; // the path of the engine's own log lines
const ID = /^[0-9a-hjkmnp-tv-z]{26}$/;
const TOKEN_ID = /^tok_[0-9a-f]{32}$/;
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/;
const HALVES = /\p{Cs}/u;
const SEGMENT = /^(?:[^/%\x00-\x1f\x7f-\x9f]|%25|%2F)+$/;
export const TYPES = [
  ...["run.triggered", "run.claimed", "run.stale", "run.resumed", "run.waiting", "run.retrying", "run.released"],
  ...["run.completed", "run.failed", "run.cancelled", "run.timed_out", "run.expired", "run.moved", "step.failed"],
];

/** @param {string} value */
const bytes = (value) => new TextEncoder().encode(value).length;

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether it is nested at most so deeply. @param {any} value @param {number} levels @returns {boolean} */
function isFlat(value, levels) {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && Object.values(value).every((part) => isFlat(part, levels - 1));
}

/** @param {string} text */
function parsed(text) {
  const value = JSON.parse(text);
  if (!isFlat(value, MAX_DEPTH)) throw new Wrong("nested too deeply");
  return value;
}

/** @param {any} value @returns {string} */
function text(value) {
  if (typeof value !== "string") throw new Wrong(`expected text, got ${described(value)}`);
  if (HALVES.test(value)) throw new Wrong("holds half a character");
  return value;
}

/** @param {any} value */
function name(value) {
  if (!text(value) || CONTROLS.test(value)) throw new Wrong("must not be empty nor hold control characters");
  if ([...value].length > MAX_NAME) throw new Wrong(`expected at most ${MAX_NAME} characters`);
  return value;
}

/** @param {any} value */
function path(value) {
  for (const segment of text(value).split("/")) {
    if (!SEGMENT.test(segment) || bytes(segment.replace(/%2[5F]/g, "%")) > MAX_KEY_BYTES) {
      throw new Wrong(`${described(value)} is no path of a step`);
    }
  }
  return value;
}

/** @param {number} low @param {number} high @param {boolean} [whole] @returns {(value: any) => number} */
const number = (low, high, whole = false) => (value) => {
  if (typeof value === "number" && low <= value && value <= high && (!whole || Number.isInteger(value))) return value + 0;
  throw new Wrong(`expected ${whole ? "a whole number" : "a number"} from ${low} to ${high}, got ${described(value)}`);
};

/** @param {...string} choices @returns {(value: any) => string} */
const oneOf = (...choices) => (value) => {
  if (choices.includes(value)) return value;
  throw new Wrong(`expected one of ${choices.join(", ")}, got ${described(value)}`);
};

/** JSON text of a value that fits. @param {(value: any) => boolean} fits @param {string} wanted @returns {(value: any) => string} */
const json = (fits, wanted) => (value) => {
  if (fits(parsed(text(value)))) return value;
  throw new Wrong(`expected JSON text of ${wanted}, got ${described(value)}`);
};

/** @param {any} value */
function isError(value) {
  const texts = ["type", "message", "module", "args", "key", "code", "traceback"];
  const has = (/** @type {string} */ name) => Object.hasOwn(value, name);
  return (
    isObject(value) &&
    ["type", "message"].every(has) &&
    (!has("args") || has("module")) &&
    texts.every((name) => !has(name) || typeof value[name] === "string")
  );
}

/** @param {any} value */
function isProgress(value) {
  return (
    isObject(value) &&
    Object.keys(value).sort().join() === "current,message,total" &&
    typeof value.current === "number" &&
    (value.total === null || typeof value.total === "number") &&
    (value.message === null || typeof value.message === "string")
  );
}

/** @param {any} value */
function isTags(value) {
  const fits = (/** @type {any} */ one) =>
    typeof one === "string" && one && [...one].length <= MAX_NAME && !CONTROLS.test(one) && !HALVES.test(one);
  return (
    Array.isArray(value) && value.length <= MAX_TAGS && value.every(fits) && new Set(value).size === value.length
  );
}

/** @param {any} value */
function isKey(value) {
  if (!Array.isArray(value)) return false;
  const [[scope, id, attempt], parts] = [value.slice(0, -1), value.at(-1)];
  const fits =
    (scope === "global" && value.length === 2) ||
    (scope === "run" && value.length === 3 && isId(id)) ||
    (scope === "attempt" && value.length === 4 && isId(id) && isOrdinal(attempt));
  return fits && (typeof parts === "string" || Array.isArray(parts)) && parts.length > 0;
}

/** @param {any} value */
const isId = (value) => typeof value === "string" && ID.test(value);

/** @param {any} value */
const isOrdinal = (value) => Number.isInteger(value) && 1 <= value && value <= MOST;

/** @type {Record<string, (value: any) => any>} */
const KINDS = {
  id: (value) => {
    if (ID.test(text(value))) return value;
    throw new Wrong(`${described(value)} is no id of a run`);
  },
  name,
  text,
  path,
  place: (value) => (value === "" || value === ENGINE ? value : path(value)),
  count: number(0, MOST, true),
  ordinal: number(1, MOST, true),
  priority: number(-MOST, MOST, true),
  moment: number(-LONGEST, LONGEST),
  seconds: number(0, LONGEST),
  status: oneOf("PENDING", "WAITING"),
  kind: oneOf("step", "sleep", "token", "wait", "event", "send", "trigger", "call", "patch"),
  state: oneOf(...Object.keys(STEPS)),
  token: (value) => {
    if (TOKEN_ID.test(text(value))) return value;
    throw new Wrong(`${described(value)} is no id of a token`);
  },
  token_kind: oneOf(...Object.keys(KINDS_OF_TOKENS)),
  token_state: oneOf(...Object.keys(TOKENS)),
  type: oneOf(...TYPES),
  level: oneOf("debug", "info", "warning", "error"),
  value: json(() => true, "any value"),
  object: json(isObject, "an object"),
  error: json(isError, "an error with a type and a message"),
  progress: json(isProgress, "an object with current, total and message"),
  tags: json(isTags, `a list of at most ${MAX_TAGS} different texts`),
  key: json(isKey, "a scope and parts"),
};
