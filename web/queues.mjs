/**
 * Who may be claimed: places in queues, concurrency keys, and the lines for both. A gated run that is due takes its
 * concurrency key first, then a slot of its queue. Where one is taken it stands in the line for that, and is QUEUED.
 * Whoever lets go of a place lets the first in the line go on. Inside the transaction of one verb.
 */

import { done, each, next, under } from "./database.mjs";
import { bare, find, inOrder, put } from "./rows.mjs";
import * as s from "./statuses.mjs";

/** @typedef {import("./records.mjs").Run} Run */
/** @typedef {import("./records.mjs").Queue} Queue */
/** @typedef {import("./records.mjs").QueueState} QueueState */
/** @typedef {Queue & { counted_to: number }} Kept as it is kept: its rate has counted up to that moment */
/** @typedef {IDBTransaction} Transaction */

const LONGEST_LAG = 60; // seconds
const NONE = { concurrency: null, rate: null, period: null, key_scope: "run", paused: 0 };
const FIELDS = /** @type {(keyof typeof NONE)[]} */ (Object.keys(NONE));
const HOLDING = ["EXECUTING", "STALE"];

/** @param {Queue | null} queue @returns {queue is Queue} */
const isLimited = (queue) => !!queue && (queue.concurrency !== null || queue.rate !== null || queue.paused > 0);

/** The places as one transaction finds and changes them; what it reads of a queue is read once. */
export class Places {
  /** @param {Transaction} t @param {number} now */
  constructor(t, now) {
    this.t = t;
    this.now = now;
    this.runs = t.objectStore("runs");
    this.starts = t.objectStore("starts");
    /** @type {Map<string, Kept | null>} */
    this.queues = new Map();
    /** @type {import("./records.mjs").Change[]} to be announced */
    this.changes = [];
  }

  /** @param {string} run_id @param {boolean} claimable */
  tell(run_id, claimable) {
    this.changes.push({ run_id, claimable });
  }

  /** @param {string} name @returns {Promise<Kept | null>} */
  async queue(name) {
    const known = this.queues.get(name);
    if (known !== undefined) return known;
    const queue = (await done(this.t.objectStore("queues").get(name))) ?? null;
    this.queues.set(name, queue);
    return queue;
  }

  /** Whether a run needs places to be claimable. @param {Run} run */
  async isGated(run) {
    return run.concurrency_key !== null || isLimited(await this.queue(run.queue)) ? 1 : 0;
  }

  // Limits

  /** @param {Kept} queue */
  keep(queue) {
    this.t.objectStore("queues").put(queue);
    this.queues.set(queue.name, queue);
  }

  /** From now on a queue has these limits, for all that are there. @param {Kept} queue */
  async limit(queue) {
    this.keep(queue);
    const limited = isLimited(queue) ? 1 : 0;
    for (const status of [...s.READY, "WAITING", ...HOLDING]) {
      await each(this.runs.index("status"), under(status), "next", (found) => {
        if (found.queue !== queue.name) return true;
        const held = HOLDING.includes(status) || (found.claimable && found.interrupted);
        const row = { ...bare(found), gated: found.gated || limited };
        if (held || !limited) row.slot = limited;
        if (!held && limited && row.claimable) this.block({ ...row, slot: 0 }, "queue");
        else if (row.slot !== found.slot || row.gated !== found.gated) put(this.t, row);
        return true;
      });
    }
    await this.promote(queue.name);
  }

  // Taking places

  /** What became of a run that has been made claimable, which it may not be yet. @param {Run} run */
  async take(run) {
    if (!run.gated || !run.claimable) return run;
    await this.ready({ ...run, claimable: 0 });
    return /** @type {Promise<Run>} */ (find(this.t, run.id));
  }

