/** Questions before something is done: a dialog with what it does, fields if it needs any, and what went wrong. */

import { html, useEffect, useRef, useState } from "./html.mjs";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text what it does
 * @property {string} yes the button that does it
 * @property {boolean} [danger]
 * @property {{name: string, label: string, value?: string, rows?: number, optional?: boolean}} [field]
 * @property {(text: string) => Promise<void>} run gets the field's text; what it throws is shown
 */

/** @param {{question: Question, close: () => void}} given */
export function Ask({ question, close }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const { title, text, yes, danger = false, field, run } = question;
  const [value, setValue] = useState(field?.value ?? "");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setValue(field?.value ?? "");
    setWrong("");
    setBusy(false);
    const node = box.current;
    if (node && !node.open) node.showModal();
  }, [question]);

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    setWrong("");
    try {
      await run(value);
      box.current?.close();
    } catch (error) {
      setWrong(/** @type {Error} */ (error).message);
      setBusy(false);
    }
  }

  return html`<dialog ref=${box} onclose=${close} aria-labelledby="ask-title" aria-describedby="ask-text">
    <form onsubmit=${submit}>
      <h2 id="ask-title">${title}</h2>
      <p id="ask-text">${text}</p>
      ${field &&
      html`<label class="field"><span>${field.label}</span>
        <textarea name=${field.name} rows=${field.rows ?? 4} spellcheck=${false} value=${value} aria-invalid=${wrong ? "true" : undefined}
          aria-describedby=${wrong ? "ask-wrong" : undefined} oninput=${(/** @type {any} */ { target }) => setValue(target.value)} /></label>`}
      <p class="bad wrong" id="ask-wrong" role="alert">${wrong}</p>
      <p class="buttons">
        <button type="button" onclick=${() => box.current?.close()}>Keep as it is</button>
        <button type="submit" class=${danger ? "danger" : "main"} disabled=${busy}>${yes}</button>
      </p>
    </form>
  </dialog>`;
}
