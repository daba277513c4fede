/** Opens what `<durable-dashboard>` is to show by its attributes; the token of a server is kept as long as the tab. */

/** @typedef {import("../source.mjs").Source} Source */
/** @typedef {import("../remote.mjs").Remote} Remote */

/** A tab that only watches; its module is loaded where it is needed. @param {string} store @returns {Promise<Source>} */
export async function tabOf(store) {
  const { openTab } = await import("../durable-lite.mjs");
  return openTab({ store, worker: false });
}

/**
 * A server's runs, once it answers. Rejects with `Unauthorized` if it wants a token, or another one than is known.
 * @param {string} server
 * @param {string} [token] instead of the one that is known; kept if the server takes it
 * @returns {Promise<Remote>}
 */
export async function serverOf(server, token) {
  const { openRemote, Unauthorized } = await import("../remote.mjs");
  const key = `durable-lite token of ${new URL(server, document.baseURI).href}`;
  const remote = await openRemote(server, { token: token ?? recall(key) });
  try {
    await remote.knownJobs();
  } catch (error) {
    if (error instanceof Unauthorized) {
      await remote.close();
      keep(key, null);
      throw error;
    } // whatever else: the dashboard tells, and asks again
  }
  if (token !== undefined) keep(key, token);
  return remote;
}

/** @param {string} key */
function recall(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // a page that may store nothing
  }
}

/** @param {string} key @param {string | null} token */
function keep(key, token) {
  try {
    if (token === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, token);
  } catch {
    // As above: it is asked for again.
  }
}