  /**
   * A run is due: it becomes claimable, or QUEUED.
   * @param {Run} run
   * @param {boolean} [first] it is the first in its queue's line, where there is a place
   */
  async ready(run, first = false) {
    let [row, key] = [run, run.concurrency_key];
    /** @type {string | null} */
    let freed = null;
    if (key !== null && !row.key_held) {
      row = { ...row, key_held: (await this.isShared(row)) ? 2 : 1 };
      const holders = row.key_held > 1 ? [] : await done(this.runs.index("held").getAll(key, 2)); // of two one shares it
      if (holders.some((holder) => !goesBefore(row, holder))) return this.block(run, "key");
      for (const holder of holders) {
        freed = holder.slot ? holder.queue : null;
        this.block({ ...bare(holder), key_held: 0, slot: 0 }, "key");
      }
    }
    const queue = await this.queue(row.queue);
    if (isLimited(queue) && !row.slot) {
      const before = first ? undefined : await this.nextInLine(row.queue);
      if (before && inOrder(before, row) < 0) {
        this.block(row, "queue"); // a rate lets others start by now, who have stood here for longer
        await this.promote(row.queue);
        return this.promote(freed);
      }
      if (!first && (await this.room(queue)) < (row.started_at === null ? 2 : 1)) {
        const cursor = await done(this.runs.index("slot").openCursor(under(row.queue, 0), "prev"));
        const last = cursor && bare(cursor.value); // it was never claimed
        if (!last || queue.paused || inOrder(last, row) < 0) {
          this.block(row, "queue");
          return this.promote(freed);
        }
        this.block({ ...last, slot: 0 }, "queue");
      }
      row = { ...row, slot: 1 };
      if (queue.period !== null) this.keep({ ...queue, counted_to: this.moment(queue) });
    }
    if (row.status === "QUEUED") {
      s.check(row.id, row.status, "PENDING");
      row = { ...row, status: "PENDING", ready_at: null };
    }
    put(this.t, { ...row, claimable: 1, blocked: null });
    this.tell(row.id, true);
    return this.promote(freed);
  }

  /** @param {Run} row @param {"key" | "queue"} blocked for what it waits */
  block(row, blocked) {
    if (row.status !== "QUEUED") s.check(row.id, row.status, "QUEUED");
    put(this.t, { ...row, status: "QUEUED", claimable: 0, ready_at: row.deadline, blocked, remaining: null });
    this.tell(row.id, false);
  }

  /** Whether an ancestor that waits for it has the concurrency key. @param {Run} run */
  async isShared(run) {
    let one = run;
    while (one.awaited && one.parent_id !== null) {
      const parent = await find(this.t, one.parent_id);
      if (!parent || s.FINAL.includes(parent.status)) break;
      if (parent.concurrency_key === run.concurrency_key && parent.key_held) return true;
      one = parent;
    }
    return false;
  }

  /** For whom a queue has a place: 0 for nobody, 1 for those that have started, 2 for all. @param {Kept | null} queue */
  async room(queue) {
    if (!isLimited(queue)) return 2;
    const { name, concurrency, rate, period } = queue;
    const slots = this.runs.index("slot");
    if (queue.paused || (concurrency !== null && (await done(slots.count(under(name)))) >= concurrency)) return 0;
    if (rate === null || period === null) return 2;
    let started = await done(slots.count(under(name, 0))); // they are about to
    if (started >= rate) return 1;
    started += await done(this.starts.count(under(name)));
    if (started >= rate) started -= await this.past(name, period, this.moment(queue));
    return started >= rate ? 1 : 2;
  }

  /**
   * When a queue's rate counts: not before the moment up to which it has counted. A claim that waited for the store
   * comes with an earlier moment than those that went before it. A clock that is further behind is wrong.
   * @param {Kept} queue
   */
  moment({ counted_to: counted }) {
    return this.now < counted && counted < this.now + LONGEST_LAG ? counted : this.now;
  }

  /**
   * How many starts of a queue its rate counts no more.
   * @param {string} name
   * @param {number} period
   * @param {number} now
   * @param {boolean} [forget]
   */
  async past(name, period, now, forget = false) {
    const request = this.starts.openKeyCursor(under(name));
    let count = 0;
    for (let cursor = await done(request); cursor; cursor = await next(request, cursor)) {
      if (/** @type {[string, number]} */ (cursor.key)[1] + period > now) break;
      if (forget) this.starts.delete(cursor.primaryKey);
      count += 1;
    }
    return count;
  }

  // Letting go of places

  /** A run waits, or has ended, and is stored so: others may have its places. @param {Run} run @returns {Promise<Run>} */
  async leave(run) {
    if (!run.gated) return run;
    const keeps = !s.FINAL.includes(run.status) && ((await this.queue(run.queue))?.key_scope ?? "run") === "run";
    const row = put(this.t, { ...run, slot: 0, key_held: keeps ? run.key_held : 0, blocked: null });
    if (run.key_held && !keeps) await this.promoteKey(/** @type {string} */ (run.concurrency_key));
    await this.promote(run.queue);
    return row;
  }

  /** Let those go on that stand in a queue's line, for as long as there is a place. @param {string | null} name */
  async promote(name) {
    if (name === null || !(await this.queue(name))) return;
    for (let run; (run = await this.nextInLine(name)); ) await this.ready(run, true);
  }

