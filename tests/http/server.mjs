/** A server of its own for a test, by `durable-lite serve`, and a proxy before it that cuts connections. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PYTHON = process.env.PYTHON ?? "python3";
const MAIN = "from durable_lite.cli import main; main()";
const JOBS = join(import.meta.dirname, "remote_jobs.py");

export const folder = () => mkdtempSync(join(tmpdir(), "durable-lite-"));

/** A server that can be killed, and started again at the same address and over the same file. */
export class Server {
  /** @param {{token?: string, args?: string[], db?: string}} [given] */
  constructor({ token, args = [], db = join(folder(), "runs.db") } = {}) {
    Object.assign(this, { token, args, db, port: 0 });
  }

  /** At the port that it had: who took it meanwhile, for a connection of its own, has it for a moment. */
  async start() {
    for (let left = 20; ; left -= 1) {
      try {
        return await this.started();
      } catch (error) {
        if (!left || !/already in use/.test(error.message)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  async started() {
    const given = [JOBS, "--db", this.db, "--port", `${this.port}`, ...this.args];
    const env = { ...process.env, NO_COLOR: "1", ...(this.token && { DURABLE_LITE_TOKEN: this.token }) };
    this.process = spawn(PYTHON, ["-c", MAIN, "serve", ...given], { env, stdio: ["ignore", "ignore", "pipe"] });
    process.once("exit", () => this.process.kill("SIGKILL"));
    this.said = [];
    const lines = createInterface(this.process.stderr);
    this.url = await new Promise((resolve, reject) => {
      this.process.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${this.said.join("\n")}`)));
      lines.on("line", (line) => {
        this.said.push(line);
        const [, url] = /API at (http:.*)\/api\//.exec(line) ?? [];
        if (url) resolve(url);
      });
    });
    this.port = Number(new URL(this.url).port);
    return this;
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = "SIGTERM") {
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    await ended;
  }
}

/** Numbers from 0 to 1 that are the same each time. @param {number} seed */
export function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A proxy that lets `after()` bytes of each answer through and then cuts the connection, so many times; it passes on
 * what comes as it comes, or byte by byte where it falls.
 * @param {string} url
 * @param {() => number} after
 * @param {number} times
 * @param {number} [at] its port
 */
export async function cutting(url, after, times, at = 0) {
  const { port, hostname } = new URL(url);
  const seen = { cuts: 0, connections: 0 };
  const sockets = new Set();
  const server = createServer((near) => {
    seen.connections += 1;
    const far = connect(Number(port), hostname);
    const both = [near, far];
    for (const one of both) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => both.forEach((other) => other.destroy()));
    }
    near.pipe(far);
    let left = seen.cuts < times ? Math.floor(after()) : Infinity;
    far.on("data", (bytes) => {
      if (bytes.length < left) {
        left -= bytes.length;
        near.write(bytes);
        return;
      }
      if (seen.cuts >= times) return void ((left = Infinity), near.write(bytes));
      seen.cuts += 1;
      far.pause();
      near.write(bytes.subarray(0, left), () => near.resetAndDestroy());
    });
  });
  await new Promise((resolve) => server.listen(at, "127.0.0.1", () => resolve(undefined)));
  const close = () => {
    for (const one of sockets) one.destroy();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, seen, close };
}

/** Resolves with the detail of the first event that fits. */
export function heard(target, type, fits = () => true) {
  return new Promise((resolve) => {
    const hear = ({ detail }) => {
      if (!fits(detail)) return;
      target.removeEventListener(type, hear);
      resolve(detail);
    };
    target.addEventListener(type, hear);
  });
}

/** Resolves with the first page of a live list that fits. */
export function shown(source, filter, fits) {
  return new Promise((resolve) => {
    const end = source.live(filter, (told) => {
      if (!fits(told)) return;
      queueMicrotask(() => end());
      resolve(told);
    });
  });
}
