/** The steps of a run as a table, each with what it gave or why it failed, and a fork from there. */

import { askFork } from "./actions.mjs";
import { html, useState } from "./html.mjs";
import { Failure } from "./one-failure.mjs";
import { Value } from "./value.mjs";
import { clock, many, moment, number, read, span, word } from "./words.mjs";

/** @typedef {import("./app.mjs").App} App */
/** @typedef {import("../records.mjs").Step} Step */

const ROWS = 50;
const MORE = 500;

/** @param {{app: App, run: import("../run.mjs").Run, steps: Step[], drawn: import("../timeline.mjs").Timeline | null, held: Set<string>}} given `held`: the paths of tokens that are waited for */
export function Steps({ app, run, steps, drawn, held }) {
  const [most, setMost] = useState(ROWS);
  const [open, setOpen] = useState(/** @type {string | null} */ (null));
  if (!steps.length) return html`<p class="soft none">No step has ended yet.</p>`;
  const rows = new Map(steps.map((step) => [step.path, step]));
  const order = drawn?.steps ?? [];
  const done = steps.filter((step) => step.seq !== null && !held.has(step.path)).length;
  return html`<p class="soft">${many(done, "step")} finished of ${number(steps.length)} that have begun.</p>
    <div class="wide"><table class="steps"><thead><tr>
      <th scope="col">Step</th><th scope="col">Status</th><th scope="col" class="far">Kind</th><th scope="col" class="far">Began</th><th scope="col" class="end">Took</th><th scope="col"><span class="sr">More</span></th>
    </tr></thead><tbody>${order.slice(0, most).map((one) => {
      const step = rows.get(one.path);
      const shown = open === one.path;
      if (!step) return null;
      // A token is made at once; what is waited for is its value.
      const is = held.has(one.path) ? "waiting" : one.is;
      const kept = one.kept && is === one.is;
      const name = one.title || one.path;
      return html`<tr key=${one.path} data-on=${shown ? "" : undefined}>
          <th scope="row"><button type="button" class="fold" aria-expanded=${shown} onclick=${() => setOpen(shown ? null : one.path)}>${name}</button></th>
          <td><span class="status" data-is=${kept ? "kept" : is}>${kept ? "from checkpoint" : word(is)}</span>${one.failures > 0 && html` <span class="soft">×${one.failures + (one.is === "completed" ? 1 : 0)}</span>`}</td>
          <td class="far">${one.kind}</td><td class="far"><time title=${moment(one.from)}>${clock(one.from)}</time></td>
          <td class="end">${one.to === null || is !== one.is ? "–" : span(one.to - one.from)}</td>
          <td class="end">${!app.source.readOnly && html`<button type="button" class="quiet" aria-label=${`Fork from ${name}`} onclick=${() => askFork(app, run, one.path)}>Fork</button>`}</td>
        </tr>${shown && html`<tr key=${`${one.path} more`} class="more"><td colspan="6"><${Detail} app=${app} step=${step} /></td></tr>`}`;
    })}</tbody></table></div>
    ${order.length > most && html`<button type="button" class="quiet" onclick=${() => setMost(most + MORE)}>Show ${number(Math.min(MORE, order.length - most))} more of ${number(order.length)}</button>`}`;
}

/** @param {{app: App, step: Step}} given */
function Detail({ app, step }) {
  const error = read(step.error);
  return html`<dl class="facts">
      <div><dt>Path</dt><dd class="mono whole">${step.path}</dd></div>
      <div><dt>Began</dt><dd>${moment(step.started_at)}</dd></div>
      ${step.finished_at !== null && html`<div><dt>Ended</dt><dd>${moment(step.finished_at)}</dd></div>`}
      ${step.wake_at !== null && html`<div><dt>Until</dt><dd>${moment(step.wake_at)}</dd></div>`}
      ${step.ref && html`<div><dt>Of</dt><dd class="mono whole">${step.ref.split("\n").slice(0, 20).join(", ")}</dd></div>`}
    </dl>
    ${error && html`<${Failure} error=${error} />`}
    ${step.arguments && html`<h4>Fingerprint of its arguments</h4><p class="mono whole soft">${step.arguments.slice(0, 200)}</p>`}
    ${step.output !== null && html`<h4>Output</h4><${Value} text=${step.output} label="Output" say=${app.say} />`}`;
}
