/** The demo's page: makes a database in the tab, exports it, and says in plain words what happens to the run. */

import { decode, FINAL, openTab, RESUMABLE } from "../durable-lite.mjs";
import "../durable-runs.mjs";
import { Story, span } from "./story.mjs";

/** @typedef {import("../run.mjs").Run} Run */

const STORE = "invoices";
const FILES = "/files";
const PAGES = 100;

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");

/** @param {HTMLElement} node @param {string} text */
const say = (node, text) => node.textContent === text || (node.textContent = text);

const tab = await openTab({
  store: `indexeddb:${STORE}`,
  files: FILES,
  heartbeatInterval: "1s",
  staleAfter: "5s",
});
const story = new Story($("log"), tab);
/** What is on show. @type {{made: Run | null, run: Run | null, kept: number, worker: string}} */
const view = { made: null, run: null, kept: 0, worker: "" };
let due = 0;
let asked = 0; // when Python was, in ms
let took = "";

Object.assign(globalThis, { tab }); // for the console
$("runs").tab = tab;
$("form").onsubmit = start;
$("cancel").onclick = () => steer("cancel");
$("resume").onclick = () => steer("resume");
$("download").onclick = download;
tab.addEventListener("status", python);
tab.addEventListener("lead", python);
python();
await goOn();
document.documentElement.dataset.ready = "";

// What is to be done

/** @param {SubmitEvent} event */
async function start(event) {
  event.preventDefault();
  const invoices = $("invoices").valueAsNumber;
  const wanted = {
    invoices,
    database: `${FILES}/invoices-${invoices}.db`,
    page_size: Math.ceil(invoices / PAGES),
    pause: $("pause").value,
  };
  $("start").disabled = true;
  try {
    show(await tab.trigger("make_database", wanted), null);
  } catch (error) {
    story.tell("bad", /** @type {Error} */ (error).message);
    draw(); // which enables it again
  }
}

/** Go on with what an earlier visit, or another tab, has begun. */
async function goOn() {
  const [made = null] = await tab.runs({ job: "make_database", limit: 1 });
  const [run = null] = await tab.runs({ job: "export_invoices", limit: 1 });
  const newer = run && (!made || Number(run.createdAt) >= Number(made.createdAt));
  if (made || run) show(newer ? null : made, newer ? run : null);
  if (made) $("invoices").value = made.payload.invoices;
  else draw();
}

/** The database is there: export it, unless another tab does. @param {Run} made */
async function exportFrom(made) {
  const { database, page_size, pause } = made.payload;
  const wanted = { organisation: "acme", database, page_size, pause, folder: `${FILES}/exports`, outbox: `${FILES}/outbox` };
  show(null, await tab.trigger("export_invoices", wanted, { idempotencyKey: made.id }));
}

/** @param {Run | null} made @param {Run | null} run */
function show(made, run) {
  view.made?.close();
  view.run?.close();
  Object.assign(view, { made, run, kept: 0, worker: "" });
  story.begin();
  for (const one of [made, run]) {
    one?.addEventListener("event", (event) => hear(one, /** @type {CustomEvent} */ (event).detail));
    one?.addEventListener("progress", draw);
    one?.addEventListener("status", () => changed(one));
  }
  if (run) $("runs").selected = run.id;
  draw();
}

/** @param {Run} one */
function changed(one) {
  draw();
  if (one === view.made && one.status === "COMPLETED") exportFrom(one);
}

/** @param {Run} one @param {{type: string, seq: number | null, at: number, data: any}} event */
function hear(one, event) {
  const { type, seq, data } = event;
  const other = type === "run.claimed" && data.worker !== view.worker;
  if (seq && (other || (type === "run.resumed" && "replayed" in data))) view.kept = seq;
  if (type === "run.claimed") view.worker = data.worker;
  story.run(one, event);
  draw();
}

/** @param {"cancel" | "resume"} what */
async function steer(what) {
  try {
    await (view.run ?? view.made)?.[what]();
  } catch (error) {
    story.tell("bad", /** @type {Error} */ (error).message); // it has ended meanwhile
  }
}

// What is seen

function draw() {
  due ||= setTimeout(() => {
    due = 0;
    redraw().catch(() => setTimeout(draw, 1000));
  }, 80);
}

