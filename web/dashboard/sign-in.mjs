/** The form for a server's token, where one is wanted. */

import { html, useEffect, useRef, useState } from "./html.mjs";

/**
 * @param {object} given
 * @param {string} given.label whose token
 * @param {string} given.wrong what the server said of the last one, if there was one
 * @param {(token: string) => Promise<void>} given.take what it throws is shown
 */
export function SignIn({ label, wrong, take }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [token, setToken] = useState("");
  const [why, setWhy] = useState(wrong);
  const [busy, setBusy] = useState(false);
  useEffect(() => field.current?.focus(), []);

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    setWhy("");
    try {
      await take(token.trim());
    } catch (error) {
      setWhy(/** @type {Error} */ (error).message);
      setBusy(false);
      field.current?.select();
    }
  }

  return html`<div class="app"><form class="card sign-in" onsubmit=${submit}>
    <h2>${label} wants a token</h2>
    <input type="text" autocomplete="username" value=${label} readonly hidden />
    <label class="field"><span>Token</span>
      <input ref=${field} type="password" name="token" autocomplete="current-password" spellcheck=${false} required value=${token}
        aria-invalid=${why ? "true" : undefined} aria-describedby="sign-in-why sign-in-note"
        oninput=${(/** @type {any} */ { target }) => setToken(target.value)} /></label>
    <p class="bad wrong" id="sign-in-why" role="alert">${why}</p>
    <p class="soft" id="sign-in-note">It is what the server was started with, as <code>--token</code> or DURABLE_LITE_TOKEN. This
      browser tab keeps it until it is closed.</p>
    <p class="buttons"><button type="submit" class="main" disabled=${busy}>Open</button></p>
  </form></div>`;
}
