/** The job files as they are now: whether what the last worker told of its jobs still holds. */

/** Of their addresses and texts; not for secrets, and also where there is no `crypto.subtle`. @param {{url: string, text: string}[]} files */
export function digest(files) {
  let [a, b] = [0x811c9dc5, 0x9dc5811c]; // FNV-1a, twice
  for (const char of JSON.stringify(files.map(({ url, text }) => [url, text]))) {
    const code = char.codePointAt(0) ?? 0;
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}

/** The digest of what the server has; null if it doesn't give one of them. @param {string[]} urls */
export async function digestOf(urls) {
  const texts = urls.map(async (url) => {
    const answer = await fetch(url, { cache: "no-cache" });
    return answer.ok ? { url, text: await answer.text() } : Promise.reject(new Error(`${answer.status}`));
  });
  return Promise.all(texts).then(digest, () => null);
}
