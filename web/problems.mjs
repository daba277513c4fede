/** Errors of the HTTP API, as the classes that the same errors of a tab have. */

import { Busy, Conflict, DurableError, RunNotFound, StoreUnavailable, TokenNotFound } from "./statuses.mjs";
import { InvalidOption } from "./trigger-options.mjs";
import { InvalidPayload, TooLarge, UnknownJob } from "./triggers.mjs";
import { NotSerializable } from "./values.mjs";

/** The server wants a token, or another one. */
export class Unauthorized extends DurableError {}

/** What it is made of, by the code of the problem. @type {Record<string, (fields: any, detail: string) => Error | Promise<Error>>} */
const CLASSES = {
  unauthorized: (_, detail) => new Unauthorized(detail),
  run_not_found: ({ run_id }) => new RunNotFound(run_id),
  token_not_found: ({ token_id }) => new TokenNotFound(token_id),
  unknown_job: (_, detail) => new UnknownJob(detail),
  conflict: (_, detail) => new Conflict(detail),
  busy: ({ key, run_id }) => new Busy(key, run_id),
  too_large: (_, detail) => new TooLarge(detail),
  invalid_option: ({ option, detail }) => new InvalidOption(option, detail),
  invalid_payload: ({ job, problems = [] }) => new InvalidPayload(job, problems),
  not_serializable: ({ key, path, detail }) => new NotSerializable(key, path, detail),
  store_unavailable: (_, detail) => new StoreUnavailable(detail),
  async invalid_document({ path, detail }) {
    const { InvalidDocument } = await import("./moving.mjs"); // large, and rarely needed
    return new InvalidDocument(path, detail);
  },
};

/**
 * The error that an answer is, with the server's words, and its `status` and `code`: null if it isn't our server's, but
 * that of something between.
 * @param {Response} response
 * @returns {Promise<Error & {status: number, code: string | null}>}
 */
export async function problemOf(response) {
  const { status, headers } = response;
  const ours = headers.get("content-type")?.startsWith("application/problem+json");
  const told = ours ? await response.json().catch(() => ({})) : {};
  const code = typeof told.code === "string" ? told.code : null;
  const detail = String(told.detail ?? `the server answered with status ${status}`);
  const name = status === 401 && code === null ? "unauthorized" : code;
  const make = name !== null && Object.hasOwn(CLASSES, name) ? CLASSES[name] : null;
  const error = (await make?.(told.fields ?? {}, detail)) ?? new DurableError(detail);
  return Object.assign(error, { message: detail, status, code });
}

/** Whether to ask again would change nothing. @param {any} error */
export const isLasting = ({ code = null, status = 0 }) =>
  status === 401 || (code !== null && status >= 400 && status < 500 && code !== "rate_limited");