  /**
   * The first who may go on: a rate holds up those who haven't started, and no others.
   * @param {string} name
   * @returns {Promise<Run | undefined>}
   */
  async nextInLine(name) {
    const line = this.runs.index("line");
    const firsts = await Promise.all([0, 1].map((started) => done(line.get(under("queue", name, started)))));
    if (!firsts.some(Boolean)) return undefined;
    const room = await this.room(await this.queue(name));
    return firsts.slice(2 - room).filter(Boolean).map(bare).sort(inOrder)[0];
  }

  /** @param {string} key */
  async promoteKey(key) {
    const row = await done(this.runs.index("line").get(under("key", key)));
    if (row && !(await done(this.runs.index("held").getKey(key)))) await this.ready(bare(row));
  }

  /** What time brings: rates let others start. */
  async promoteAll() {
    const [started, lines] = await Promise.all([names(this.starts), names(this.runs.index("line"), "queue")]);
    for (const name of started) {
      const queue = await this.queue(name);
      if (queue?.period == null || !(await this.past(name, queue.period, this.now, true))) continue;
      this.keep({ ...queue, counted_to: Math.max(this.now, queue.counted_to) });
    }
    for (const name of lines) await this.promote(name);
  }

  /** A run is claimed for the first time: when it has started. @param {Run} run */
  async start({ queue: name, id: run_id, gated }) {
    const queue = gated ? await this.queue(name) : null;
    if (queue?.period == null) return this.now;
    const at = this.moment(queue);
    this.starts.put({ queue: name, at, run_id });
    return at;
  }
}

/** Whether a run takes the concurrency key from one that holds it, which was never claimed. @param {Run} run @param {Run} holder */
function goesBefore(run, holder) {
  const unstarted = [...s.READY, "QUEUED"].includes(holder.status) && holder.started_at === null;
  return unstarted && holder.key_held === 1 && inOrder(run, holder) < 0;
}

/**
 * The names that keys go on with after `prefix`, each once.
 * @param {IDBIndex | IDBObjectStore} source
 * @param {...string} prefix
 */
async function names(source, ...prefix) {
  const found = [];
  let range = under(...prefix);
  for (let cursor; (cursor = await done(source.openKeyCursor(range))); ) {
    const name = /** @type {string[]} */ (cursor.key)[prefix.length];
    found.push(name);
    range = IDBKeyRange.bound([...prefix, name, []], [...prefix, []], true);
  }
  return found;
}

/**
 * The earliest moment at which time brings something: a run is due or too late, or a rate lets others start.
 * @param {Transaction} t
 * @param {boolean} [lines] whether rates count only where any stand in line
 * @returns {Promise<number | null>}
 */
export async function nextDue(t, lines = true) {
  const [runs, starts] = [t.objectStore("runs"), t.objectStore("starts")];
  const [due, late, queues] = await Promise.all([
    done(runs.index("due").openKeyCursor()),
    done(runs.index("expiring").openKeyCursor()),
    lines ? names(runs.index("line"), "queue") : names(starts),
  ]);
  const moments = [due, late].flatMap((cursor) => (cursor ? [/** @type {number} */ (cursor.key)] : []));
  for (const name of queues) {
    const period = (await done(t.objectStore("queues").get(name)))?.period ?? null;
    const first = period === null ? null : await done(starts.openKeyCursor(under(name)));
    if (first) moments.push(/** @type {[string, number]} */ (first.key)[1] + period);
  }
  return moments.length ? Math.min(...moments) : null;
}

/**
 * Store the limits of these queues; whether each is paused stays.
 * @param {Transaction} t
 * @param {Queue[]} queues
 * @param {number} now
 */
export async function limit(t, queues, now) {
  const places = new Places(t, now);
  for (const given of queues) {
    const before = await places.queue(given.name);
    const queue = { ...given, paused: before?.paused ?? 0, counted_to: before?.counted_to ?? 0 };
    if (!before || FIELDS.some((name) => queue[name] !== before[name])) await places.limit(queue);
  }
  return places.changes;
}

/** @param {Transaction} t @param {string} name @param {boolean} paused @param {number} now */
export async function pause(t, name, paused, now) {
  const places = new Places(t, now);
  const queue = (await places.queue(name)) ?? { name, ...NONE, counted_to: 0 };
  if (queue.paused !== Number(paused)) await places.limit({ ...queue, paused: Number(paused) });
  return places.changes;
}

/** @param {Transaction} t @returns {Promise<QueueState[]>} */
export async function listQueues(t) {
  const runs = t.objectStore("runs");
  /** @type {Kept[]} */
  const queues = await done(t.objectStore("queues").getAll());
  return Promise.all(
    queues.map(async ({ counted_to, ...queue }) => {
      const queued = await done(runs.index("line").count(under("queue", queue.name)));
      return { queue, queued, taken: await done(runs.index("slot").count(under(queue.name))) };
    }),
  );
}
