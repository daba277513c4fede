/** Tokens, queues and schedules: what holds runs back, and what starts them. */

import { askComplete, askFail } from "./actions.mjs";
import { useNow, useRead } from "./data.mjs";
import { html } from "./html.mjs";
import { away, many, moment, number, span, ticks } from "./words.mjs";

/** @typedef {import("./app.mjs").App} App */
/** @typedef {import("../records.mjs").Token} Token */
/** @typedef {import("../records.mjs").QueueState} QueueState */
/** @typedef {import("../records.mjs").ScheduleRow} ScheduleRow */

const TOKENS = 200;

/** @param {{title: string, text: string}} given */
const Nothing = ({ title, text }) => html`<div class="empty"><p><b>${title}</b></p><p>${text}</p></div>`;
const loading = html`<p class="empty soft" role="status">Loading …</p>`;

/**
 * @param {{app: App, tokens: Token[], of?: string, again?: () => void}} given `of`: the run whose page this is
 */
export function TokenTable({ app, tokens, of, again }) {
  const now = useNow(true);
  const { Link } = app;
  return html`<table class="stack"><thead><tr>
      <th scope="col">Token</th>${!of && html`<th scope="col">Run</th>`}<th scope="col">Until</th>${!app.source.readOnly && html`<th scope="col"><span class="sr">What to do</span></th>`}
    </tr></thead><tbody>${tokens.map(
      (token) => html`<tr key=${token.id}>
        <th scope="row"><span class="mono whole">${token.id}</span><br /><span class="soft">${token.kind === "event" ? `event ${token.name}` : token.path}</span></th>
        ${!of && html`<td><${Link} to=${{ view: "run", id: token.run_id }} class="mono">${token.run_id.slice(-8)}</></td>`}
        <td><time title=${moment(token.deadline)}>${away(token.deadline, now)}</time></td>
        ${!app.source.readOnly && html`<td class="end nowrap">${token.kind === "token" && html`
          <button type="button" onclick=${() => askComplete(app, token, again)} aria-label=${`Complete ${token.id}`}>Complete</button>
          <button type="button" onclick=${() => askFail(app, token, again)} aria-label=${`Fail ${token.id}`}>Fail</button>`}</td>`}
      </tr>`,
    )}</tbody></table>`;
}

/** @param {{app: App}} given */
export function Tokens({ app }) {
  const { value, again } = useRead(app.source, () => app.source.tokens({ state: "pending", limit: TOKENS }), app.down);
  if (!value) return loading;
  return html`<section class="view" aria-labelledby="tokens"><h2 id="tokens">Pending tokens</h2>
    ${value.length
      ? html`<p class="soft">${value.length === TOKENS ? `The newest ${TOKENS}.` : `${many(value.length, "token")}.`} Runs wait for them, and hold no worker.</p><div class="card"><${TokenTable} app=${app} tokens=${value} again=${again} /></div>`
      : html`<${Nothing} title="Nobody waits." text="A run that calls ctx.wait_for_token() waits until somebody completes it: here, or from code." />`}
  </section>`;
}

/**
 * A switch: it says what it does, and does it.
 * @param {{app: App, paused: boolean, name: string, pause: () => Promise<void>, resume: () => Promise<void>, again: () => void}} given
 */
function Switch({ app, paused, name, pause, resume, again }) {
  if (app.source.readOnly) return null;
  const act = async () => {
    try {
      await (paused ? resume() : pause());
      app.say(`${name} is ${paused ? "going on" : "paused"}`);
    } catch (error) {
      app.say(/** @type {Error} */ (error).message);
    }
    again();
  };
  return html`<button type="button" onclick=${act} aria-label=${`${paused ? "Resume" : "Pause"} ${name}`}>${paused ? "Resume" : "Pause"}</button>`;
}

/** @param {boolean} paused */
const state = (paused) => html`<span class="status" data-is=${paused ? "queued" : "completed"}>${paused ? "paused" : "open"}</span>`;

