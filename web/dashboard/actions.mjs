/** What can be done with a run, and with the tokens that it waits for; each after a question. */

import { FINAL, RESUMABLE } from "../statuses.mjs";
import { decode } from "../values.mjs";
import { html, useEffect, useRef } from "./html.mjs";

/** @typedef {import("./app.mjs").App} App */
/** @typedef {import("../run.mjs").Run} Run */
/** @typedef {import("./ask.mjs").Question} Question */

/** A value from text, which is JSON, with the tags of stored values if need be. @param {string} text @param {string} what */
export function valueOf(text, what) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} isn't JSON: ${/** @type {Error} */ (error).message}`);
  }
  return decode(text, what);
}

/** @param {string} text */
function pretty(text) {
  try {
    // Numbers stay as they are written, which JavaScript may not be able to hold.
    return /\d{16}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Give a text to whoever looks, as a file. @param {string} text @param {string} name */
function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {App} app @param {Run} run @returns {Record<string, Question>} */
function questions(app, run) {
  const { source, go, say } = app;
  const { id } = run;
  const payload = pretty(run.row?.payload ?? "null");
  return {
    cancel: {
      ...{ title: "Cancel this run?", yes: "Cancel the run", danger: true },
      text: "It ends as cancelled, and what it is doing now is stopped. Finished steps are kept: a resume goes on after them.",
      run: async () => void (await source.cancel(id)),
    },
    resume: {
      ...{ title: "Resume this run?", yes: "Resume the run" },
      text: "It goes on after its finished steps, with a new budget of attempts.",
      run: async () => void (await source.resume(id)),
    },
    replay: {
      ...{ title: "Replay this run?", yes: "Start a new run" },
      text: "A new run of the same job begins from the top. Nothing of this one is used but its payload.",
      field: { name: "payload", label: "Payload (JSON)", value: payload, rows: 8 },
      run: async (text) => {
        const made = await (text === payload ? source.replay(id) : source.replay(id, valueOf(text, "the payload")));
        say("A new run has been started");
        go({ view: "run", id: made.id });
      },
    },
    delete: {
      ...{ title: "Delete this run?", yes: "Delete the run", danger: true },
      text: "The run is removed with its steps, its log and its output. This can't be undone.",
      run: async () => {
        await source.delete(id);
        say("The run is deleted");
        go({ view: "runs" });
      },
    },
    hand_over: {
      ...{ title: "Hand this run over?", yes: "Hand over as a file", danger: true },
      text: "It ends here as moved, and goes on wherever the file is imported: in another browser, or on a server.",
      run: async () => save(await source.exportRun(id), `run-${id}.json`),
    },
  };
}

const WORDS = { cancel: "Cancel", resume: "Resume", replay: "Replay", hand_over: "Hand over", delete: "Delete" };

/** @param {{app: App, run: Run}} given */
export function Actions({ app, run }) {
  const status = run.status ?? "";
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const active = () => /** @type {ShadowRoot | Document | undefined} */ (box.current?.getRootNode())?.activeElement ?? null;
  const here = Boolean(box.current?.contains(active())); // before it is drawn
  useEffect(() => {
    if (here && !box.current?.contains(active())) box.current?.focus(); // its button is gone with the status
  });
  if (app.source.readOnly) return null;
  const final = FINAL.includes(status);
  /** @type {Record<keyof typeof WORDS, boolean>} */
  const can = {
    ...{ cancel: !final, resume: RESUMABLE.includes(status), replay: true },
    ...{ hand_over: !final || status === "MOVED", delete: final },
  };
  const names = /** @type {(keyof typeof WORDS)[]} */ (Object.keys(WORDS)).filter((name) => can[name]);
  return html`<div class="actions" role="group" tabindex="-1" ref=${box} aria-label="What to do with this run">
    ${names.map((name) => html`<button type="button" key=${name} data-do=${name} onclick=${() => app.ask(questions(app, run)[name])}>${WORDS[name]}</button>`)}
  </div>`;
}

/** @param {App} app @param {string[]} jobs */
export function askTrigger(app, jobs) {
  app.ask({
    ...{ title: "Start a run?", yes: "Start it", no: "Start none" },
    text: "It is stored at once, and executed as soon as a worker that knows the job has room.",
    choice: { name: "job", label: "Job", options: jobs },
    field: { name: "payload", label: "Payload (JSON)", value: "null", rows: 6 },
    run: async (text, job) => {
      const made = await app.source.trigger(job, valueOf(text, "the payload"));
      app.say("The run has been started");
      app.go({ view: "run", id: made.id });
    },
  });
}

/** @param {App} app */
export function askTakeOver(app) {
  app.ask({
    ...{ title: "Take a run over?", yes: "Take it over", no: "Leave it" },
    text: "A run that was handed over elsewhere, as a file, goes on here after its finished steps.",
    field: { name: "document", label: "File", file: true },
    run: async (text) => {
      const made = await app.source.importRun(text);
      app.say("The run goes on here");
      app.go({ view: "run", id: made.id });
    },
  });
}

/** @param {App} app @param {Run} run @param {string} path of a step */
export function askFork(app, run, path) {
  app.ask({
    ...{ title: "Fork from this step?", yes: "Start a fork" },
    text: `A new run with the same payload begins with what was finished before “${path}”; that step and all after it are done anew.`,
    run: async () => {
      const made = await app.source.fork(run.id, path);
      app.say("A fork has been started");
      app.go({ view: "run", id: made.id });
    },
  });
}

/** @param {App} app @param {import("../records.mjs").Token} token @param {() => void} [done] */
export function askComplete(app, { id }, done = () => {}) {
  app.ask({
    ...{ title: "Complete this token?", yes: "Complete it" },
    text: `Whoever waits for ${id} gets this value, and goes on. The first value counts.`,
    field: { name: "value", label: "Value (JSON)", value: "null", rows: 4 },
    run: async (text) => {
      await app.source.completeToken(id, valueOf(text, "the value"));
      app.say("The token is completed");
      done();
    },
  });
}

/** @param {App} app @param {import("../records.mjs").Token} token @param {() => void} [done] */
export function askFail(app, { id }, done = () => {}) {
  app.ask({
    ...{ title: "Fail this token?", yes: "Fail it", danger: true },
    text: `Whoever waits for ${id} gets TokenFailed with this message.`,
    field: { name: "message", label: "Message", value: "", rows: 2 },
    run: async (text) => {
      await app.source.failToken(id, text);
      app.say("The token has failed");
      done();
    },
  });
}
