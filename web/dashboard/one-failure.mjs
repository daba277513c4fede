/** A stored error: what it says, and where it was raised. */

import { html } from "./html.mjs";
import { Text } from "./value.mjs";
import { failure } from "./words.mjs";

/** @param {{error: any}} given */
export function Failure({ error }) {
  return html`<div class="failure"><p class="bad"><${Text} text=${failure(error)} /></p>
    ${error.traceback && html`<details><summary>Traceback</summary><pre tabindex="0">${error.traceback}</pre></details>`}</div>`;
}
