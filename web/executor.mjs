/** Whether this tab executes: it asks for the lock as long as there is work, starts Python, and rests with its page. */

import { perform } from "./bridge.mjs";
import { Host } from "./host.mjs";
import { Leader } from "./leader.mjs";
import { follow, mustRest } from "./lifecycle.mjs";

/** @typedef {import("./host.mjs").TabStatus} TabStatus */
/** @typedef {import("./lifecycle.mjs").PageState} PageState */
/** @typedef {{state: PageState, event: string, away: number}} PageFacts */

const now = () => Date.now() / 1000;
const HEAD_START = 0.05; // seconds, for tabs that have Python already
const LONGEST_TIMER = 60_000; // a hidden page's timers are late by as much

export class Executor {
  /**
   * @param {{options: import("./tab-options.mjs").Checked, store: import("./indexeddb.mjs").IndexedDBStore, known: import("./known-jobs.mjs").KnownJobs, setup: import("./setup.mjs").Setup}} tab
   * @param {{status: (status: TabStatus) => void, events: (events: string) => void, lead: (leads: boolean) => void, page: (facts: PageFacts) => void}} hear
   */
  constructor({ options, store, known, setup }, hear) {
    this.options = options;
    this.store = store;
    this.known = known;
    this.setup = setup;
    this.hear = hear;
    this.host = new Host(() => this.init(), {
      onstatus: (status) => this.told(status),
      onevents: hear.events,
      onready: (manifest, files) => {
        known.learn(manifest, files);
        this.look();
      },
      onagain: () => this.look(),
      perform: (verb, given) => this.perform(verb, given),
    });
    this.leader = new Leader({
      name: `durable-lite:${options.store}`,
      locks: options.keepAwake ? globalThis.navigator?.locks : null,
      onchange: (leads) => this.lead(leads),
      stalled: () => this.stalled(),
    });
    this.timer = 0;
    this.closed = false;
    /** @type {Promise<void> | null} */
    this.looking = null;
    this.lookAgain = false;
    this.leaving = false; // whether the worker claims nothing more, though the lock is still ours
    this.leftSince = Infinity; // since when there is work that the lock's holder has not taken up
  }

  /** What Python is doing. */
  get status() {
    return this.host.status;
  }

  get leads() {
    return this.leader.leads;
  }

  open() {
    // Also where nothing executes: what a frozen page was reading would block every other tab.
    this.page = follow({
      onchange: (state, before, facts) => this.turn(state, facts),
      onfreeze: () => this.host.lastWords(),
    });
    if (!this.options.worker) return;
    this.host.hide(this.page.state() === "hidden");
    navigator.storage?.persist?.().catch(() => false); // against eviction; the browser decides
    this.look();
  }

