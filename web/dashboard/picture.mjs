/** A run's timeline, drawn: what it was, where it was interrupted, and its steps at their places in time. */

import { html, useRef, useState } from "./html.mjs";
import { clock, many, number, span, word } from "./words.mjs";

/** @typedef {import("../timeline.mjs").Timeline} Timeline */
/** @typedef {import("../timeline.mjs").Span} Span */
/** @typedef {import("../timeline.mjs").TimelineStep} TimelineStep */

const ROWS = 40; // steps that are drawn at first
const MORE = 200;
const TICKS = 5;
const SHARES = 500; // of the whole: what is shorter isn't drawn by itself
const NICE = [1, 2, 5];
const LONG = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400];
/** Spans that are drawn as nothing done: the hatched ones are an interruption. */
const LEGEND = [
  ["executing", "executing"],
  ["waiting", "waiting"],
  ["gap", "interrupted"],
  ["pending", "not started, or queued"],
];
const IDLE = ["pending", "queued", "waiting_on_connections"];
const END = ["completed", "failed", "cancelled", "timed_out", "expired", "invalid_payload", "unresolved_auth"];

/** The seconds between two marks of an axis this long. @param {number} length */
function pace(length) {
  const least = length / TICKS;
  if (least > 5) return LONG.find((one) => one >= least) ?? Math.ceil(least / 86_400) * 86_400;
  const power = 10 ** Math.floor(Math.log10(least));
  return (NICE.find((one) => one * power >= least) ?? 10) * power;
}

/**
 * No more than can be seen: of spans that are too short for that, several in a row are one, drawn as most of it was.
 * @param {Span[]} spans
 * @param {number} least seconds
 * @returns {(Span & {of: number})[]}
 */
export function coarse(spans, least) {
  /** @type {(Span & {of: number, times: Record<string, number>})[]} */
  const found = [];
  for (const one of spans) {
    const length = one.to - one.from;
    const last = found.at(-1);
    if (last && length < least && last.to - last.from < least) {
      const times = { ...last.times, [one.is]: (last.times[one.is] ?? 0) + length };
      const [is] = Object.entries(times).reduce((most, other) => (other[1] > most[1] ? other : most));
      Object.assign(last, { is, to: one.to, of: last.of + 1, times });
    } else found.push({ ...one, of: 1, times: { [one.is]: length } });
  }
  return found;
}

/** @param {string} is */
const drawnAs = (is) => (IDLE.includes(is) ? "pending" : is);

