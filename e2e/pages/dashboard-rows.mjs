/** Rows for the dashboard's tests, put into a store by its own verbs: each kind of run, queue, schedule and token. */

import { IndexedDBStore } from "./indexeddb.mjs";

const PLAIN = { version: "3", queue: "default", priority: 0, tags: "[]" };
const HOUR = 3600;

/** @param {string} name of the store, as in `indexeddb:name` */
export async function opened(name) {
  const store = new IndexedDBStore(name, { durability: "relaxed" });
  await store.open();
  return store;
}

/** Many runs at once that nobody executes. */
export async function fill(store, count, row = {}) {
  const now = Date.now() / 1000;
  for (let from = 0; from < count; from += 2000) {
    const rows = Array.from({ length: Math.min(2000, count - from) }, (_, i) => ({
      ...{ ...PLAIN, id: `many${String(from + i).padStart(22, "0")}`, job: `job_${(from + i) % 7}` },
      ...{ created_at: now - count + from + i, ready_at: now + HOUR, payload: JSON.stringify({ n: from + i }), ...row },
    }));
    await store.create_runs(rows);
  }
}

function step(run_id, path, seq, began, ended, given = {}) {
  return {
    ...{ run_id, path, seq, kind: "step", state: "completed", name: path.split("/").at(-1), arguments: null },
    ...{ output: "null", error: null, failures: 0, attempt: 1, generation: 1, started_at: began, finished_at: ended },
    ...{ wake_at: null, title: null, ref: null, ...given },
  };
}

/** A run under this worker; `at` counts from its creation. */
class Scene {
  constructor(store, id, row) {
    Object.assign(this, { store, id, worker: "tab-1", generation: 0, seq: 0, row });
    this.t0 = row.created_at;
  }

  async made() {
    const row = { ...PLAIN, ready_at: this.t0, payload: "null", ...this.row, id: this.id };
    await this.store.create_runs([row]);
    return this;
  }

  async claim(at, worker = this.worker) {
    this.worker = worker;
    const claims = await this.store.claim_runs(worker, [this.row.job], 50, this.t0 + at, "lease");
    const claimed = claims.find((one) => (one.run ?? one).id === this.id);
    if (!claimed) throw new Error(`run ${this.id} can't be claimed`);
    await this.look();
  }

  async look() {
    const run = await this.store.get_run(this.id);
    const events = await this.store.read_events(this.id, 0, 100_000);
    this.generation = run.generation;
    this.seq = events.at(-1).seq;
  }

  async step(path, from, to, given = {}) {
    this.seq += 1;
    const made = step(this.id, path, this.seq, this.t0 + from, this.t0 + to, { generation: this.generation, ...given });
    const no = await this.store.save_step(this.id, this.generation, made);
    if (no) throw new Error(JSON.stringify(no));
  }

  async fails(path, from, to, error, state = "retrying", failures = 1) {
    this.seq += 1;
    const made = step(this.id, path, null, this.t0 + from, this.t0 + to, {
      ...{ state, error: JSON.stringify(error), failures, generation: this.generation, output: null, wake_at: this.t0 + to + 1 },
    });
    const event = { seq: this.seq, at: this.t0 + to, type: "step.failed", data: JSON.stringify({ path, error, failures }) };
    const no = await this.store.save_failure(this.id, this.generation, made, event);
    if (no) throw new Error(JSON.stringify(no));
  }

  async beat(at, given = {}) {
    const beat = { run_id: this.id, generation: this.generation, executed: at, progress: null, metadata: null, logs: [], ...given };
    await this.store.beat(this.worker, [beat], this.t0 + at);
  }

  log(at, level, message, fields = {}, path = "") {
    this.lines = (this.lines ?? 0) + 1;
    return { run_id: this.id, attempt: 1, path, ordinal: this.lines, at: this.t0 + at, level, message, fields: JSON.stringify(fields) };
  }

  async stale(reason, at) {
    const leases = (await this.store.leases()).filter((lease) => lease.run_id === this.id);
    await this.store.mark_stale(leases, reason, this.t0 + at);
  }

  async settle(status, at, type, data = {}, given = {}) {
    const settled = {
      ...{ status, at: this.t0 + at, type, data: JSON.stringify(data), attempt: 1, executed: at, ready_at: null },
      ...{ output: null, error: null, progress: null, metadata: null, logs: [], ...given },
    };
    const no = await this.store.settle(this.id, this.generation, settled);
    if (no) throw new Error(JSON.stringify(no));
  }

