/** One run: what it is, what can be done with it, what it did and said, and what it waits for. */

import { FINAL } from "../statuses.mjs";
import { timeline } from "../timeline.mjs";
import { Actions } from "./actions.mjs";
import { useNow } from "./data.mjs";
import { html, useEffect, useMemo, useRef, useState } from "./html.mjs";
import { Log, Story } from "./lines.mjs";
import { Failure } from "./one-failure.mjs";
import { Picture } from "./picture.mjs";
import { Progress, Status } from "./runs.mjs";
import { Steps } from "./steps.mjs";
import { TokenTable } from "./outside-view.mjs";
import { Value } from "./value.mjs";
import { many, moment, number, read, span, word } from "./words.mjs";

/** @typedef {import("./app.mjs").App} App */
/** @typedef {import("../run.mjs").Run} Run */

const PAUSE = 150; // ms between two reads, however much happens
const RETRY = 1500;
const POLL = 5000; // ms, of what has ended: a server tells no more of it
const MANY = 1000; // steps whose timeline isn't drawn each second
const TOKENS = 200;

/**
 * What is known of a run; null: it isn't there.
 * @typedef {object} Known
 * @property {Run} run
 * @property {import("../records.mjs").Step[]} steps
 * @property {import("../records.mjs").LogLine[]} logs
 * @property {import("../source.mjs").HistoryEvent[]} events
 * @property {import("../records.mjs").Token[]} tokens that are pending
 * @property {Run[]} children
 * @property {string[]} begun paths of steps that are in flight, as far as they are told of
 */

/** @param {App} app @param {string} id @returns {Known | null | undefined} */
function useRun(app, id) {
  const [known, set] = useState(/** @type {Known | null | undefined} */ (undefined));
  useEffect(() => {
    const { source, down } = app;
    const run = source.run(id);
    let [timer, reading, again, gone, ended] = [0, false, false, false, false];
    let pause = PAUSE;
    /** @type {Known | null} */
    let last = null;
    let shown = "";
    async function go() {
      [timer, reading, again, gone] = [0, true, false, false];
      const began = performance.now();
      try {
        await run.refresh();
        const pending = source.tokens({ run: id, state: "pending", limit: TOKENS });
        const seen = last?.events ?? [];
        const parts = [run.steps(), run.logs(), run.history(seen.at(-1)?.seq), pending, run.children()];
        const [steps, logs, events, tokens, children] = /** @type {any[]} */ (await Promise.all(/** @type {any[]} */ (parts)));
        if (ended || gone) return; // what was read then is half of it
        last = { run, steps, logs, events: [...seen, ...events], tokens, children, begun: [...run.inFlight.keys()] };
        if (run.row) shown = stamp(run.row);
        set(last);
        down(null);
        // One with many steps isn't to be all that is done; but the page may have been frozen meanwhile.
        pause = Math.min(POLL, Math.max(PAUSE, 4 * (performance.now() - began)));
      } catch (error) {
        if (ended) return;
        if (/** @type {Error} */ (error).name === "RunNotFound") {
          last = null; // a run of this id that comes has another history
          return set(null);
        }
        down(/** @type {Error} */ (error));
        [again, pause] = [true, RETRY];
      } finally {
        reading = false;
      }
      if (again) soon();
    }
    function soon() {
      again = true;
      if (!timer && !reading && !ended) timer = setTimeout(go, pause);
    }
    set(undefined);
    run.addEventListener("event", soon);
    run.addEventListener("status", soon);
    run.addEventListener("progress", soon);
    run.addEventListener("broken", soon); // to read is how to know whether it is down
    run.addEventListener("gone", () => {
      gone = true;
      last = null;
      if (!ended) set(null);
    });
    // Nobody tells of a server's run that has ended, nor of what it has started.
    const poll = setInterval(async () => {
      if (source.store.announces_all || document.hidden || reading || !last || !run.finished) return;
      const [known, row] = [last, await source.store.get_run(id).catch(() => undefined)];
      if (ended || known !== last || row === undefined) return;
      if (!row) [last] = [null, set(null)];
      else if (stamp(row) !== shown || known.children.some((child) => !child.finished)) soon();
    }, POLL);
    // A wait that has ended is no event, nor another status.
    const unlisten = source.store.listen((changes) => {
      if (changes.some(({ run_id, step }) => !step && (run_id === null || run_id === id))) soon();
    });
    go();
    return () => {
      ended = true;
      clearTimeout(timer);
      clearInterval(poll);
      unlisten();
      run.close();
    };
  }, [app.source, id]);
  return known;
}

