/** A list of which only the visible rows are elements: a grid for keyboards and screen readers, however long it is. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.mjs";

const AROUND = 8; // rows above and below those that are seen
const NEAR = 60; // rows before the end, where more are asked for
const NARROW = 640; // pixels, below which a row takes two lines
const HEIGHTS = { wide: 36, narrow: 58 };

/** @typedef {{top?: number, active?: string | null, seen?: any[]}} Kept `seen`: the rows that are elements now */
/** @typedef {{name: string, text: string}} Column */

/**
 * @param {object} given
 * @param {{id: string}[]} given.rows
 * @param {Column[]} given.columns
 * @param {string} given.label
 * @param {boolean} given.whole whether these are all rows that there are
 * @param {(row: any) => import("./html.mjs").View[]} given.cells one for each column
 * @param {(row: any) => void} given.onopen
 * @param {() => void} given.onend when the end comes near
 * @param {Kept} given.kept outlives the component
 */
export function Grid({ rows, columns, label, whole, cells, onopen, onend, kept }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [seen, see] = useState({ top: kept.top ?? 0, height: 800, narrow: false });
  const [active, setActive] = useState(kept.active ?? null);
  const first = useRef(/** @type {{id: string, at: number} | null} */ (null));
  const size = seen.narrow ? HEIGHTS.narrow : HEIGHTS.wide;

  useLayoutEffect(() => {
    const node = box.current;
    if (!node) return;
    const measure = () => see((before) => ({ ...before, height: node.clientHeight, narrow: node.clientWidth < NARROW }));
    const watcher = new ResizeObserver(measure);
    watcher.observe(node);
    measure();
    node.scrollTop = kept.top ?? 0;
    if (kept.active) node.focus({ preventScroll: true });
    return () => watcher.disconnect();
  }, []);

  // What comes in above moves what is being read, unless it is read from the top.
  useLayoutEffect(() => {
    const node = box.current;
    const { id, at } = first.current ?? { id: "", at: 0 };
    if (!node || node.scrollTop < size || rows[at]?.id === id) return;
    const now = rows.findIndex((row) => row.id === id);
    if (now >= 0) node.scrollTop += (now - at) * size;
  }, [rows]);

  const from = Math.max(0, Math.floor(seen.top / size) - AROUND);
  const to = Math.min(rows.length, Math.ceil((seen.top + seen.height) / size) + AROUND);
  const top = Math.min(Math.floor(seen.top / size), Math.max(0, rows.length - 1));
  first.current = rows[top] ? { id: rows[top].id, at: top } : null;
  kept.seen = rows.slice(from, to);
  useEffect(() => {
    if (!whole && to > rows.length - NEAR) onend();
  }, [to, rows.length, whole]);

  function onscroll() {
    const top = box.current?.scrollTop ?? 0;
    kept.top = top;
    see((before) => ({ ...before, top }));
  }

  /** @param {number} index */
  function move(index) {
    const node = box.current;
    const row = rows[Math.max(0, Math.min(rows.length - 1, index))];
    if (!node || !row) return;
    const at = rows.indexOf(row) * size;
    if (at < node.scrollTop) node.scrollTop = at;
    const head = /** @type {HTMLElement | null} */ (node.firstElementChild)?.offsetHeight ?? 0;
    const room = node.clientHeight - head - size;
    if (at > node.scrollTop + room) node.scrollTop = at - room;
    activate(row.id);
  }

  /** @param {string} id */
  function activate(id) {
    kept.active = id;
    setActive(id);
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const at = rows.findIndex((row) => row.id === active);
    const page = Math.max(1, Math.floor(seen.height / size) - 2);
    /** @type {Record<string, number>} */
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) move(moves[event.key]);
    else if (event.key === "Enter" && at >= 0 && event.target === box.current) onopen(rows[at]);
    else return;
    event.preventDefault();
  }

  // Elements are used again for other rows: to make new ones takes longer.
  const pool = Math.ceil(seen.height / size) + 2 * AROUND + 1;
  const lines = [];
  for (let i = from; i < to; i += 1) {
    const row = rows[i];
    const place = { height: `${size}px`, transform: `translateY(${i * size}px)` };
    const texts = cells(row).map((cell, n) => html`<div role="gridcell" class=${`c-${columns[n].name}`} key=${n}>${cell}</div>`);
    lines.push(html`<div role="row" class="row" key=${i % pool} id=${`row-${row.id}`} style=${place} aria-rowindex=${i + 2}
      aria-selected=${row.id === active} onclick=${(/** @type {MouseEvent} */ event) => {
        if (/** @type {Element} */ (event.target).closest("a, button")) return;
        activate(row.id);
        onopen(row);
      }}>${texts}</div>`);
  }
  const shown = rows.slice(from, to).some((row) => row.id === active);
  return html`<div class="grid" role="grid" tabindex="0" ref=${box} onscroll=${onscroll} onkeydown=${onkeydown} aria-label=${label}
    data-narrow=${seen.narrow ? "" : undefined} aria-rowcount=${whole ? rows.length + 1 : -1}
    aria-activedescendant=${shown ? `row-${active}` : undefined}>
    <div class="head" role="rowgroup"><div role="row" class="row" aria-rowindex="1">
      ${columns.map(({ name, text }) => html`<div role="columnheader" class=${`c-${name}`} key=${name}>${text}</div>`)}
    </div></div>
    <div class="body" role="rowgroup" style=${{ height: `${rows.length * size}px` }}>${lines}</div>
  </div>`;
}
