/** Which view is shown, as text in the location's hash: `#/runs?status=FAILED`, `#/runs/01k…`, `#/queues`. */

/** @typedef {{view: string, id?: string, status?: string, job?: string, tag?: string, q?: string}} Route */

export const VIEWS = ["runs", "queues", "schedules", "tokens"];
const FILTERS = /** @type {const} */ (["status", "job", "tag", "q"]);

/** What isn't ours is the list of runs. @param {string} hash @returns {Route} */
export function parse(hash) {
  const [, path = "", query = ""] = /^#\/([^?]*)\??(.*)$/s.exec(hash) ?? [];
  const [view, id] = path.split("/");
  if (view === "runs" && id) return { view: "run", id: decoded(id) };
  if (view !== "runs" && VIEWS.includes(view)) return { view };
  /** @type {Route} */
  const route = { view: "runs" };
  const given = new URLSearchParams(query);
  for (const name of FILTERS) if (given.get(name)) route[name] = given.get(name) ?? "";
  return route;
}

/** @param {Route} route */
export function format({ view, id, ...filters }) {
  if (view === "run") return `#/runs/${encodeURIComponent(id ?? "")}`;
  const query = new URLSearchParams();
  for (const name of FILTERS) if (filters[name]) query.set(name, filters[name] ?? "");
  return `#/${view}${query.size ? `?${query}` : ""}`;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
