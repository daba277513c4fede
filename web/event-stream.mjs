/**
 * Server-sent events over fetch, which unlike EventSource can send a token: a parser of them, and a reader that goes on
 * after whatever breaks, where it was.
 */

import { onReturn } from "./lifecycle.mjs";
import { StoreUnavailable } from "./statuses.mjs";

const FIRST = 1000; // ms of the first pause, unless the server says another
const LONGEST = 10_000; // ms
const SILENCE = 60_000; // ms without a byte; the server sends a comment after 15 s
const DOUBTFUL = 20_000; // ms without one, when the page is looked at again

/** @typedef {{type: string, data: string, id: string}} ServerSent */

/** Of bytes makes events, however they are cut. `id` and `retry` are those of the last whole event. */
export class EventParser {
  constructor() {
    this.id = "";
    /** @type {number | null} ms */
    this.retry = null;
    this.decoder = new TextDecoder();
    this.line = "";
    /** @type {string | null} of the event that isn't whole yet */
    this.given = null;
    this.cr = false; // the last part ended with one: a line feed that follows belongs to it
    this.clear();
  }

  clear() {
    this.type = "";
    /** @type {string[]} */
    this.data = [];
  }

  /** @param {Uint8Array} bytes @returns {Generator<ServerSent>} */
  *push(bytes) {
    let text = this.decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.cr && text[0] === "\n") text = text.slice(1);
    this.cr = text ? text.endsWith("\r") : false;
    let from = 0;
    for (const { index, 0: end } of text.matchAll(/\r\n?|\n/g)) {
      const line = this.line + text.slice(from, index);
      this.line = "";
      from = index + end.length;
      if (line) this.field(line);
      else yield* this.whole();
    }
    this.line += text.slice(from);
  }

  /** What a blank line ends. @returns {Generator<ServerSent>} */
  *whole() {
    this.id = this.given ?? this.id;
    const { type, data, id } = this;
    this.clear();
    if (data.length) yield { type: type || "message", data: data.join("\n"), id };
  }

  /** @param {string} line */
  field(line) {
    const [, name, value] = /^([^:]*):? ?(.*)$/su.exec(line) ?? [];
    if (name === "data") this.data.push(value);
    else if (name === "event") this.type = value;
    else if (name === "id" && !value.includes("\0")) this.given = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

/**
 * Read a stream of events until `told` says that it is over, or `broken` that it is no use, or the signal comes. It
 * reads on when what it has read is told: nothing is piled up here.
 * @param {object} given
 * @param {(last: string, signal: AbortSignal) => Promise<ReadableStream<Uint8Array>>} given.connect goes on after an id
 * @param {(event: ServerSent) => boolean} given.told whether it is over
 * @param {(error: any) => boolean} given.broken whether to give up
 * @param {() => void} [given.opened]
 * @param {AbortSignal} given.signal
 */
export async function follow({ connect, told, broken, opened, signal }) {
  let [last, retry, failures] = ["", FIRST, 0];
  while (!signal.aborted) {
    const began = Date.now();
    let [heard, timer] = [began, 0];
    const cut = new AbortController();
    const stop = () => cut.abort(signal.reason);
    const listen = () => {
      heard = Date.now();
      clearTimeout(timer);
      timer = setTimeout(() => cut.abort(silent(SILENCE)), SILENCE);
    };
    // A machine that slept may have a connection that nobody serves any more.
    const forget = onReturn(() => Date.now() - heard > DOUBTFUL && cut.abort(silent(DOUBTFUL)));
    signal.addEventListener("abort", stop);
    try {
      listen();
      const body = await connect(last, cut.signal);
      opened?.();
      const parser = new EventParser();
      parser.id = last;
      for await (const bytes of parts(body, cut.signal)) {
        listen();
        for (const event of parser.push(bytes)) {
          if (signal.aborted || told(event)) return;
          failures = 0;
        }
        last = parser.id;
        retry = parser.retry ?? retry;
      }
    } catch (error) {
      if (signal.aborted || broken(error)) return;
    } finally {
      clearTimeout(timer);
      forget();
      signal.removeEventListener("abort", stop);
      cut.abort(); // whoever stops reading hangs up
    }
    if (Date.now() - began > LONGEST) failures = 0;
    const pause = Math.min(LONGEST, retry * 2 ** failures);
    failures = Math.min(failures + 1, 16);
    await rest(pause * (0.5 + Math.random() / 2), signal); // not all pages at once
  }
}

/** @param {number} ms */
const silent = (ms) => new StoreUnavailable(`the server was silent for ${ms / 1000} s`);

/** Also where nothing comes of the signal. @param {ReadableStream<Uint8Array>} body @param {AbortSignal} signal */
async function* parts(body, signal) {
  const reader = body.getReader();
  const stop = () => void reader.cancel(signal.reason).catch(() => null);
  signal.addEventListener("abort", stop);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** Wait; no longer when the page is looked at or the network is there again. @param {number} ms @param {AbortSignal} signal */
export function rest(ms, signal) {
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      const forget = onReturn(end);
      signal.addEventListener("abort", end);
      if (signal.aborted) end();
    })
  );
}