/** @param {{drawn: Timeline | null, over: boolean}} given */
export function Picture({ drawn, over }) {
  const [rows, setRows] = useState(ROWS);
  const [at, setAt] = useState(0); // the row that the keyboard is in: the run's own is 0
  const [hint, setHint] = useState("");
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  if (!drawn) return null;
  const { from, steps } = drawn;
  const all = drawn.spans.filter(({ is }) => !END.includes(is));
  const ends = [...all.slice(-1), ...steps.slice(-500)].map((one) => one.to ?? from); // spans are in order
  const to = Math.max(from + 0.001, ...ends, over ? from : drawn.to);
  const length = to - from;
  const spans = all.length > SHARES ? coarse(all, length / SHARES) : all.map((one) => ({ ...one, of: 1 }));
  const place = (/** @type {number} */ a, /** @type {number} */ b) => {
    const left = Math.min(100, Math.max(0, ((a - from) / length) * 100));
    return { left: `${left}%`, width: `${Math.min(100 - left, Math.max(0, ((b - a) / length) * 100))}%` };
  };
  const late = (/** @type {number} */ end) => (end - from) / length > 0.85;
  const gaps = spans.filter((one) => one.is === "gap");
  const interruptions = all.filter((one) => one.is === "gap").length;
  const every = pace(length);
  const ticks = Array.from({ length: Math.floor(length / every) + 1 }, (_, i) => i * every);
  const shown = steps.slice(0, rows);
  const used = new Set(all.map((one) => drawnAs(one.is)));
  const kept = steps.filter((step) => step.kept).length;

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const moves = /** @type {Record<string, number>} */ ({ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length });
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(shown.length, moves[event.key]));
    setAt(next);
    /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector(`[data-row="${next}"]`))?.focus();
  }

  const lane = (/** @type {number} */ row, /** @type {string} */ label, /** @type {string} */ text) => ({
    ...{ role: "listitem", class: "lane", "data-row": row, tabindex: row === at ? 0 : -1, "aria-label": `${label}: ${text}` },
    onfocus: () => {
      setAt(row);
      setHint(`${label}: ${text}`);
    },
    onmouseenter: () => setHint(`${label}: ${text}`),
  });

  const own = `${span(length)} from ${clock(from, true)} to ${clock(to, true)}${interruptions ? `, ${many(interruptions, "interruption")}` : ""}`;
  return html`<div class="picture" ref=${box}>
    <p class="legend" aria-hidden="true">
      ${LEGEND.filter(([is]) => used.has(is)).map(([is, text]) => html`<span key=${is}><i data-is=${is} />${text}</span>`)}
      ${kept > 0 && html`<span><b class="kept">◆</b> from a checkpoint</span>`}
    </p>
    <div class="scroll"><div class="chart" role="list" aria-label="Timeline" onkeydown=${onkeydown} onmouseleave=${() => setHint("")}>
      <div class="behind" aria-hidden="true"><span /><div class="track">
        ${ticks.map((tick) => html`<i class="tick" key=${tick} style=${{ left: place(from + tick, to).left }} />`)}
        ${gaps.map((gap) => html`<i class="hole" key=${gap.from} style=${place(gap.from, gap.to)} />`)}
      </div></div>
      <div class="axis" aria-hidden="true"><span class="label" /><div class="track">${ticks.map(
        (tick, i) => html`<span key=${tick} style=${{ left: place(from + tick, to).left }} data-end=${tick / length > 0.8 ? "" : undefined}>${i ? span(tick) : "0"}</span>`,
      )}</div></div>
      <div ...${lane(0, "Run", own)}><span class="label"><b>Run</b></span><div class="track">${spans.map((one, i) => {
        const mostly = one.of > 1 ? `${number(one.of)} in a row, mostly ` : "";
        const text = `${mostly}${one.is === "gap" ? "interrupted" : word(one.is)}${one.why && one.of === 1 ? ` (${one.why})` : ""}, ${span(one.to - one.from)} from ${clock(one.from, true)}${one.worker ? `, ${one.worker}` : ""}${one.attempt && one.attempt > 1 ? `, attempt ${one.attempt}` : ""}`;
        return html`<i class="span" key=${i} data-is=${drawnAs(one.is)} style=${place(one.from, one.to)} title=${text} onmouseenter=${() => setHint(text)} />`;
      })}</div></div>
      ${shown.map((step, i) => {
        const end = step.to ?? to;
        const name = step.title || step.path;
        return html`<div key=${step.path} ...${lane(i + 1, name, told(step, end))}>
          <span class="label" style=${{ paddingInlineStart: `${0.25 + Math.min(step.depth, 6) * 0.8}rem` }}>
            ${step.kept && html`<b class="kept" aria-hidden="true">◆ </b>`}${name}</span>
          <div class="track"><i class="bar" data-is=${step.is} data-kept=${step.kept ? "" : undefined} data-open=${step.to === null ? "" : undefined} style=${place(step.from, end)} />
            ${step.failures > 0 && html`<span class="tries" style=${{ left: place(late(end) ? step.from : end, end).left }} data-end=${late(end) ? "" : undefined}>×${step.failures + (step.is === "completed" ? 1 : 0)}</span>`}
          </div></div>`;
      })}
    </div></div>
    ${steps.length > rows && html`<button type="button" class="quiet" onclick=${() => setRows(rows + MORE)}>Draw ${number(Math.min(MORE, steps.length - rows))} more of ${many(steps.length, "step")}</button>`}
    <p class="hint soft" aria-hidden="true">${hint || `Run: ${own}`}</p>
  </div>`;
}

/** @param {TimelineStep} step @param {number} end */
function told(step, end) {
  const times = `${span(end - step.from)}${step.to === null ? " so far" : ""}, ${clock(step.from, true)} – ${step.to === null ? "…" : clock(end, true)}`;
  const tries = step.failures ? `, failed ${many(step.failures, "time")}` : "";
  return `${word(step.is)}, ${times}${tries}${step.attempt > 1 ? `, attempt ${step.attempt} of the run` : ""}${step.kept ? ", answered from its checkpoint" : ""}`;
}
