/** The list of runs: filters, search, and what is going on, newest first. */

import { askTakeOver, askTrigger } from "./actions.mjs";
import { useNow, useRead, useRuns } from "./data.mjs";
import { Grid } from "./grid.mjs";
import { html, useEffect, useRef, useState } from "./html.mjs";
import { ACTIVE, away, BROKEN, failure, many, moment, number, read, span, STATUSES, when, word } from "./words.mjs";

/** @typedef {import("./app.mjs").App} App */
/** @typedef {import("../run.mjs").Run} Run */
/** @typedef {import("./routes.mjs").Route} Route */

const TYPING = 250; // ms
const SPARING = 5000; // ms between two announcements
const SEARCHED = 10_000;
const COLUMNS = [
  { name: "status", text: "Status" },
  { name: "job", text: "Job" },
  { name: "now", text: "Progress" },
  { name: "tags", text: "Tags" },
  { name: "id", text: "Run" },
  { name: "when", text: "Created" },
  { name: "took", text: "Took" },
];
/** Several statuses under one name. @type {Record<string, string[]>} */
const GROUPS = { unfinished: ACTIVE, broken: BROKEN };

/** @param {{status: string | null}} given */
export const Status = ({ status }) => html`<span class="status" data-is=${(status ?? "").toLowerCase()}>${word(status ?? "")}</span>`;

/** A bar as far as a whole is known, and words. @param {{progress: any, status?: string | null}} given */
export function Progress({ progress, status = null }) {
  const { current = 0, total = null, message = null } = progress ?? {};
  const part = total > 0 && Number.isFinite(current) ? Math.min(1, Math.max(0, current / total)) : null;
  if (part === null && !message) return progress && Number.isFinite(current) ? number(current) : null;
  const words = message ?? `${number(current)} of ${number(total)}`;
  return html`<span class="progress">
    ${part !== null && html`<progress max="1" value=${part} aria-label=${`${Math.floor(part * 100)} %`} data-is=${(status ?? "").toLowerCase()} />`}
    <span class="cut" title=${words}>${part !== null && html`<b>${Math.floor(part * 100)} %</b> `}${words}</span></span>`;
}

/** @param {Run} run @param {number} now */
function took({ row }, now) {
  if (!row?.started_at) return "–";
  return span((row.finished_at ?? now) - row.started_at);
}

/** @param {Run} run @param {number} now */
function doing({ row, status }, now) {
  const error = failure(read(row?.error));
  if (row?.finished_at && error) return html`<span class="cut bad" title=${error.slice(0, 500)}>${error.slice(0, 200)}</span>`;
  if (status === "PENDING" && row?.ready_at && row.ready_at > now) return html`<span class="soft cut">starts ${away(row.ready_at, now)}</span>`;
  return html`<${Progress} progress=${read(row?.progress)} status=${status} />`;
}

/** @param {{app: App, route: Route, kept: Record<string, any>}} given */
export function Runs({ app, route, kept }) {
  const { source, go, Link } = app;
  const filter = wanted(route);
  const key = JSON.stringify(filter);
  if (!kept[key]) for (const other of Object.keys(kept)) delete kept[other]; // one list is enough to go back to
  const memory = (kept[key] ??= {});
  const { runs, cursor, searched, full, loading, more } = useRuns(source, filter, app.down, memory);
  const now = useNow(true);
  useNews(app, runs, key);

  /** @param {Run} run */
  const cells = (run) => {
    const { row, id } = run;
    const tags = read(row?.tags, []);
    return [
      html`<${Status} status=${run.status} />`,
      html`<span class="cut" title=${run.job}>${run.job}</span>`,
      doing(run, now),
      tags.map((/** @type {string} */ tag) => html`<span class="tag" key=${tag}>${tag}</span>`),
      html`<${Link} to=${{ view: "run", id }} class="mono" tabindex="-1" title=${id}>${id.slice(-8)}</>`,
      html`<time title=${moment(row?.created_at)}>${row ? when(row.created_at, now) : ""}</time>`,
      took(run, now),
    ];
  };

  const filtered = Boolean(route.status || route.job || route.tag || route.q);
  const open = (/** @type {Run} */ run) => go({ view: "run", id: run.id });
  return html`<section class="view runs" aria-label="Runs">
    <${Filters} app=${app} route=${route} />
    <p class="count soft" role="status">${told(runs, cursor, searched, route)}</p>
    ${runs?.length === 0 && !cursor
      ? html`<${Nothing} filtered=${filtered} clear=${() => go({ view: "runs" })} />`
      : html`<${Grid} key=${key} label="Runs, newest first" rows=${runs ?? []} columns=${COLUMNS} cells=${cells} kept=${memory}
          whole=${runs !== null && !cursor} onopen=${open} onend=${full ? more : () => {}} />`}
    ${cursor && !full && html`<p class="foot"><button type="button" disabled=${loading} onclick=${more}>Search further back</button></p>`}
  </section>`;
}

