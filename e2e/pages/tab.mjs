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

// What Pyodide alone takes, in a worker of its own, from the same files.
window.boot = async () => {
  const { pyodide, stdlib, lock, base } = await window.tab.setup.init();
  const source = `import { loadPyodide } from "${pyodide}pyodide.mjs";
    const lockFileContents = ${JSON.stringify({ info: lock.info, packages: {} })};
    await loadPyodide({ indexURL: "${pyodide}", stdLibURL: "${stdlib}", lockFileContents, packageBaseUrl: "${base}" });
    postMessage(1);`;
  const start = performance.now();
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), { type: "module" });
  await new Promise((resolve) => (worker.onmessage = resolve));
  worker.terminate();
  return performance.now() - start;
};
