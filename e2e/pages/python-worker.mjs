// A module worker with Pyodide out of the static build: unpacks archives, runs code, tells what is printed.
// {code, archives: {folder: URL}, modules: {name in Python: URL}, env} → {out}, {watch}, {result} or {error}.

const text = new TextDecoder();
const say = (bytes) => (postMessage({ out: text.decode(bytes, { stream: true }) }), bytes.length);

self.onmessage = async ({ data: { code, archives = {}, modules = {}, env = {} } }) => {
  try {
    const built = await (await fetch("/durable-lite.json")).json();
    const at = new URL(built.pyodide.url, location.origin + "/").href;
    const { loadPyodide } = await import(`${at}pyodide.mjs`);
    const python = await loadPyodide({
      indexURL: at,
      stdLibURL: new URL(built.stdlib.url, location.origin + "/").href,
      lockFileContents: { info: built.lock.info, packages: {} },
      packageBaseUrl: at,
      env: { HOME: "/home/pyodide", ...env },
    });
    python.setStdout({ write: say });
    python.setStderr({ write: say });
    for (const [folder, url] of Object.entries(archives)) {
      python.unpackArchive(await (await fetch(url)).arrayBuffer(), "zip", { extractDir: folder });
    }
    python.registerJsModule("watchdog", { watch: (what, seconds) => postMessage({ watch: [what, seconds] }) });
    for (const [name, url] of Object.entries(modules)) python.registerJsModule(name, { ...(await import(url)) });
    postMessage({ result: await python.runPythonAsync(code) });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
