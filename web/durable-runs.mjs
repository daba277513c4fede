/**
 * `<durable-runs store="indexeddb:my-app">`: the newest runs of a store, live, and the steps and the log of
 * the one that is selected. `tab` (a property) shows a tab that is open already; `job` and `limit` narrow it.
 * What a run says becomes text, never markup; the style sheet is a constructed one, which every CSP allows.
 */

import { openTab } from "./durable-lite.mjs";
import { isAhead, live } from "./run.mjs";
import { FINAL, RESUMABLE } from "./statuses.mjs";

/** @typedef {import("./durable-lite.mjs").Tab} Tab */
/** @typedef {import("./run.mjs").Run} Run */
/** @typedef {import("./records.mjs").Step} Step */

const PAUSE = 150; // ms between two looks, however much happens; and four times what the last one took, at most
const LONGEST = 5000; // ms: it may have been frozen meanwhile
const RETRY = 1000; // ms, while the store can't be read
const LINES = 200; // of the log, and of the steps: the newest ones
/** @type {Record<string, string>} */
const WORDS = { kept: "from checkpoint" };

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: block; container-type: inline-size; font: 0.9375rem/1.45 system-ui, sans-serif;
  --line: light-dark(#dfe4ea, #333c47); --soft: light-dark(#566270, #9fadbb); --accent: light-dark(#1d5fd0, #79aaff);
  --good: light-dark(#14713d, #5fd28f); --bad: light-dark(#b3261e, #ff9a8f); --warn: light-dark(#8a5300, #f0b95c) }
[hidden] { display: none !important }
.sr { position: absolute; clip-path: inset(50%) }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: start; font-weight: inherit; padding: 0.45rem 0.6rem; border-bottom: 1px solid var(--line) }
thead, .soft, li span + span { color: var(--soft); font-size: 0.8125rem }
[data-on] { background: color-mix(in srgb, var(--accent) 9%, transparent) }
button { font: inherit; color: inherit; cursor: pointer; padding: 0.35rem 0.85rem; border: 1px solid; border-radius: 0.4rem;
  background: none }
:disabled { opacity: 0.5; cursor: default }
th button { border: 0; padding: 0.15rem 0; color: var(--accent); overflow-wrap: anywhere; text-align: start }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
[data-is] { white-space: nowrap }
[data-is]::before { content: "● " }
[data-is=executing] { color: var(--accent) !important }
[data-is=completed], [data-is=kept] { color: var(--good) !important }
[data-is=kept]::before { content: "◆ " }
[data-is=failed], [data-is=error], [data-is=timed_out], [data-is=expired], [data-is=invalid_payload], [data-is=unresolved_auth] { color: var(--bad) !important }
[data-is=queued], [data-is=waiting_on_connections], [data-is=stale], [data-is=waiting], [data-is=retrying] { color: var(--warn) !important }
progress { width: 100%; min-width: 4rem; height: 0.5rem; vertical-align: middle; accent-color: var(--accent) }
section button { margin-inline-end: 0.5rem }
section { padding: 0.9rem 0.6rem }
h3 { margin: 0; font-size: 1rem }
h3, pre, li { overflow-wrap: anywhere }
p, pre, ol { margin: 0.4rem 0 }
pre { white-space: pre-wrap }
pre, .wrong { color: var(--bad) }
.wrong:empty { display: none }
.cut { display: block; max-width: 16rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
progress + .cut { max-width: 12rem }
ol { max-height: 18rem; overflow: auto; padding: 0; border: 1px solid var(--line); border-radius: 0.4rem }
li { display: flex; gap: 0.6rem; padding: 0.15rem 0.6rem; content-visibility: auto; contain-intrinsic-block-size: auto 1.45em }
li :first-child { flex: 1 }
li :last-child { min-width: 4.5em; text-align: end }
[part=log] :empty { display: none }
@container (width < 34rem) { .wide { display: none } table { font-size: 0.8125rem } th, td { padding-inline: 0.25rem } th:first-child { width: 45% } }
@container (width > 44rem) { .both { display: grid; gap: 1.5rem; grid-template-columns: 1fr 1fr } }
`);

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [given] properties and, as far as there are none of the name, attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in node) Object.assign(node, { [name]: value });
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Only what changes: so a selection stays, and nothing is announced twice. @param {Node} node @param {string} text */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** In words, with a colour. @param {HTMLElement} node @param {string} status */
function mark(node, status) {
  node.dataset.is = status.toLowerCase();
  say(node, WORDS[node.dataset.is] ?? node.dataset.is.replaceAll("_", " "));
}

/** @param {number} seconds */
function span(seconds) {
  if (seconds < 1) return `${Math.round(Math.max(0, seconds) * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The time of day; of another day with that. A locale's own way takes 40 ms when it is first asked for. @param {number} at */
function clock(at) {
  const [date, today] = [new Date(at * 1000), new Date().toDateString()];
  if (date.toDateString() === today) return date.toTimeString().slice(0, 8);
  return `${date.toDateString().slice(4)} ${date.toTimeString().slice(0, 5)}`;
}

/** Put the children in this order, moving only what is elsewhere. @param {Element} parent @param {Element[]} wanted */
function arrange(parent, wanted) {
  const stay = new Set(wanted); // the others go first: else one that leaves from the top moves all below it
  for (const node of [...parent.children]) if (!stay.has(node)) node.remove();
  wanted.forEach((node, i) => parent.children[i] === node || parent.insertBefore(node, parent.children[i] ?? null));
}

/** The same for a list whose newest is below, which stays in view for who looks at it. @param {Element} list @param {Element[]} wanted */
function follow(list, wanted) {
  const below = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  arrange(list, wanted);
  if (below) list.scrollTop = list.scrollHeight;
}

class Row {
  /** @param {DurableRuns} owner @param {string} id */
  constructor(owner, id) {
    this.button = make("button", { type: "button", part: "job" });
    this.button.onclick = () => (owner.selected = owner.selected === id ? null : id);
    this.status = make("span", { part: "status" });
    this.progress = make("progress", { max: 1, part: "progress" });
    this.message = make("span", { className: "soft cut" });
    this.started = make("td", { className: "soft wide" });
    this.elapsed = make("td", { className: "soft wide" });
    /** @type {import("./run.mjs").Live | null} */
    this.live = null;
    const cells = [make("td", {}, this.status), make("td", {}, this.progress, this.message), this.started, this.elapsed];
    this.node = make("tr", { part: "run" }, make("th", { scope: "row" }, this.button), ...cells);
  }

  /** @param {Run} run @param {boolean} selected */
  show(run, selected) {
    this.run = run;
    const { row } = run;
    say(this.button, run.job ?? run.id);
    this.button.setAttribute("aria-expanded", String(selected));
    this.node.toggleAttribute("data-on", selected);
    mark(this.status, run.status ?? "");
    this.tell(isAhead(this.live, row) ? this.live?.progress : run.progress);
    say(this.started, row?.started_at ? clock(row.started_at) : "–");
    this.tick();
  }

  /** What comes before the row has it. @param {{at: number, data: any}} event */
  hear(event) {
    this.live = live(event, this.run?.row);
    this.tell(event.data);
  }

  /** @param {{current: number, total: number | null, message: string | null} | null} progress */
  tell(progress) {
    const { current = 0, total, message } = progress ?? {};
    this.progress.hidden = !total;
    this.progress.value = Math.min(1, Math.max(0, current / (total || 1))); // what isn't finite throws
    this.progress.ariaLabel = `Progress of ${this.run?.job}`;
    this.message.title = message ?? "";
    say(this.message, message ?? (total ? `${Math.floor((100 * current) / total)} %` : progress ? `${current}` : "–"));
  }

  tick() {
    const { started_at, finished_at } = this.run?.row ?? {};
    say(this.elapsed, started_at ? span((finished_at ?? Date.now() / 1000) - started_at) : "–");
  }
}

/** The newest runs of a store. `select` (an event) tells which run is shown below them. */
export class DurableRuns extends HTMLElement {
  static observedAttributes = ["store", "job", "limit"];

  constructor() {
    super();
    /** @type {Tab | null} */
    this.given = null;
    /** @type {Promise<Tab> | null} opened here, for `store` */
    this.own = null;
    /** @type {string | null} */
    this.chosen = null;
    /** @type {Run | null} the one that is selected, while it is watched */
    this.run = null;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string, HTMLElement>} */
    this.items = new Map();
    /** @type {Tab | null} */
    this.open = null;
    [this.timer, this.pause] = [0, PAUSE];
    [this.reading, this.again] = [false, false];
    this.hurry = false; // somebody asked
    this.kept = 0; // checkpoints up to this seq were answered by a replay
    this.worker = "";
    this.unlisten = () => {};

    this.list = make("tbody");
    const heads = ["Job", "Status", "Progress", "Started", "Took"];
    const head = heads.map((text) => make("th", { scope: "col", className: /Sta.*d|Took/.test(text) ? "wide" : "" }, text));
    const caption = make("caption", { className: "sr" }, "Runs, newest first");
    this.none = make("p", { className: "soft", part: "empty" }, "No runs yet.");
    this.spoken = make("p", { className: "sr", role: "status" });
    this.heading = make("h3");
    this.facts = make("p", { className: "soft" });
    this.sum = make("p", { part: "summary" });
    this.error = make("pre", { part: "error" });
    this.wrong = make("p", { className: "wrong", role: "alert", part: "problem" });
    this.cancel = make("button", { type: "button", part: "button", textContent: "Cancel" });
    this.resume = make("button", { type: "button", part: "button", textContent: "Resume" });
    this.cancel.onclick = () => this.steer("cancel");
    this.resume.onclick = () => this.steer("resume");
    this.steps = make("ol", { tabIndex: 0, ariaLabel: "Steps", role: "list", part: "steps" });
    this.log = make("ol", { tabIndex: 0, ariaLabel: "Log", role: "list", part: "log" });
    this.logged = make("div", {}, make("p", { className: "soft" }, "Log"), this.log);
    this.detail = make(
      "section",
      { hidden: true, ariaLabel: "Selected run", part: "detail" },
      ...[this.heading, this.facts, this.error, this.cancel, this.resume, this.wrong],
      make("div", { className: "both" }, make("div", {}, this.sum, this.steps), this.logged),
    );
    const table = make("table", { part: "table" }, caption, make("thead", {}, make("tr", {}, ...head)), this.list);
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(table, this.none, this.detail, this.spoken);
  }

  /** The tab whose runs are shown. @returns {Tab | null} */
  get tab() {
    return this.given;
  }
  set tab(tab) {
    this.given = tab;
    if (this.isConnected) this.attach();
  }

  /** Id of the run whose steps are shown, or null. @returns {string | null} */
  get selected() {
    return this.chosen;
  }
  set selected(id) {
    if (id === this.chosen) return;
    this.chosen = id;
    this.dispatchEvent(new CustomEvent("select", { detail: id }));
    this.watch();
    this.lookNow();
  }

  connectedCallback() {
    this.attach();
    this.clock = setInterval(() => {
      for (const row of this.rows.values()) if (!row.run?.finished) row.tick();
    }, 1000);
  }

  disconnectedCallback() {
    clearInterval(this.clock);
    this.detach();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.attach();
  }

  detach() {
    this.unlisten();
    this.unlisten = () => {};
    this.run?.close();
    this.run = null;
    this.own?.then((tab) => tab.close(), () => {});
    this.own = null;
    this.open = null;
  }

  async attach() {
    this.detach();
    const store = this.getAttribute("store");
    if (!this.given && !store) return;
    this.own = this.given ? null : openTab({ store: store ?? "", worker: false });
    const opening = this.own ?? this.given;
    let tab;
    try {
      tab = await opening;
    } catch (error) {
      if (opening !== (this.own ?? this.given)) return;
      this.rows.clear();
      this.list.replaceChildren(); // of the store before
      [this.none.hidden, this.detail.hidden] = [false, true];
      say(this.none, String(/** @type {Error} */ (error).message));
      return;
    }
    if (!tab || opening !== (this.own ?? this.given) || !this.isConnected) return;
    this.open = tab;
    say(this.none, "No runs yet.");
    const ended = new AbortController();
    const unlisten = tab.store.listen(() => this.look());
    const hear = (/** @type {any} */ { detail }) => {
      if (detail.type === "run.progress") this.rows.get(detail.run_id)?.hear(detail);
    };
    tab.addEventListener("event", hear, { signal: ended.signal });
    this.unlisten = () => (unlisten(), ended.abort());
    this.watch();
    this.lookNow();
  }

  /** Follow the selected run. */
  watch() {
    this.run?.close();
    this.items.clear();
    this.kept = 0;
    this.worker = "";
    say(this.wrong, "");
    this.run = this.open && this.chosen ? this.open.run(this.chosen) : null;
    this.run?.addEventListener("event", (event) => this.hear(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {{type: string, seq: number | null, data: any}} event */
  hear({ type, seq, data }) {
    // A replay answers what was stored: after an interruption, or where another worker goes on.
    const other = type === "run.claimed" && data.worker !== this.worker; // also the first one, of a fork
    if (seq && (other || (type === "run.resumed" && "replayed" in data))) this.kept = seq;
    if (type === "run.claimed") this.worker = data.worker;
    this.look();
  }

  /** At once, as somebody asked. */
  lookNow() {
    clearTimeout(this.timer);
    [this.timer, this.hurry] = [0, true];
    this.look();
  }

  look() {
    this.again = true;
    if (this.timer || this.reading || !this.isConnected) return;
    this.timer = setTimeout(async () => {
      // What is told while this reads counts for the next look.
      [this.timer, this.reading, this.again, this.hurry] = [0, true, false, false];
      const began = performance.now();
      const read = await this.read().then(() => true, () => false);
      this.pause = read ? Math.min(LONGEST, Math.max(PAUSE, 4 * (performance.now() - began))) : RETRY;
      this.reading = false;
      if (this.again || !read) this.look();
    }, this.hurry ? 0 : this.pause);
  }

  async read() {
    const tab = this.open;
    if (!tab) return;
    const job = this.getAttribute("job") ?? undefined;
    const runs = await tab.runs({ job, limit: Number(this.getAttribute("limit")) || 10 });
    const shown = this.chosen;
    const one = shown ? tab.run(shown) : null;
    const parts = one && [one.refresh(), tab.store.latest_steps(one.id, LINES, this.kept, Date.now() / 1000), one.logs()];
    const detail = parts && (await Promise.all(/** @type {any[]} */ (parts)).catch(() => null)); // gone
    if (tab !== this.open || shown !== this.chosen) return;
    const rows = runs.map((run) => {
      const row = this.rows.get(run.id) ?? new Row(this, run.id);
      row.show(run, run.id === shown);
      return [run.id, row];
    });
    this.rows = new Map(/** @type {[string, Row][]} */ (rows));
    arrange(this.list, [...this.rows.values()].map((row) => row.node));
    this.none.hidden = runs.length > 0;
    this.detail.hidden = !detail;
    if (detail) this.show(.../** @type {Parameters<DurableRuns["show"]>} */ (detail));
  }

  /**
   * @param {Run} run
   * @param {{steps: Step[], completed: number, kept: number}} found
   * @param {import("./records.mjs").LogLine[]} lines
   */
  show(run, { steps, completed, kept }, lines) {
    const status = run.status ?? "";
    say(this.heading, `${run.job}: ${status.toLowerCase().replaceAll("_", " ")}`);
    if (status !== "WAITING") say(this.spoken, this.heading.textContent ?? ""); // short waits would be a stream of news
    say(this.facts, `run ${run.id}${run.row?.stale_reason ? `, was stale: ${run.row.stale_reason}` : ""}`);
    const { type, message } = run.error ?? {};
    say(this.error, type ? `${type}: ${message}` : "");
    this.error.hidden = !type;
    this.cancel.disabled = FINAL.includes(status);
    this.resume.disabled = !RESUMABLE.includes(status);

    const known = new Set(steps.map((step) => step.path));
    steps = steps.sort((a, b) => a.started_at - b.started_at).slice(-LINES);
    const left = completed - steps.filter((step) => step.state === "completed").length;
    const from = kept ? `, ${kept} of them from checkpoints` : "";
    say(this.sum, `${completed} steps done${from}${left ? `; the newest ${LINES}:` : ""}`);
    const now = Date.now() / 1000;
    const items = steps.map((step) => {
      const over = step.state === "waiting" && (step.wake_at ?? 0) <= now; // the store doesn't note its end
      const is = step.state === "completed" && (step.seq ?? 0) < this.kept ? "kept" : over ? "waited" : step.state;
      const end = over ? step.wake_at : step.finished_at;
      return this.item(step.path, step.title ?? step.path, is, end ? span(end - step.started_at) : "");
    });
    if (status === "EXECUTING") {
      for (const path of this.run?.inFlight.keys() ?? []) if (!known.has(path)) items.push(this.item(path, path, "executing", ""));
    }
    follow(this.steps, items.slice(-LINES));

    this.logged.hidden = !lines.length;
    const said = lines.slice(-LINES).map(({ attempt, path, ordinal, level, message, fields }) => {
      const more = Object.entries(JSON.parse(fields)).map(([name, value]) => ` ${name}=${value}`);
      return this.item(`log ${attempt} ${path} ${ordinal}`, message + more.join(""), level, "");
    });
    follow(this.log, said);
    for (const [key, item] of this.items) if (!item.isConnected) this.items.delete(key);
  }

  /** @param {string} key @param {string} name @param {string} is @param {string} took */
  item(key, name, is, took) {
    let item = this.items.get(key);
    if (!item) {
      item = make("li", { part: "step" }, make("span"), make("span"), make("span"));
      this.items.set(key, item);
    }
    const [label, status, time] = /** @type {HTMLElement[]} */ ([...item.children]);
    say(label, name);
    mark(status, is);
    say(time, took);
    return item;
  }

  /** @param {"cancel" | "resume"} what */
  async steer(what) {
    const chosen = this.chosen;
    say(this.wrong, "");
    try {
      await this.open?.run(chosen ?? "")[what]();
    } catch (error) {
      if (chosen === this.chosen) say(this.wrong, String(/** @type {Error} */ (error).message)); // it has ended meanwhile
    }
    this.look();
  }
}

if (!customElements.get("durable-runs")) customElements.define("durable-runs", DurableRuns);
