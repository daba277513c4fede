/** Requests to the HTTP API: each with its time-out, its errors those that a tab has. */

import { described } from "./brief.mjs";
import { problemOf, Unauthorized } from "./problems.mjs";
import { parsed } from "./remote-rows.mjs";
import { DurableError, RunNotFound, StoreUnavailable } from "./statuses.mjs";
import { InvalidOption } from "./trigger-options.mjs";

/** What stands behind the question mark. @typedef {Record<string, string | string[] | number | null | undefined>} Query */

const TIMEOUT = 30_000; // ms

/** @param {string | URL} url */
function rootOf(url) {
  const base = globalThis.document?.baseURI;
  const parts = URL.canParse(String(url), base) ? new URL(String(url), base) : null;
  if (!parts || !/^https?:$/.test(parts.protocol) || parts.username || parts.password || parts.search || parts.hash) {
    throw new InvalidOption("url", "expected one such as https://example.org, without a name, a query or a fragment");
  }
  return parts.href.replace(/\/+$/, "");
}

/**
 * One part of a path, whatever is in it.
 * @param {string} text
 * @param {(text: string) => Error} wrong what can't be in an address can't be there
 */
export function part(text, wrong) {
  const name = String(text).toWellFormed();
  if (/^\.{0,2}$/.test(name)) throw wrong(text);
  return encodeURIComponent(name);
}

/** The same of an id, which has no slash. @param {string} id @param {(id: string) => Error} wrong */
export function idPart(id, wrong) {
  if (String(id).includes("/")) throw wrong(id);
  return part(id, wrong);
}

/** @param {string} id @param {string} [below] */
export const ofRun = (id, below = "") => `runs/${idPart(id, (id) => new RunNotFound(id))}${below}`;

/** What one token may ask one server. */
export class Requests {
  /** @param {string | URL} url @param {string | null} token @param {typeof globalThis.fetch} [given] */
  constructor(url, token, given) {
    if (token !== null && !(typeof token === "string" && /^[\x21-\x7e]+$/.test(token))) {
      throw new InvalidOption("token", "expected text of printable ASCII characters, without spaces");
    }
    if (given !== undefined && typeof given !== "function") {
      throw new InvalidOption("fetch", `expected a function, got ${described(given)}`);
    }
    this.root = rootOf(url);
    this.token = token;
    this.given = given;
    this.ended = new AbortController();
    /** Hears once that the token isn't taken. @type {((error: Unauthorized) => void) | null} */
    this.onrefused = null;
  }

  /** Ask nothing more, and wait for nothing. */
  close() {
    this.ended.abort(new StoreUnavailable("this Remote was closed"));
  }

  /**
   * The JSON of an answer; `body` has the text of each field.
   * @param {string} method
   * @param {string} path
   * @param {{query?: Query, body?: Record<string, string>}} [given]
   * @returns {Promise<any>}
   */
  async ask(method, path, { query = {}, body } = {}) {
    const timeout = AbortSignal.timeout(TIMEOUT);
    const signal = AbortSignal.any([timeout, this.ended.signal]);
    try {
      const response = await this.send(method, path, query, body, signal);
      return response.status === 204 ? null : parsed(await response.text());
    } catch (error) {
      if (timeout.aborted) throw new StoreUnavailable(`the server gave no answer within ${TIMEOUT / 1000} s`);
      throw reached(error);
    }
  }

  /** @param {string} path @param {Query} query @param {string} last the id of the last event @param {AbortSignal} signal */
  async stream(path, query, last, signal) {
    const accept = { accept: "text/event-stream", ...(last && { "last-event-id": last }) };
    try {
      const response = await this.send("GET", path, query, undefined, signal, accept);
      const kind = response.headers.get("content-type") ?? "";
      if (response.body && kind.startsWith("text/event-stream")) return response.body;
      throw new DurableError(`${this.root} answers with ${described(kind)}, not with events`);
    } catch (error) {
      throw reached(signal.aborted ? (signal.reason ?? error) : error);
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Query} query
   * @param {Record<string, string> | undefined} body
   * @param {AbortSignal} signal
   * @param {Record<string, string>} [headers]
   */
  async send(method, path, query, body, signal, headers = { accept: "application/json" }) {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const one of [value ?? []].flat()) search.append(name, String(one));
    }
    const fields = Object.entries(body ?? {}).map(([name, text]) => `${JSON.stringify(name)}:${text}`);
    const fetch = this.given ?? globalThis.fetch; // not as a method: it is the window's
    const response = await fetch(`${this.root}/api/${path}${search.size ? `?${search}` : ""}`, {
      ...{ method, signal, body: body && `{${fields}}` },
      headers: {
        ...headers,
        ...(body && { "content-type": "application/json" }),
        ...(this.token !== null && { authorization: `Bearer ${this.token}` }),
      },
      ...{ credentials: "omit", mode: "cors", cache: "no-store", redirect: "error" },
    });
    if (response.ok) return response;
    const error = await problemOf(response);
    if (error instanceof Unauthorized) {
      this.onrefused?.(error);
      this.onrefused = null;
    }
    throw error;
  }
}

/** An error of ours, or that nothing came of it. @param {any} error */
function reached(error) {
  if (error instanceof DurableError) return error;
  const why = error?.cause?.message ?? error?.message ?? String(error);
  return Object.assign(new StoreUnavailable(`the server can't be reached: ${why}`), { cause: error });
}