/** @param {{app: App}} given */
export function Queues({ app }) {
  const { source, Link } = app;
  const { value, again } = useRead(source, () => source.queues(), app.down);
  if (!value) return loading;
  return html`<section class="view" aria-labelledby="queues"><h2 id="queues">Queues</h2>
    ${value.length
      ? html`<div class="card"><table class="stack"><thead><tr>
          <th scope="col">Queue</th><th scope="col">State</th><th scope="col">Executing</th><th scope="col">Queued</th><th scope="col">Starts</th><th scope="col"><span class="sr">What to do</span></th>
        </tr></thead><tbody>${value.map(({ queue, taken, queued }) => html`<tr key=${queue.name}>
          <th scope="row">${queue.name}</th><td>${state(Boolean(queue.paused))}</td>
          <td data-label="Executing">${queue.concurrency === null ? `${number(taken)}, no limit` : html`<span class="progress"><progress max=${queue.concurrency} value=${Math.min(taken, queue.concurrency)} aria-label="places taken" />
            <span class="nowrap">${number(taken)} of ${number(queue.concurrency)}</span></span>`}</td>
          <td data-label="Queued">${queued ? html`<${Link} to=${{ view: "runs", status: "QUEUED" }}>${number(queued)}</>` : "0"}</td>
          <td data-label="Starts">${queue.rate === null ? "no limit" : `${number(queue.rate)} in ${span(queue.period ?? 0)}`}</td>
          <td class="end"><${Switch} app=${app} paused=${Boolean(queue.paused)} name=${`Queue ${queue.name}`} pause=${() => source.pauseQueue(queue.name)} resume=${() => source.resumeQueue(queue.name)} again=${again} /></td>
        </tr>`)}</tbody></table></div>`
      : html`<${Nothing} title="No queues." text="Here are the queues that have limits, or that somebody has paused. All others let every run start." />`}
  </section>`;
}

/** @param {{app: App}} given */
export function Schedules({ app }) {
  const { source, Link } = app;
  const { value, again } = useRead(source, () => source.schedules(), app.down);
  const now = useNow(true);
  if (!value) return loading;
  return html`<section class="view" aria-labelledby="schedules"><h2 id="schedules">Schedules</h2>
    ${value.length
      ? html`<div class="card"><table class="stack"><thead><tr>
          <th scope="col">Job</th><th scope="col">Schedule</th><th scope="col">State</th><th scope="col">Last</th><th scope="col">Next</th><th scope="col"><span class="sr">What to do</span></th>
        </tr></thead><tbody>${value.map((row) => html`<tr key=${`${row.job} ${row.name}`}>
          <th scope="row"><${Link} to=${{ view: "runs", job: row.job }}>${row.job}</></th>
          <td>${row.name}${row.name !== ticks(row.spec) && html`<br /><span class="soft">${ticks(row.spec)}</span>`}</td>
          <td>${state(Boolean(row.paused))}</td>
          <td data-label="Last">${row.last_at === null ? "–" : html`<time title=${moment(row.last_at)}>${away(row.last_at, now)}</time>`}</td>
          <td data-label="Next">${row.paused ? "–" : next(row, now)}</td>
          <td class="end"><${Switch} app=${app} paused=${Boolean(row.paused)} name=${`${row.job} ${row.name}`} pause=${() => source.pauseSchedule(row.job, row.name)} resume=${() => source.resumeSchedule(row.job, row.name)} again=${again} /></td>
        </tr>`)}</tbody></table></div>`
      : html`<${Nothing} title="No schedules." text="A job with on=Schedule(every='1h') is here as soon as a worker that knows it has started." />`}
  </section>`;
}

/** @param {ScheduleRow} row @param {number} now */
function next(row, now) {
  if (row.next_at <= now) return "due, as soon as a worker is there";
  return html`<time title=${moment(row.next_at)}>${away(row.next_at, now)}</time>`;
}
