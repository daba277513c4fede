/** What a trigger may say about its run, and the row that it makes, by the rules of `durable_lite/trigger.py`. */

import { described } from "./brief.mjs";
import { canonical, InvalidOption, moment, nameOf, oneOf, optionalSeconds, seconds, tagsText } from "./trigger-options.mjs";
import { problems } from "./schema.mjs";
import { DurableError } from "./statuses.mjs";
import { encode } from "./values.mjs";

export { canonical, InvalidOption, seconds };

export const MAX_VALUE_BYTES = 4 * 1024 * 1024;
const SCOPES = ["run", "global", "attempt"];
const ON_BUSY = ["queue", "skip", "reject"];
const MODES = ["trailing", "leading"];

/** Text, or a list of parts. @typedef {string | (string | number | bigint | boolean | null)[]} Key */
/** What a worker publishes of its jobs. @typedef {Record<string, {version: string | null, queue: string, payload: import("./schema.mjs").Schema}>} Manifest */
/** Seconds, or text such as `"1h30m"`. @typedef {number | string} Duration */
/**
 * @typedef {object} TriggerOptions
 * @property {Key | null} [idempotencyKey]
 * @property {Duration} [idempotencyTtl] by default `"30d"`
 * @property {string} [scope] of the key; `"global"` is the only one outside a run
 * @property {Duration} [delay]
 * @property {Date | number | null} [deadline] a Date or epoch seconds
 * @property {number} [priority] higher goes first
 * @property {string | null} [queue] instead of the job's
 * @property {Duration | null} [maxDuration] instead of the job's
 * @property {Iterable<string>} [tags]
 * @property {Key | null} [concurrencyKey] of all runs with this key one executes at a time
 * @property {string} [onBusy] if one has it: wait behind it in the `"queue"`, `"skip"` or `"reject"` (`Busy`)
 * @property {Duration | null} [ttl] so long after it was due the run is EXPIRED, unless it has started
 * @property {Key | null} [debounceKey] of triggers in quick succession one run is made
 * @property {Duration | null} [debounceDelay] of silence, until it starts
 * @property {string} [debounceMode] `"trailing"`: the last payload; `"leading"`: the first one, at once
 * @property {Duration | null} [debounceMax] the longest that triggers put off its start
 */

/** A payload doesn't fit its job's schema. */
export class InvalidPayload extends DurableError {
  /** @param {string} job @param {import("./schema.mjs").Problem[]} problems the path to each bad field */
  constructor(job, problems) {
    super(`payload of ${job}: ${problems.map(({ path, message }) => `${path}: ${message}`).join("; ")}`);
    this.job = job;
    this.problems = problems;
  }
}

/** No worker has published a job of this name. */
export class UnknownJob extends DurableError {}

/** A payload is larger than Python's codec takes by default. */
export class TooLarge extends DurableError {}

/** The text of a value, unless it is too large. @param {string} text @param {string} what it is */
export function sized(text, what) {
  if (text.length * 3 > MAX_VALUE_BYTES && new TextEncoder().encode(text).length > MAX_VALUE_BYTES) {
    throw new TooLarge(`${what}: more than ${MAX_VALUE_BYTES} bytes; store the data elsewhere`);
  }
  return text;
}

/**
 * The row of a new run. Without a manifest nothing is known of its job, and only the claim checks the
 * payload; a payload that isn't given, or null, is always left to the claim: the job may have a default.
 * @param {object} given
 * @param {string} given.id
 * @param {number} given.now epoch seconds
 * @param {string} given.job
 * @param {Manifest | null} [given.manifest]
 * @param {unknown} [given.payload]
 * @param {TriggerOptions} [given.options]
 * @param {string | null} [given.environment]
 * @returns {import("./records.mjs").NewRun}
 */
