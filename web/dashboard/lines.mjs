/** What a run said, and what happened to it: its log by level, and its stored events in words. */

import { html, useMemo, useState } from "./html.mjs";
import { Text } from "./value.mjs";
import { clock, many, moment, number, read, story } from "./words.mjs";

const LINES = 200; // the newest ones, until all are asked for
const LEVELS = ["debug", "info", "warning", "error"];

/** @param {{lines: import("../records.mjs").LogLine[]}} given */
export function Log({ lines }) {
  const [level, setLevel] = useState("debug");
  const [most, setMost] = useState(LINES);
  const least = LEVELS.indexOf(level);
  const found = useMemo(() => lines.filter((line) => LEVELS.indexOf(line.level) >= least || !LEVELS.includes(line.level)), [lines, least]);
  if (!lines.length) return html`<p class="soft none">It has logged nothing.</p>`;
  const hidden = found.length - most;
  return html`<p class="tools"><label><span>From</span><select name="level" value=${level} onchange=${(/** @type {any} */ { target }) => setLevel(target.value)}>
      ${LEVELS.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
    </select></label><span class="soft">${many(found.length, "line")}</span></p>
    ${hidden > 0 && html`<button type="button" class="quiet" onclick=${() => setMost(Infinity)}>Show ${number(hidden)} older ones</button>`}
    <ol class="lines" role="list" tabindex="0" aria-label="Log">${found.slice(-Math.min(most, found.length)).map(
      (line) => html`<li key=${`${line.attempt} ${line.path} ${line.ordinal}`} data-level=${line.level}>
        <time title=${moment(line.at)}>${clock(line.at)}</time><span class="level">${line.level}</span>
        <span class="said"><${Text} text=${line.message} />${fields(line.fields)}</span></li>`,
    )}</ol>`;
}

/** @param {string} text */
function fields(text) {
  return Object.entries(read(text, {})).map(([name, value]) => {
    const said = typeof value === "string" ? value : JSON.stringify(value);
    return html` <span class="soft" key=${name}>${name}=<${Text} text=${said} /></span>`;
  });
}

/** @param {{events: import("../source.mjs").HistoryEvent[], steps: import("../records.mjs").Step[]}} given */
export function Story({ events, steps }) {
  const [most, setMost] = useState(LINES);
  const told = useMemo(() => {
    const names = new Map(steps.map((step) => [step.path, step.title ?? step.path]));
    /** @type {{seq: number, at: number, kind: string, text: string}[]} */
    const found = [];
    let done = 0;
    for (const event of events) {
      const { type, seq, at, data } = event;
      if (type === "step.completed") {
        done += 1;
        const last = found.at(-1);
        const name = names.get(data?.path) ?? data?.path;
        const text = done === 1 ? `Step “${name}” is finished.` : `${many(done, "step")} are finished, the last one “${name}”.`;
        if (last?.kind === "steps") Object.assign(last, { at, text });
        else found.push({ seq, at, kind: "steps", text });
        continue;
      }
      const words = story(event);
      done = 0;
      if (words) found.push({ seq, at, kind: words[0], text: words[1] });
    }
    return found.reverse();
  }, [events, steps]);
  return html`<ol class="lines story" role="list" tabindex="0" aria-label="What happened, newest first">${told.slice(0, most).map(
      ({ seq, at, kind, text }) => html`<li key=${seq} data-kind=${kind}><time title=${moment(at)}>${clock(at)}</time>
        <span class="said"><${Text} text=${text} /></span></li>`,
    )}</ol>
    ${told.length > most && html`<button type="button" class="quiet" onclick=${() => setMost(Infinity)}>Show all ${number(told.length)}</button>`}`;
}
