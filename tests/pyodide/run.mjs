/** Runs pytest inside Pyodide on Node 24: `node tests/pyodide/run.mjs [paths and pytest options]`. */

import "fake-indexeddb/auto";
import { existsSync, mkdirSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { loadPyodide, version } from "pyodide";
import { compileStdlib } from "./stdlib.mjs";

// An uncaught error would make Node print the one line of 1.25 MB that pyodide.asm.mjs is.
process.on("uncaughtException", fail);

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CACHE = `${ROOT}.cache/pyodide`;
const STDLIB = `${CACHE}/stdlib-${version}.zip`;
const BOOT_SECONDS = 120;

if (!("Suspending" in WebAssembly)) quit(`Node 24 or newer is needed, this is ${process.version}`);
if (!existsSync(`${CACHE}/site`)) quit("The packages for Pyodide are missing: run `make setup`");

const watchdog = new Worker(new URL("./watchdog.mjs", import.meta.url));
watchdog.unref();
watchdog.postMessage(["the start of Pyodide", BOOT_SECONDS]);

try {
  const started = performance.now();
  mkdirSync(`${CACHE}/bytecode`, { recursive: true });
  if (!existsSync(STDLIB)) await compileStdlib(STDLIB);

  const python = await loadPyodide({
    stdLibURL: STDLIB,
    env: {
      HOME: "/home/pyodide",
      COLUMNS: "100",
      HYPOTHESIS_STORAGE_DIRECTORY: "/tmp/hypothesis",
      PYTHONPYCACHEPREFIX: "/bytecode", // outside the project, which belongs to another Python
      ...(process.env.CI && { CI: process.env.CI }),
    },
  });
  const write = (fd) => ({ write: (bytes) => writeSync(fd, bytes) });
  python.setStdout(write(1));
  python.setStderr(write(2));

  // These are the disk's; /tmp and the home directory stay in memory.
  const mounts = { "/project": ROOT, "/site": `${CACHE}/site`, "/bytecode": `${CACHE}/bytecode` };
  for (const [path, root] of Object.entries(mounts)) {
    python.FS.mkdirTree(path);
    python.FS.mount(python.FS.filesystems.NODEFS, { root }, path);
  }
  console.log(`Pyodide ${version} on Node ${process.version}, up in ${seconds(started)}`);

  python.registerJsModule("durable_lite_indexeddb", { ...(await import("../../web/indexeddb.mjs")) });
  python.registerJsModule("watchdog", { watch: (what, limit) => watchdog.postMessage([what, limit]) });
  python.globals.set("arguments", python.toPy(process.argv.slice(2)));
  const code = await python.runPythonAsync(`
    import os, sys
    sys.path[:0] = ["/site", "/project/tests/pyodide"]
    os.chdir("/project")

    import plugin, pytest
    int(pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[plugin]))
  `);
  process.exit(code);
} catch (error) {
  fail(error);
}

function seconds(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

function fail(error) {
  // A Python error's message is its traceback; its stack is WebAssembly.
  const text = error.type ? error.message : (error.stack ?? JSON.stringify(error));
  quit(text.slice(-1500));
}

function quit(message) {
  console.error(message);
  process.exit(3);
}