  async token(id, at, until) {
    const made = step(this.id, `token/${id}`, null, this.t0 + at, null, {
      ...{ kind: "token", state: "waiting", output: null, finished_at: null, wake_at: this.t0 + until, ref: id },
      generation: this.generation,
    });
    const token = {
      ...{ id, run_id: this.id, path: made.path, kind: "token", state: "pending", created_at: this.t0 + at },
      ...{ deadline: this.t0 + until, finished_at: null, output: null, error: null, name: null, match: null },
    };
    const no = await this.store.create_token(this.id, this.generation, made, token);
    if (no) throw new Error(JSON.stringify(no));
  }
}

const FAILURE = {
  ...{ type: "HTTPError", module: "app.http", message: "502 Bad Gateway from https://billing.example.com/v2/invoices?page=7" },
  traceback:
    'Traceback (most recent call last):\n  File "jobs.py", line 41, in export_invoices\n    page = await ctx.step(fetch_page, number)\n' +
    '  File "jobs.py", line 17, in fetch_page\n    response.raise_for_status()\napp.http.HTTPError: 502 Bad Gateway\n',
};

/** One of each: their ids say what they are. */
export async function scenes(store, text = (plain) => plain) {
  const now = Date.now() / 1000;
  const made = (id, ago, row) => new Scene(store, id.padEnd(26, "0"), { created_at: now - ago, ...row }).made();
  const tags = (...names) => JSON.stringify(names.map(text));

  const done = await made("completed", 900, {
    ...{ job: text("export_invoices"), tags: tags("acme", "monthly"), concurrency_key: JSON.stringify(text("acme")) },
    payload: JSON.stringify({ organisation: text("acme"), pages: 12, since: { $: "datetime", v: "2026-10-01T00:00:00+00:00" }, dry_run: false, columns: ["number", "customer", "total"] }),
    idempotency_key: JSON.stringify(["global", text("acme:2026-10")]), idempotency_expires_at: now + 86_400,
  });
  await done.claim(0.4);
  await done.step("plan", 0.45, 1.9, { output: JSON.stringify({ pages: [1, 2, 3, 4] }), title: text("Plan the pages") });
  for (let i = 1; i <= 4; i += 1) await done.step(`page-${i}`, 2 + i * 1.6, 3.3 + i * 1.6, { output: JSON.stringify({ rows: 250, sha256: "9f3c…" }) });
  await done.step("page-4/parse", 8.6, 9.3);
  await done.beat(9.6, { logs: [done.log(1.9, "info", text("12 pages planned"), { organisation: text("acme") }), done.log(9.5, "warning", "page 4 was slow", { seconds: 3.2 })] });
  await done.stale("worker gone", 21);
  await done.claim(22, "tab-2");
  for (let i = 5; i <= 12; i += 1) await done.step(`page-${i}`, 19 + i * 1.1, 20 + i * 1.1);
  await done.step("join", 33.3, 36, { output: '"/files/exports/acme.csv"', title: "Put the file together" });
  const output = JSON.stringify({ file: "/files/exports/acme.csv", rows: 2987, sha256: text("1c8bfe8f801d79745c4631d09fff36c8") });
  await done.settle("COMPLETED", 36.2, "run.completed", {}, { output, progress: JSON.stringify({ current: 12, total: 12, message: text("12 pages") }) });

  const failed = await made("failed", 700, { job: text("export_invoices"), tags: tags("globex"), payload: JSON.stringify({ organisation: text("globex"), pages: 9 }) });
  await failed.claim(1);
  await failed.step("plan", 1.2, 3);
  for (let i = 1; i <= 6; i += 1) await failed.step(`page-${i}`, 3 + i, 3.9 + i);
  await failed.fails("page-7", 10, 11, { ...FAILURE, message: text(FAILURE.message) });
  await failed.fails("page-7", 12, 13.5, { ...FAILURE, message: text(FAILURE.message) }, "failed", 2);
  await failed.beat(13.6, { logs: [failed.log(13.5, "error", text("page 7 can't be fetched"), { tries: 2 })] });
  const error = { ...FAILURE, message: text(FAILURE.message), traceback: text(FAILURE.traceback) };
  await failed.settle("FAILED", 13.8, "run.failed", { error: { type: error.type, message: error.message } }, { error: JSON.stringify(error) });

  const waiting = await made("waiting", 500, { job: text("approve_refund"), tags: tags("acme", "refund"), payload: JSON.stringify({ refund: 4711, amount: { $: "decimal", v: "129.90" }, reason: text("arrived broken") }) });
  await waiting.claim(1);
  await waiting.step("check", 1.2, 1.9);
  await waiting.step("ask in Slack", 2, 2.6, { output: JSON.stringify(text("asked")) });
  await waiting.token(text("tok-approve-4711"), 2.7, 86_400 + 500);
  await waiting.settle("WAITING", 3, "run.waiting", { ready_at: now + 86_400, waits: ["token/tok-approve-4711"] }, { ready_at: now + 86_400 });

  const executing = await made("executing", 95, { job: text("reindex_documents"), tags: tags("nightly"), payload: JSON.stringify({ index: "documents", batch: 500 }) });
  await executing.claim(2);
  await executing.step("count", 2.1, 3.5, { output: "48210" });
  for (let i = 1; i <= 30; i += 1) await executing.step(`batch-${i}`, 1 + i * 3, 3.8 + i * 3);
  await executing.beat(95, { progress: JSON.stringify({ current: 15_000, total: 48_210, message: text("15,000 of 48,210 documents") }), logs: [executing.log(94, "info", "batch 30 is in")] });

  const queued = await made("queued", 60, { job: text("send_newsletter"), queue: "mail", payload: JSON.stringify({ list: text("everybody") }) });
  await store.set_queues([{ name: "mail", concurrency: 2, rate: 100, period: 60, key_scope: "queue", paused: 0 }], now);
  await store.set_queues([{ name: "mail", concurrency: 2, rate: 100, period: 60, key_scope: "queue", paused: 0 }, { name: "llm", concurrency: 4, rate: null, period: null, key_scope: "key", paused: 0 }], now);

  const cancelled = await made("cancelled", 400, { job: text("reindex_documents"), payload: JSON.stringify({ index: "old" }) });
  await store.cancel_run(cancelled.id, now - 380);
  await made("pending", 30, { job: text("daily_report"), ready_at: now + 600, payload: JSON.stringify({ day: "2026-11-22" }) });
  await store.set_schedules(["daily_report", "reindex_documents"], [
    { job: "daily_report", name: "0 6 * * 1-5 Europe/Berlin", spec: '{"cron": "0 6 * * 1-5", "tz": "Europe/Berlin"}', catch_up: "latest", next_at: now + 9 * HOUR, last_at: now - 15 * HOUR, paused: 0 },
    { job: "reindex_documents", name: "nightly", spec: '{"every": 86400.0}', catch_up: "none", next_at: now + 2 * HOUR, last_at: null, paused: 1 },
  ]);
  return { done: done.id, failed: failed.id, waiting: waiting.id, executing: executing.id, queued: queued.id };
}

