/**
 * Which tab executes: the one that holds the Web Lock, on its main thread, only while there is work.
 * There the lock can be dropped within `freeze` and `pagehide`; and Chrome leaves its holder running.
 */

/** How long a request for the lock waits before it is made anew: some wait for ever. */
const PATIENCE = 1000;

/**
 * @typedef {object} LeaderOptions
 * @property {string} name of the lock
 * @property {(leads: boolean) => void} onchange
 * @property {() => Promise<boolean>} stalled whether the holder's runs have stopped beating
 * @property {Pick<LockManager, "request"> | null} [locks] null: everybody leads, and leases are enough
 */

export class Leader {
  /** @param {LeaderOptions} options */
  constructor({ name, onchange, stalled, locks = globalThis.navigator?.locks ?? null }) {
    this.name = name;
    this.onchange = onchange;
    this.stalled = stalled;
    this.locks = locks;
    this.leads = false;
    this.wanted = false;
    this.resting = false;
    this.asking = false;
    this.release = () => {};
  }

  /** Whether this tab has work to do, or to wait for. @param {boolean} wanted */
  want(wanted) {
    this.wanted = wanted;
    this.update();
  }

  /** The page may be stopped at any moment: let go at once, and don't ask. @param {boolean} resting */
  rest(resting) {
    this.resting = resting;
    this.update();
  }

  update() {
    const on = this.wanted && !this.resting;
    if (!this.locks) this.change(on);
    else if (!on) this.release();
    else if (!this.asking) this.ask(this.locks);
  }

  /** @param {boolean} leads */
  change(leads) {
    if (leads === this.leads) return;
    this.leads = leads;
    this.onchange(leads);
  }

  /** @param {Pick<LockManager, "request">} locks */
  async ask(locks) {
    this.asking = true;
    let steal = false;
    while (this.wanted && !this.resting) {
      try {
        // A frozen page that was given the lock in the queue would keep it: who rests leaves the queue.
        const given_up = new AbortController();
        this.release = () => given_up.abort();
        const signal = AbortSignal.any([given_up.signal, AbortSignal.timeout(PATIENCE)]);
        const how = steal ? { steal } : { signal };
        await locks.request(this.name, how, () => this.hold());
        steal = false;
      } catch {
        this.change(false); // it was stolen from us; or the time was up, or we gave up
        steal = this.wanted && !this.resting && (await this.stalled().catch(() => false));
      }
    }
    this.asking = false;
  }

  /** Holds the lock as long as the promise is pending. */
  hold() {
    if (!this.wanted || this.resting) return;
    /** @type {Promise<void>} */
    const held = new Promise((resolve) => {
      this.release = () => {
        this.release = () => {};
        this.change(false);
        resolve();
      };
    });
    this.change(true);
    return held;
  }
}
