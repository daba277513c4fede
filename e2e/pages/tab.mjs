// Opens a tab with the options in the address, and keeps all that it tells.
import { openTab } from "./durable-lite.mjs";

const given = JSON.parse(decodeURIComponent(location.hash.slice(1) || "{}"));
window.told = [];
window.statuses = [];
const mark = (what, detail) => window.told.push([Date.now(), what, detail]);
const onStatus = (status) => (window.statuses.push(status), mark("status", status));
window.tab = await openTab({ store: "indexeddb:test", onStatus, ...given });
for (const type of ["lead", "page", "event"]) window.tab.addEventListener(type, ({ detail }) => mark(type, detail));
window.usable = performance.now();
window.ready = true;