  /** Let go: what executes here is released. */
  async close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.page?.stop();
    await this.host.stop();
    this.leader.want(false);
  }

  /** @param {import("./records.mjs").Change[]} changes */
  changed(changes) {
    if (changes.every((change) => change.step)) return;
    // To load Python takes longer than to wait a moment for a tab that has it; a hidden page's timers are late.
    if (this.known.names || document.visibilityState === "hidden") this.look();
    else this.wake(HEAD_START);
  }

  /** See what there is to do, once more if something happens meanwhile. */
  look() {
    if (!this.options.worker || this.closed) return;
    this.lookAgain = true;
    this.looking ??= this.consider().finally(() => (this.looking = null));
  }

  async consider() {
    while (this.lookAgain && !this.closed) {
      this.lookAgain = false;
      const outlook = await this.store.outlook(this.known.names).catch(() => null);
      if (this.closed) return;
      if (!outlook) {
        this.wake(5); // the store is down for the moment: whoever leads, leads on
        continue;
      }
      const { claimable, due, leases } = outlook;
      const at = now();
      const locked = leases.some((lease) => lease.via === this.via);
      const stale = leases.some((lease) => this.isLate(lease));
      const ready = due === null ? Infinity : due + (this.known.names ? 0 : HEAD_START);
      const ripe = claimable || ready <= at || stale || !(await this.declared());
      if (this.closed) return; // else it would have the lock for ever
      const busy = ripe || locked;
      if (!busy && this.leads && !this.leaving) {
        // Its worker may have claimed something since: whoever gets the lock would take that from it, as from a dead one.
        this.leaving = true;
        await this.host.leave();
        this.lookAgain = true;
        continue;
      }
      if (busy && this.leaving) this.host.post({ op: "lead", on: true });
      this.leaving = false;
      // Where Python can't start now, another tab may have more luck.
      this.leader.want(busy && !this.host.failed);
      if (this.leads && busy) this.host.boot();
      const soon = leases.length ? this.options.heartbeatInterval : Infinity;
      // What is due already and not taken up may wait for long: for a worker that is full, or that can't start.
      this.wake(Math.min(soon, ready > at ? ready - at : this.options.heartbeatInterval));
    }
  }

  /** Whether the schedules of this page's jobs are known, so that they can wake it. */
  async declared() {
    return !this.options.schedules || this.known.declared();
  }

  /** How this tab's worker holds its runs. */
  get via() {
    return this.leader.locks ? "lock" : "lease";
  }

  /** What a hidden page's worker asks of the store. @type {import("./bridge.mjs").Route} */
  async perform(verb, given) {
    if (verb === "claim_runs" && !this.leads) return "[[]]"; // asked before the page was frozen
    return perform(this.store, verb, given);
  }

  /** @param {number} seconds */
  wake(seconds) {
    clearTimeout(this.timer);
    if (seconds === Infinity || this.closed) return;
    this.timer = setTimeout(() => this.look(), Math.min(seconds * 1000 + 1, LONGEST_TIMER));
  }

  /** Whether who holds the lock has given no sign of life for too long. */
  async stalled() {
    const { claimable, due, leases } = await this.store.outlook(this.known.names);
    const held = leases.filter((lease) => lease.via === "lock");
    const left = !held.length && (claimable || (due !== null && due <= now()));
    if (!left) this.leftSince = Infinity;
    else this.leftSince = Math.min(this.leftSince, performance.now());
    // Its runs don't beat; or it has claimed none of those that wait.
    const late = performance.now() - this.leftSince > this.options.staleAfter * 1000;
    return held.some((lease) => this.isLate(lease)) || late;
  }

  /** @param {import("./records.mjs").Lease} lease */
  isLate(lease) {
    return now() - lease.heartbeat_at > this.options.staleAfter;
  }

  /** @param {boolean} leads */
  lead(leads) {
    this.leftSince = Infinity;
    this.leaving = false;
    this.host.post({ op: "lead", on: leads });
    this.hear.lead(leads);
    if (leads) this.look();
  }

  /** @param {import("./lifecycle.mjs").PageState} state @param {{event: string, away: number}} facts */
  turn(state, facts) {
    const rest = mustRest(state);
    this.leftSince = Infinity;
    if (!rest) this.host.hide(state === "hidden");
    if (state === "hidden") this.host.post({ op: "beat" }); // perhaps the last that is heard of it
    if (rest) {
      // Nothing runs after this: the worker falls silent, and the lock goes to another tab.
      this.host.rest(true);
      this.leader.rest(true);
      this.store.quiet(true);
    } else {
      this.store.quiet(false);
      this.host.rest(false);
      this.leader.rest(false);
      this.look();
    }
    this.hear.page({ state, ...facts });
  }

  async init() {
    const setup = await this.setup.init();
    const { store, durability, files, python } = this.options;
    return { ...setup, store, durability, files, options: python, via: this.via, leads: this.leader.leads };
  }

  /** @param {TabStatus} status */
  told(status) {
    this.hear.status(status);
    if (status.stage === "failed") this.look();
  }
}
