/**
 * The dashboard's own page: `?store=indexeddb:name` says whose runs, or `?server=../..` which server's, of this origin:
 * a link mustn't ask for a token on behalf of somebody else. `?title=…` is what it is called.
 */

import "./durable-dashboard.mjs";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:root { color-scheme: light dark; background: light-dark(#f4f6f8, #12171d); color: light-dark(#1b2530, #e6ebf0) }
body { margin: 0 }
`);
document.adoptedStyleSheets = [sheet];
const given = new URLSearchParams(location.search);
const [server, title] = [given.get("server"), given.get("title")];
const dashboard = document.createElement("durable-dashboard");
dashboard.setAttribute("full", "");
const own = server !== null && URL.canParse(server, location.href) ? new URL(server, location.href) : null;
const foreign = server !== null && own?.origin !== origin;
if (server === null) dashboard.setAttribute("store", given.get("store") ?? "indexeddb:default");
else if (own && !foreign) dashboard.setAttribute("server", own.href);
if (title !== null) dashboard.setAttribute("label", title);
document.querySelector("main")?.append(foreign ? "This page shows no other server than its own." : dashboard);
