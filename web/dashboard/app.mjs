/** The dashboard's frame: which view is on, where one came from, what is asked, announced, or down. */

import { Ask } from "./ask.mjs";
import { html, useEffect, useMemo, useRef, useState } from "./html.mjs";
import { One } from "./one.mjs";
import { Queues, Schedules, Tokens } from "./outside-view.mjs";
import { format, parse, VIEWS } from "./routes.mjs";
import { Runs } from "./runs.mjs";

/** @typedef {import("./routes.mjs").Route} Route */

/**
 * What every view gets.
 * @typedef {object} App
 * @property {import("../source.mjs").Source} source
 * @property {(route: Route, replace?: boolean) => void} go
 * @property {(event?: Event) => void} back to the list as it was
 * @property {(text: string) => void} say as a note, which screen readers read
 * @property {(text: string) => void} tell only to them
 * @property {(question: import("./ask.mjs").Question) => void} ask
 * @property {(error: Error | null) => void} down whether the source answers
 * @property {(given: any) => any} Link
 */

const NAMES = { runs: "Runs", queues: "Queues", schedules: "Schedules", tokens: "Tokens" };
const NOTE = 6000; // ms that it stays

/** @param {{source: import("../source.mjs").Source, links: boolean, label: string}} given */
export function Dashboard({ source, links, label }) {
  const [route, setRoute] = useState(() => parse(links ? location.hash : ""));
  const [question, ask] = useState(/** @type {import("./ask.mjs").Question | null} */ (null));
  const [note, setNote] = useState({ text: "", n: 0 });
  const [news, setNews] = useState({ text: "", n: 0 });
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const kept = useRef(/** @type {Record<string, any>} */ ({}));
  const list = useRef(/** @type {Route} */ ({ view: "runs" }));
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  if (route.view === "runs") list.current = route;

  useEffect(() => {
    if (!links) return;
    const hear = () => setRoute(parse(location.hash));
    addEventListener("hashchange", hear);
    return () => removeEventListener("hashchange", hear);
  }, [links]);

  useEffect(() => {
    if (!note.text) return;
    const timer = setTimeout(() => setNote({ text: "", n: 0 }), NOTE);
    return () => clearTimeout(timer);
  }, [note]);

  const app = useMemo(() => {
    /** @type {App["go"]} */
    const go = (next, replace = false) => {
      const hash = format(next);
      if (!links) return setRoute(next);
      if (!replace) return void (location.hash = hash);
      history.replaceState(history.state, "", hash);
      setRoute(next);
    };
    /** @type {App["back"]} */
    const back = (event) => {
      event?.preventDefault();
      go(list.current);
    };
    /** @param {any} given */
    const Link = ({ to, children, onclick, ...rest }) => {
      if (links) return html`<a href=${format(to)} onclick=${onclick} ...${rest}>${children}</a>`;
      const follow = onclick ?? (() => go(to));
      return html`<button type="button" ...${rest} class=${`link ${rest.class ?? ""}`} onclick=${follow}>${children}</button>`;
    };
    return {
      ...{ source, go, back, Link, ask },
      say: (/** @type {string} */ text) => setNote(({ n }) => ({ text, n: n + 1 })),
      tell: (/** @type {string} */ text) => setNews(({ n }) => ({ text, n: n + 1 })),
      down: (/** @type {Error | null} */ now) => setError((before) => (before?.message === now?.message ? before : now)),
    };
  }, [source, links]);

  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const hear = (event) => {
      const path = /** @type {HTMLElement[]} */ (event.composedPath());
      const [target] = path;
      // In a page of somebody else these keys are its own.
      if (!path.includes(/** @type {HTMLElement} */ (box.current)) && target !== document.body) return;
      const typing = target?.isContentEditable || target?.matches?.("input, textarea, select");
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || box.current?.querySelector("dialog[open]")) return;
      if (event.key === "/" && !typing) {
        event.preventDefault();
        if (route.view !== "runs") app.go(list.current);
        setTimeout(() => /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector("input[name=q]"))?.focus());
      } else if (event.key === "Escape" && typing) {
        /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector(".grid"))?.focus();
      } else if (event.key === "Escape" && route.view !== "runs") app.back();
    };
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, [app, route]);

  // What opened a question may be gone when it closes.
  const asked = useRef(false);
  useEffect(() => {
    const view = /** @type {ShadowRoot | Document | undefined} */ (box.current?.getRootNode());
    const lost = !view?.activeElement || view.activeElement === document.body;
    /** @type {HTMLElement | null | undefined} */
    const next = box.current?.querySelector("h2[tabindex], .grid");
    if (!question && asked.current && lost) next?.focus({ preventScroll: true });
    asked.current = question !== null;
  }, [question]);

  const current = route.view === "run" ? "runs" : route.view;
  return html`<div class="app" ref=${box}>
    <nav aria-label=${label}>${VIEWS.map((view) => {
      const to = view === "runs" ? list.current : { view };
      return html`<${app.Link} key=${view} to=${to} class="tab" aria-current=${view === current ? "page" : undefined}>${NAMES[/** @type {keyof typeof NAMES} */ (view)]}</>`;
    })}<span class="soft store">${label}${source.readOnly ? ", read only" : ""}</span></nav>
    ${error && html`<p class="down" role="alert"><b>The source doesn't answer</b> (${error.message.slice(0, 300)}). What is shown may be old; it goes on by itself.</p>`}
    ${route.view === "runs" && html`<${Runs} app=${app} route=${route} kept=${kept.current} />`}
    ${route.view === "run" && html`<${One} key=${route.id} app=${app} id=${route.id} />`}
    ${route.view === "queues" && html`<${Queues} app=${app} />`}
    ${route.view === "schedules" && html`<${Schedules} app=${app} />`}
    ${route.view === "tokens" && html`<${Tokens} app=${app} />`}
    ${question && html`<${Ask} question=${question} close=${() => ask(null)} />`}
    <p class="sr" role="status">${news.text + (news.n % 2 ? "\u00a0" : "")}</p>
    <p class="note" role="status" data-on=${note.text ? "" : undefined}>${note.text}</p>
  </div>`;
}
