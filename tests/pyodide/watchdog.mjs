/** Ends the process when a test overruns its time: from a thread of its own, for Python may be looping. */

import { writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";

let timer;

parentPort.on("message", ([what, seconds]) => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    writeSync(2, `\nStopped: ${what} took more than ${seconds} s\n`);
    process.kill(process.pid, "SIGKILL");
  }, seconds * 1000);
});