export function newRun({ id, now, job, manifest = null, payload = null, options = {}, environment = null }) {
  const entry = manifest && Object.hasOwn(manifest, job) ? manifest[job] : null;
  if (manifest && !entry) {
    const known = Object.keys(manifest).sort().join(", ") || "none";
    throw new UnknownJob(`job ${described(job)} isn't among those that a worker has published (known: ${known})`);
  }
  const text = encode(payload, `payload of ${job}`);
  const bad = entry && payload !== null ? problems(entry.payload, payload) : [];
  if (bad.length) throw new InvalidPayload(job, bad);
  sized(text, `payload of ${job}`);

  const { priority = 0, scope = "global", deadline = null, delay = 0, queue = null, ...rest } = options;
  const { idempotencyKey = null, idempotencyTtl = "30d", maxDuration = null, tags = [], ...more } = rest;
  const { concurrencyKey = null, onBusy = "queue", ttl = null, ...others } = more;
  const { debounceKey = null, debounceDelay = null, debounceMode = "trailing", debounceMax = null, ...unknown } = others;
  if (!Number.isInteger(priority) || Math.abs(priority) >= 2 ** 31) {
    throw new InvalidOption("priority", `expected an integer, got ${described(priority)}`);
  }
  oneOf(scope, "scope", SCOPES);
  if (scope !== "global") {
    throw new InvalidOption("scope", `'${scope}' is for triggers inside a run; outside it is "global"`);
  }
  const ends = deadline === null ? null : moment(deadline, "deadline");
  const ready = now + seconds(delay, "delay", true);
  const expires = now + seconds(idempotencyTtl, "idempotencyTtl");
  oneOf(onBusy, "onBusy", ON_BUSY);
  if (onBusy !== "queue" && concurrencyKey === null) throw new InvalidOption("onBusy", `'${onBusy}' needs a concurrencyKey`);
  const concurrency_key = concurrencyKey === null ? null : canonical(concurrencyKey, "concurrencyKey");
  const { starts, ...debounce } = debounced({ debounceKey, debounceDelay, debounceMode, debounceMax }, now, ready);
  const alive = optionalSeconds(ttl, "ttl");
  const row = {
    id,
    job: nameOf(job, "job"),
    version: entry?.version ?? null,
    queue: queue === null ? (entry?.queue ?? "default") : nameOf(queue, "queue"),
    priority: priority + 0, // -0 is 0
    created_at: now,
    ready_at: ends === null ? starts : Math.min(starts, ends), // then it ends
    payload: text,
    max_duration: optionalSeconds(maxDuration, "maxDuration"),
    deadline: ends,
    trigger: '{"kind": "api"}',
    environment,
    tags: tagsText(tags),
    idempotency_key: idempotencyKey === null ? null : `["global",${canonical(idempotencyKey)}]`,
    idempotency_expires_at: idempotencyKey === null ? null : expires,
    ...{ parent_id: null, awaited: 0, concurrency_key, on_busy: onBusy },
    expires_at: alive === null ? null : starts + alive,
    ...debounce,
  };
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw new InvalidOption(name, "trigger has no such option");
  return row;
}

/**
 * When a run is to start, and how it is debounced.
 * @param {Required<Pick<TriggerOptions, "debounceKey" | "debounceDelay" | "debounceMode" | "debounceMax">>} options
 * @param {number} now
 * @param {number} ready without that
 */
function debounced({ debounceKey, debounceDelay, debounceMode, debounceMax }, now, ready) {
  oneOf(debounceMode, "debounceMode", MODES);
  if (debounceKey === null) {
    for (const [name, value] of Object.entries({ debounceDelay, debounceMax })) {
      if (value !== null) throw new InvalidOption(name, "it needs a debounceKey");
    }
    return { starts: ready, debounce_key: null, debounce_mode: "trailing", debounce_until: null };
  }
  const leading = debounceMode === "leading";
  const debounce_key = canonical(debounceKey, "debounceKey");
  if (debounceDelay === null) throw new InvalidOption("debounceDelay", "a debounceKey needs it");
  if (ready > now) throw new InvalidOption("delay", "debounceDelay says when a debounced run starts");
  const [length, most] = [seconds(debounceDelay, "debounceDelay"), optionalSeconds(debounceMax, "debounceMax")];
  if (most !== null && most < length) throw new InvalidOption("debounceMax", "must be at least debounceDelay");
  if (most !== null && leading) throw new InvalidOption("debounceMax", 'it is for debounceMode: "trailing"');
  const debounce_until = leading ? now + length : most === null ? null : now + most;
  return { starts: leading ? now : now + length, debounce_key, debounce_mode: debounceMode, debounce_until };
}

let last = 0n;

/**
 * 26 characters that sort by the moment they were made: 48 bits of milliseconds, 80 of chance. Those of
 * the same millisecond count up, so that runs triggered together keep their order.
 * @param {number} now epoch seconds
 */
export function makeId(now) {
  const millis = BigInt(Math.max(0, Math.trunc(now * 1000)));
  if (millis <= last >> 80n) last += 1n;
  else {
    last = millis;
    const bytes = crypto.getRandomValues(new Uint8Array(10));
    bytes[0] &= 127; // so that counting up never carries into the milliseconds
    for (const byte of bytes) last = (last << 8n) | BigInt(byte);
  }
  // From JavaScript's digits to Crockford's, which have no i, l, o and u.
  const crockford = (/** @type {string} */ digit) => "jkmnpqrstvwxyz"["ijklmnopqrstuv".indexOf(digit)];
  return last.toString(32).padStart(26, "0").replace(/[i-v]/g, crockford);
}
