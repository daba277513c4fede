/** The dashboard's own page: `?store=indexeddb:name` says whose runs, `?title=…` what it is called. */

import "./durable-dashboard.mjs";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:root { color-scheme: light dark; background: light-dark(#f4f6f8, #12171d); color: light-dark(#1b2530, #e6ebf0) }
body { margin: 0 }
`);
document.adoptedStyleSheets = [sheet];
const given = new URLSearchParams(location.search);
const dashboard = document.createElement("durable-dashboard");
dashboard.setAttribute("full", "");
dashboard.setAttribute("store", given.get("store") ?? "indexeddb:default");
dashboard.setAttribute("label", given.get("title") ?? given.get("store") ?? "indexeddb:default");
document.querySelector("main")?.append(dashboard);