async function redraw() {
  const { made, run } = view;
  const steps = run ? await run.steps() : [];
  if (run !== view.run) return;
  const status = (run ?? made)?.status ?? "";
  const progress = run?.progress;
  const whole = progress?.total ?? 0;
  const part = whole ? progress.current / whole : 0;
  const active = status !== "" && !FINAL.includes(status);
  const late = steps.some(({ path }) => path === "join") ? "Putting the file together" : "Exporting";

  /** @type {Record<string, string>} */
  const words = {
    "": "Ready",
    PENDING: "Stored; waits for Python",
    EXECUTING: made ? "Making the database" : late,
    WAITING: late,
    STALE: "Interrupted; about to resume",
    COMPLETED: made ? "The database is made" : "Done",
    FAILED: "Failed",
    CANCELLED: "Cancelled",
    TIMED_OUT: "Timed out",
    INVALID_PAYLOAD: "Refused",
  };
  say($("state"), words[status] ?? status);
  $("bar").value = part;
  say($("percent"), run ? `${Math.floor(part * 100)} %` : "");
  const numbers = `${count.format(progress?.current ?? 0)} of ${count.format(whole)} invoices`;
  const error = (run ?? made)?.error;
  say($("count"), error ? `${error.type}: ${error.message}` : whole ? `${numbers}, ${progress.message}` : "");
  drawPages(steps);

  $("start").disabled = active;
  $("cancel").disabled = !active;
  $("resume").disabled = !RESUMABLE.includes(status);
  $("download").disabled = !(run && status === "COMPLETED");
  if (active) say($("checked"), "");
  python();
}

/** @param {import("../records.mjs").Step[]} steps */
function drawPages(steps) {
  const plan = steps.find(({ path }) => path === "plan")?.output;
  const total = plan ? decode(plan).pages.length : PAGES;
  const box = $("pages");
  while (box.children.length > total) box.lastElementChild.remove();
  while (box.children.length < total) box.append(document.createElement("i"));
  let [done, kept] = [0, 0];
  const states = new Map([...(view.run?.inFlight.keys() ?? [])].map((path) => [path, "now"]));
  for (const { path, seq } of steps) {
    if (seq === null || !path.startsWith("page-")) continue;
    done += 1;
    kept += Number(seq < view.kept);
    states.set(path, seq < view.kept ? "kept" : "done");
  }
  [...box.children].forEach((cell, i) => {
    const is = states.get(`page-${i + 1}`) ?? "";
    if ((cell.dataset.is ?? "") !== is) cell.dataset.is = is;
  });
  box.ariaLabel = `${done} of ${total} pages done, ${kept} of them answered from checkpoints`;
}

function python() {
  const { stage, loaded = 0, total = 0, message = "" } = tab.status;
  const mb = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
  if (stage === "download") asked ||= performance.now();
  else if (stage === "ready" && asked) [took, asked] = [span((performance.now() - asked) / 1000), 0];
  const elsewhere = ["EXECUTING", "WAITING", "STALE"].includes((view.run ?? view.made)?.status ?? "") && !tab.leads;
  /** @type {Record<string, string>} */
  const words = {
    idle: elsewhere
      ? "Another tab executes. This one watches, and has not loaded Python."
      : "Python isn't running: it is loaded when there is work.",
    download: `Loading Python: ${mb(loaded)} of ${mb(total)} MB`,
    jobs: "Python is loaded, and imports the jobs.",
    ready: `Python is ready, ${took ? `started in ${took}, ` : ""}${
      tab.leads ? "and executes in this tab." : elsewhere ? "and rests: another tab executes." : "and rests."
    }`,
    failed: `Python can't run: ${message}`,
  };
  say($("stage"), words[stage] ?? stage);
  $("stage").toggleAttribute("data-failed", stage === "failed");
  $("loaded").hidden = stage !== "download";
  $("loaded").value = total ? loaded / total : 0;
}

// The file

/** What the job wrote, as the worker keeps it in the origin's private file system. @param {string} path */
async function stored(path) {
  let folder = await navigator.storage.getDirectory();
  const names = [`durable-lite.${encodeURIComponent(STORE)}`, ...path.slice(FILES.length + 1).split("/")];
  const name = names.pop() ?? "";
  for (const one of names) folder = await folder.getDirectoryHandle(one);
  return (await folder.getFileHandle(name)).getFile();
}

async function download() {
  try {
    const { file, rows, sha256 } = view.run?.output;
    const found = await stored(file);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await found.arrayBuffer()));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const [same, size] = [hex === sha256, `${(found.size / 1e6).toFixed(1)} MB`];
    say($("checked"), `${count.format(rows)} invoices, ${size}, sha256 ${hex.slice(0, 16)}… ${same ? "as the job reported" : "NOT what the job reported"}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(found);
    link.download = "invoices.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    story.tell("bad", `The file can't be read: ${/** @type {Error} */ (error).message}`);
  }
}
