/**
 * `<durable-dashboard store="indexeddb:my-app">` or `<durable-dashboard server="https://example.org/runs">`: runs, and
 * all that can be done with them. Its property `source` shows a `Tab` or a `Remote` that is open already. Views are in
 * the location's hash, unless `links="none"`. What a run says becomes text, never markup; the style sheet is a
 * constructed one, which every CSP allows.
 */

import { Dashboard } from "./app.mjs";
import { html, render } from "./html.mjs";
import { sheet } from "./look.mjs";
import { serverOf, tabOf } from "./opening.mjs";
import { SignIn } from "./sign-in.mjs";

/** @typedef {import("../source.mjs").Source} Source */

export class DurableDashboard extends HTMLElement {
  static observedAttributes = ["store", "server", "links", "label"];

  constructor() {
    super();
    /** @type {Source | null} */
    this.given = null;
    /** What its attributes are about, opened here. @type {Promise<Source> | null} */
    this.own = null;
    this.root = this.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [sheet];
  }

  /** Whose runs are shown. @returns {Source | null} */
  get source() {
    return this.given;
  }
  set source(source) {
    this.given = source;
    if (this.isConnected) this.attach();
  }

  get label() {
    const server = this.getAttribute("server");
    return this.getAttribute("label") ?? (server === null ? this.getAttribute("store") : new URL(server, document.baseURI).host) ?? "Dashboard";
  }

  connectedCallback() {
    this.attach();
  }

  disconnectedCallback() {
    this.detach();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.attach();
  }

  detach() {
    this.own?.then((source) => source.close(), () => {});
    this.own = null;
    render(null, this.root);
  }

  /** @param {string} [token] for the server, from the form; that it isn't taken is thrown, and the form stays */
  async attach(token) {
    if (token === undefined) this.detach();
    const [store, server] = [this.getAttribute("store"), this.getAttribute("server")];
    if (!this.given && store === null && server === null) return this.say("This dashboard has no store yet.");
    if (!this.given) this.own = server === null ? tabOf(store ?? "") : serverOf(server, token);
    const opening = this.own ?? this.given;
    const current = () => opening === (this.own ?? this.given) && this.isConnected;
    if (token === undefined) this.say("Opening …");
    try {
      const source = await opening;
      if (source && current()) this.show(source);
    } catch (error) {
      const { status, message } = /** @type {Error & {status?: number}} */ (error);
      if (!current()) return;
      if (token !== undefined) throw new Error(status === 401 ? "The server doesn't take this token." : message);
      if (status === 401) this.ask("");
      else this.say(`It can't be opened: ${message}`);
    }
  }

  /** @param {Source} source */
  show(source) {
    const links = this.getAttribute("links") !== "none";
    if (this.own) source.addEventListener("unauthorized", () => this.ask("The server doesn't take the token any more."), { once: true });
    render(html`<${Dashboard} source=${source} links=${links} label=${this.label} />`, this.root);
  }

  /** @param {string} wrong */
  ask(wrong) {
    this.detach();
    render(html`<${SignIn} label=${this.label} wrong=${wrong} take=${(/** @type {string} */ token) => this.attach(token)} />`, this.root);
  }

  /** @param {string} text */
  say(text) {
    render(html`<div class="app"><p class="empty" role="status">${text}</p></div>`, this.root);
  }
}

if (!customElements.get("durable-dashboard")) customElements.define("durable-dashboard", DurableDashboard);