/** A run that executes, after so many waits and with as many log lines, as its worker would have stored them. */
export async function waited(store, count) {
  const t0 = Date.now() / 1000 - count * 60;
  const one = await new Scene(store, `waited${"0".repeat(20)}`, { job: "waits", created_at: t0 }).made();
  await one.claim(1);
  const [claimed] = (await store.read_events(one.id, 0, 10)).filter(({ type }) => type === "run.claimed");
  const told = JSON.parse(claimed.data);
  await store.transact(["events", "unfinished", "logs", "runs"], "readwrite", async (t) => {
    for (let i = 0; i < count; i += 1) {
      const [at, path] = [t0 + 2 + i * 60, `pause-${i}`];
      const wait = { kind: "sleep", state: "waiting", output: null, finished_at: null, wake_at: at + 50, seq: null };
      t.objectStore("unfinished").put(step(one.id, path, null, at, null, wait));
      const waits = { seq: 3 + 2 * i, at, type: "run.waiting", data: JSON.stringify({ waits: [path], ready_at: at + 50 }) };
      const again = { seq: 4 + 2 * i, at: at + 50, type: "run.claimed", data: JSON.stringify({ ...told, from: "WAITING" }) };
      for (const event of [waits, again]) t.objectStore("events").put({ run_id: one.id, ...event });
      t.objectStore("logs").put(one.log(2 + i * 60, "info", `has waited ${i} times`, { number: i }));
    }
    const rows = t.objectStore("runs");
    const row = await new Promise((resolve) => (rows.get(one.id).onsuccess = ({ target }) => resolve(target.result)));
    rows.put({ ...row, seq: 2 + 2 * count });
  });
  return one.id;
}
