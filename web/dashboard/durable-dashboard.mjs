/**
 * `<durable-dashboard store="indexeddb:my-app">`: the runs of a store, and all that can be done with them. Its property
 * `source` shows a `Tab` or a `Remote` that is open already. Views are in the location's hash, unless `links="none"`.
 * What a run says becomes text, never markup; the style sheet is a constructed one, which every CSP allows.
 */

import { Dashboard } from "./app.mjs";
import { html, render } from "./html.mjs";
import { sheet } from "./look.mjs";

/** @typedef {import("../source.mjs").Source} Source */

export class DurableDashboard extends HTMLElement {
  static observedAttributes = ["store", "links", "label"];

  constructor() {
    super();
    /** @type {Source | null} */
    this.given = null;
    /** @type {Promise<Source> | null} opened here, for `store` */
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

  async attach() {
    this.detach();
    const store = this.getAttribute("store");
    if (!this.given && !store) return this.say("This dashboard has no store yet.");
    this.own = this.given ? null : opened(store ?? "");
    const opening = this.own ?? this.given;
    this.say("Opening …");
    try {
      const source = await opening;
      if (!source || opening !== (this.own ?? this.given) || !this.isConnected) return;
      const label = this.getAttribute("label") ?? store ?? "Dashboard";
      render(html`<${Dashboard} source=${source} links=${this.getAttribute("links") !== "none"} label=${label} />`, this.root);
    } catch (error) {
      if (opening === (this.own ?? this.given)) this.say(`It can't be opened: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {string} text */
  say(text) {
    render(html`<div class="app"><p class="empty" role="status">${text}</p></div>`, this.root);
  }
}

/** A tab that only watches, from the module that few sources need. @param {string} store @returns {Promise<Source>} */
async function opened(store) {
  const { openTab } = await import("../durable-lite.mjs");
  return openTab({ store, worker: false });
}

if (!customElements.get("durable-dashboard")) customElements.define("durable-dashboard", DurableDashboard);
