/** Boots a build as a page would, from its files only: `node boot.mjs FOLDER CODE`, whose value is printed as JSON. */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

process.on("uncaughtException", (error) => {
  console.error(String(error?.message ?? error).slice(-3000));
  process.exit(1);
});

const base = `${resolve(process.argv[2])}/`;
const manifest = JSON.parse(readFileSync(join(base, "durable-lite.json"), "utf8"));
const { loadPyodide, version } = await import(pathToFileURL(join(base, manifest.pyodide.url, "pyodide.mjs")));
if (version !== manifest.pyodide.version) throw new Error(`it is Pyodide ${version}`);

const python = await loadPyodide({
  indexURL: join(base, manifest.pyodide.url),
  stdLibURL: join(base, manifest.stdlib.url),
  lockFileContents: manifest.lock,
  packageCacheDir: base,
  packageBaseUrl: "http://127.0.0.1:9/", // nobody: whatever isn't in the folder isn't found
  packages: manifest.packages,
});
python.FS.mkdirTree("/jobs");
for (const { name, url } of manifest.jobs) python.FS.writeFile(`/jobs/${name}`, readFileSync(join(base, url)));
python.runPython("import sys; sys.path.insert(0, '/jobs'); sys.dont_write_bytecode = True");
const value = await python.runPythonAsync(readFileSync(process.argv[3], "utf8"));
console.log(JSON.stringify({ value: JSON.parse(value) }));
process.exit(0);