/** What a run is, as far as only a look at it tells. @param {import("../records.mjs").Run} row */
const stamp = ({ status, attempt, generation, seq }) => `${status} ${attempt} ${generation} ${seq}`;

/** @param {{app: App, id: string}} given */
export function One({ app, id }) {
  const known = useRun(app, id);
  const status = known?.run.status ?? "";
  const over = FINAL.includes(status);
  const now = useNow(Boolean(known) && !over, (known?.steps.length ?? 0) > MANY ? 10 : 1);
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  const { Link } = app;
  useEffect(() => heading.current?.focus({ preventScroll: true }), [id, known === undefined]);
  const before = useRef("");
  useEffect(() => {
    if (before.current && status !== "WAITING") app.tell(`Run ${word(status)}`); // short waits would be a stream of news
    before.current = status;
  }, [status]);
  const drawn = useMemo(() => (known?.run.row ? timeline(known.run.row, known.steps, known.events, now) : null), [known, now]);
  const back = html`<${Link} to=${{ view: "runs" }} class="back" onclick=${app.back}>Runs</>`;

  if (known === undefined) return html`<section class="view"><p>${back}</p><p class="empty soft" role="status">Loading …</p></section>`;
  if (known === null) {
    return html`<section class="view"><p>${back}</p><div class="empty" role="status"><h2 tabindex="-1" ref=${heading}>There is no such run</h2>
      <p class="mono soft">${id}</p><p>It was deleted, or it is in another store.</p></div></section>`;
  }
  const { run, steps, logs, events, tokens, children, begun } = known;
  const row = /** @type {import("../records.mjs").Run} */ (run.row);
  const error = read(row.error);
  const { progress } = run;
  const pending = tokens.filter((token) => token.kind === "token");
  return html`<section class="view one">
    <p>${back}</p>
    <header class="title">
      <h2 tabindex="-1" ref=${heading}>${run.job} <${Status} status=${status} /></h2>
      <${Actions} app=${app} run=${run} />
    </header>
    ${!over && (progress || begun.length > 0) && html`<div class="going"><${Progress} progress=${progress} status=${status} />
      ${begun.length > 0 && html`<p class="soft">Now: ${begun.slice(0, 5).join(", ")}${begun.length > 5 && `, and ${number(begun.length - 5)} more`}</p>`}</div>`}
    ${pending.length > 0 && html`<div class="card wait"><h3>It waits for ${pending.length === 1 ? "this token" : "these tokens"}</h3>
      <${TokenTable} app=${app} tokens=${pending} of=${id} /></div>`}
    <div class="card"><h3>Timeline</h3><${Picture} drawn=${drawn} over=${over} /></div>
    <div class="both">
      <div class="card"><h3>Facts</h3><${Facts} app=${app} run=${run} now=${now} /></div>
      <div class="card"><h3>Values</h3>
        <h4>Payload</h4><${Value} text=${row.payload} label="Payload" say=${app.say} />
        ${row.output !== null && html`<h4>Output</h4><${Value} text=${row.output} label="Output" say=${app.say} />`}
        ${error && html`<h4>Error</h4><${Failure} error=${error} />`}
        ${row.metadata !== "{}" && html`<h4>Metadata</h4><${Value} text=${row.metadata} label="Metadata" say=${app.say} />`}
      </div>
    </div>
    <div class="card"><h3>Steps</h3><${Steps} app=${app} run=${run} steps=${steps} drawn=${drawn} held=${new Set(pending.map(({ path }) => path))} /></div>
    ${children.length > 0 && html`<div class="card"><h3>Runs that it started</h3><${Children} app=${app} runs=${children} /></div>`}
    <div class="both">
      <div class="card"><h3>Log</h3><${Log} lines=${logs} /></div>
      <div class="card"><h3>What happened</h3><${Story} events=${events} steps=${steps} /></div>
    </div>
  </section>`;
}

