/** What the browser does with a page, as one small state machine: visible, hidden, frozen or leaving. */

/** @typedef {"visible" | "hidden" | "frozen" | "leaving"} PageState */

/**
 * The state after one of the browser's events. Freezing comes with `freeze`, or with `pagehide` alone
 * (Firefox, Safari), or with both when the page goes to the back/forward cache; so each may come again.
 * @param {PageState} state
 * @param {"visible" | "hidden" | "freeze" | "resume" | "pagehide" | "pageshow"} event
 * @param {"visible" | "hidden"} visibility what the document says now
 * @returns {PageState}
 */
export function next(state, event, visibility) {
  switch (event) {
    case "freeze":
      return state === "leaving" ? state : "frozen";
    case "pagehide":
      return "leaving";
    case "resume":
    case "pageshow":
      return visibility;
    default:
      // A page that leaves is hidden, too; and one that is shown can't be frozen any more.
      return event === "hidden" && (state === "leaving" || state === "frozen") ? state : event;
  }
}

/** Whether the page may be stopped at any moment, so that nothing must be begun. @param {PageState} state */
export const mustRest = (state) => state === "frozen" || state === "leaving";

/**
 * Follow the page; `onchange(state, before, {event, away})` is called within the browser's own event, as
 * nothing runs after it. `away`: seconds since the page was last known to run. `onfreeze` is the very last: the
 * workers are stopped as soon as it returns.
 * @param {{onchange: (state: PageState, before: PageState, facts: {event: string, away: number}) => void, onfreeze?: () => void}} hear
 * @param {Document} [page]
 * @param {Window} [view]
 */
export function follow({ onchange, onfreeze = () => {} }, page = document, view = window) {
  const visibility = () => /** @type {"visible" | "hidden"} */ (page.visibilityState === "hidden" ? "hidden" : "visible");
  /** @type {PageState} */
  let state = visibility();
  let since = Date.now();
  const ended = new AbortController();
  const { signal } = ended;
  const hear = (/** @type {any} */ name) => () => {
    const before = state;
    state = next(state, name === "visibilitychange" ? visibility() : name, visibility());
    const away = mustRest(before) && !mustRest(state) ? (Date.now() - since) / 1000 : 0;
    if (mustRest(state) && !mustRest(before)) since = Date.now();
    if (state !== before) onchange(state, before, { event: name, away });
    if (name === "freeze") onfreeze();
  };
  for (const name of ["visibilitychange", "freeze", "resume"]) page.addEventListener(name, hear(name), { signal });
  for (const name of ["pagehide", "pageshow"]) view.addEventListener(name, hear(name), { signal });
  return { state: () => state, stop: () => ended.abort() };
}

/** Hears when the page becomes visible, or is online again; returns what ends it. @param {() => void} listener */
export function onReturn(listener) {
  const page = globalThis.document; // a worker has none, Node not even the other
  const visible = () => page.visibilityState === "visible" && listener();
  page?.addEventListener("visibilitychange", visible);
  globalThis.addEventListener?.("online", listener);
  return () => {
    page?.removeEventListener("visibilitychange", visible);
    globalThis.removeEventListener?.("online", listener);
  };
}
