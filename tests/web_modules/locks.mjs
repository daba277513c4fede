/** The Web Locks of one origin, as far as exclusive ones go: queues, signals, theft. */

const abortError = () => new DOMException("The lock was stolen", "AbortError");

export class Locks {
  /** @type {Map<string, {held: any, queue: any[]}>} */
  names = new Map();
  requests = 0;

  at(name) {
    if (!this.names.has(name)) this.names.set(name, { held: null, queue: [] });
    return this.names.get(name);
  }

  request(name, { steal = false, signal = null }, callback) {
    this.requests += 1;
    const lock = this.at(name);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const request = { callback, resolve, reject };
      if (steal) {
        lock.held?.reject(abortError());
        lock.held = null;
        lock.queue.unshift(request);
      } else {
        lock.queue.push(request);
        signal?.addEventListener("abort", () => {
          if (!lock.queue.includes(request)) return; // too late: it has been granted
          lock.queue.splice(lock.queue.indexOf(request), 1);
          reject(signal.reason);
        });
      }
      queueMicrotask(() => this.grant(name)); // never within the call
    });
  }

  async grant(name) {
    const lock = this.at(name);
    if (lock.held || !lock.queue.length) return;
    const request = (lock.held = lock.queue.shift());
    try {
      request.resolve(await request.callback({ name, mode: "exclusive" }));
    } catch (error) {
      request.reject(error);
    }
    if (lock.held !== request) return; // it was stolen meanwhile
    lock.held = null;
    this.grant(name);
  }

  query(name) {
    const { held, queue } = this.at(name);
    return { held: Boolean(held), waiting: queue.length };
  }
}