/** @param {{app: App, run: Run, now: number}} given */
function Facts({ app, run, now }) {
  const { Link } = app;
  const row = /** @type {import("../records.mjs").Run} */ (run.row);
  const cause = read(row.trigger, {});
  const parent = row.parent_id ?? cause.of ?? cause.run;
  const tags = read(row.tags, []);
  /** @type {Record<string, any>} */
  const causes = { api: "a call", schedule: "a schedule", event: "an event", webhook: "a webhook", run: "another run", replay: "a replay", fork: "a fork" };
  const names = [cause.name, cause.step].filter(Boolean).join(", ");
  /** @type {[string, any][]} */
  const facts = [
    ["Run", html`<span class="mono whole">${run.id}</span>`],
    ["Started by", html`${causes[cause.kind] ?? cause.kind ?? "–"}${names && ` (${names})`}${parent && html` of <${Link} to=${{ view: "run", id: parent }} class="mono">${parent.slice(-8)}</>`}`],
    ["Tags", tags.length ? tags.map((/** @type {string} */ tag) => html`<span class="tag" key=${tag}>${tag}</span> `) : null],
    ["Queue", `${row.queue}${row.priority ? `, priority ${row.priority}` : ""}`],
    ["Created", moment(row.created_at)],
    ["Started", row.started_at === null ? null : moment(row.started_at)],
    ["Due", row.ready_at !== null && row.ready_at > now ? moment(row.ready_at) : null],
    ["Finished", row.finished_at === null ? null : moment(row.finished_at)],
    ["Took", row.started_at === null ? null : span((row.finished_at ?? now) - row.started_at)],
    ["Executed for", row.executed ? span(row.executed) : null],
    ["Attempt", row.attempt > 1 ? `${row.attempt}` : null],
    ["Recoveries", row.recoveries ? `${row.recoveries} without a checkpoint between` : null],
    ["Was stale", row.stale_reason],
    ["Version", row.version],
    ["Deadline", row.deadline === null ? null : moment(row.deadline)],
    ["Idempotency key", row.idempotency_key && html`<span class="mono whole">${row.idempotency_key}</span>`],
    ["Concurrency key", row.concurrency_key && html`<span class="mono whole">${row.concurrency_key}</span>`],
    ["Held back by", row.blocked && `its ${row.blocked}`],
    ["Worker", row.worker && html`<span class="mono whole">${row.worker}</span>`],
    ["Environment", row.environment],
  ];
  return html`<dl class="facts">${facts.filter(([, fact]) => fact).map(([name, fact]) => html`<div key=${name}><dt>${name}</dt><dd>${fact}</dd></div>`)}</dl>`;
}

/** @param {{app: App, runs: Run[]}} given */
function Children({ app, runs }) {
  const { Link } = app;
  const [most, setMost] = useState(20);
  return html`<ul class="plain">${runs.slice(0, most).map(
    (run) => html`<li key=${run.id}><${Status} status=${run.status} /><${Link} to=${{ view: "run", id: run.id }}>${run.job} <span class="mono">${run.id.slice(-8)}</span></></li>`,
  )}</ul>${runs.length > most && html`<button type="button" class="quiet" onclick=${() => setMost(Infinity)}>Show all ${many(runs.length, "run")}</button>`}`;
}
