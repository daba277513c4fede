/** Runs compile_zip.py inside Pyodide: `node compile_zip.mjs PYODIDE SCRIPT SOURCE TARGET PREFIX`. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// An uncaught error would make Node print the one line of 1.25 MB that pyodide.asm.mjs is.
process.on("uncaughtException", (error) => {
  console.error(String(error?.message ?? error).slice(-1000));
  process.exit(1);
});

const [folder, script, source, target, prefix] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(folder, "pyodide.mjs")));
// Columns help nobody whose tracebacks show no source lines; line numbers stay.
const python = await loadPyodide({ env: { HOME: "/", PYTHONNODEBUGRANGES: "1" } });
python.FS.writeFile("/source.zip", readFileSync(source));
python.runPython(`import sys; sys.argv = ["-", "/source.zip", "/target.zip", ${JSON.stringify(prefix)}]`);
python.runPython(readFileSync(script, "utf8"));
writeFileSync(target, python.FS.readFile("/target.zip"));
process.exit(0);