/** @param {Run[] | null} runs @param {string | null} cursor @param {number | null} searched @param {Route} route */
function told(runs, cursor, searched, route) {
  if (!runs) return "Loading …";
  const found = `${many(runs.length, "run")}${cursor ? " so far" : ""}`;
  if (searched === null) return cursor ? `${found}, more as you scroll` : found;
  return `${found} with “${route.q}”${cursor && searched >= SEARCHED ? `; searched the newest ${number(searched)}` : ""}`;
}

/** @param {Route} route @returns {import("../source.mjs").ListFilter} */
export function wanted({ status, job, tag, q }) {
  const statuses = (status ?? "").split(",").flatMap((one) => GROUPS[one] ?? (STATUSES.includes(one) ? [one] : []));
  const tags = (tag ?? "").split(",").map((one) => one.trim()).filter(Boolean);
  return {
    ...(statuses.length ? { status: statuses } : {}),
    ...(job ? { job } : {}),
    ...(tags.length ? { tag: tags } : {}),
    ...(q ? { search: q } : {}),
  };
}

/** @param {{app: App, route: Route}} given */
function Filters({ app, route }) {
  const { source, go } = app;
  const { value: jobs = [] } = useRead(source, () => source.knownJobs(), () => {}, { listens: false });
  const names = [...new Set([...jobs.map(({ name }) => name), ...(route.job ? [route.job] : [])])];
  const change = (/** @type {Partial<Route>} */ part) => go({ ...route, ...part }, true);
  const pick = (/** @type {"status" | "job"} */ name) => (/** @type {any} */ event) => change({ [name]: event.target.value });
  return html`<form class="filters" role="search" onsubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
    <${Typed} label="Search" name="q" type="search" value=${route.q} hint="Run, tag or payload  ( / )" change=${change} />
    <label><span>Status</span><select name="status" value=${route.status ?? ""} onchange=${pick("status")}>
      <option value="">any</option><option value="unfinished">unfinished</option><option value="broken">failed in any way</option>
      ${STATUSES.map((one) => html`<option value=${one} key=${one}>${word(one)}</option>`)}
    </select></label>
    <label><span>Job</span><select name="job" value=${route.job ?? ""} onchange=${pick("job")}>
      <option value="">any</option>
      ${names.map((one) => html`<option value=${one} key=${one}>${one}</option>`)}
    </select></label>
    <${Typed} label="Tags" name="tag" value=${route.tag} hint="a, b" change=${change} />
    <button type="button" class="quiet" hidden=${!(route.status || route.job || route.tag || route.q)} onclick=${() => go({ view: "runs" }, true)}>Clear</button>
    ${!source.readOnly && html`<span class="new"><button type="button" onclick=${() => askTakeOver(app)}>Take over …</button>
      <button type="button" onclick=${() => askTrigger(app, jobs.map(({ name }) => name))}>New run …</button></span>`}
  </form>`;
}

/** A field whose text counts when nobody types any more. @param {{label: string, name: string, value?: string, hint: string, type?: string, change: (part: any) => void}} given */
function Typed({ label, name, value = "", hint, type = "text", change }) {
  const [text, set] = useState(value);
  const timer = useRef(0);
  useEffect(() => set(value), [value]);
  const tell = (/** @type {string} */ now) => {
    clearTimeout(timer.current);
    change({ [name]: now });
  };
  return html`<label class=${`by-${name}`}><span>${label}</span><input name=${name} type=${type} value=${text} placeholder=${hint} autocomplete="off" spellcheck=${false}
    oninput=${(/** @type {any} */ { target }) => {
      set(target.value);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => tell(target.value), TYPING);
    }}
    onkeydown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && tell(text)} /></label>`;
}

/** @param {{filtered: boolean, clear: () => void}} given */
function Nothing({ filtered, clear }) {
  if (filtered) {
    return html`<div class="empty"><p>No run is like that.</p><button type="button" onclick=${clear}>Show all runs</button></div>`;
  }
  return html`<div class="empty"><p><b>No runs yet.</b></p>
    <p>Trigger one, and it is here at once:</p>
    <pre>await source.trigger("my_job", {pages: 20})  // a page</pre><pre>await app.trigger(my_job, Payload(pages=20))  # Python</pre></div>`;
}

/** Says how runs have ended, all of some seconds at once. @param {App} app @param {Run[] | null} runs @param {string} key */
function useNews(app, runs, key) {
  const known = useRef(/** @type {Map<string, string> | null} */ (null));
  const news = useRef(/** @type {Map<string, number>} */ (new Map()));
  const timer = useRef(0);
  useEffect(() => {
    known.current = null;
    return () => {
      clearTimeout(timer.current);
      timer.current = 0;
      news.current.clear();
    };
  }, [key]);
  useEffect(() => {
    if (!runs) return;
    const before = known.current;
    const newest = runs.slice(0, 100);
    known.current = new Map(newest.map((run) => [run.id, run.status ?? ""]));
    if (!before) return;
    for (const { id, status, row } of newest) {
      if (!row?.finished_at || !before.has(id) || before.get(id) === status) continue;
      news.current.set(status ?? "", (news.current.get(status ?? "") ?? 0) + 1);
    }
    if (!news.current.size || timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = 0;
      app.tell([...news.current].map(([status, n]) => `${many(n, "run")} ${word(status)}`).join(", "));
      news.current.clear();
    }, SPARING);
  }, [runs]);
}
