/** Questions before something is done: a dialog with what it does, fields if it needs any, and what went wrong. */

import { html, useEffect, useRef, useState } from "./html.mjs";

const LARGEST = 200_000_000; // bytes of a file

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text what it does
 * @property {string} yes the button that does it
 * @property {boolean} [danger]
 * @property {{name: string, label: string, options: string[]}} [choice] any text, if there are no options
 * @property {{name: string, label: string, value?: string, rows?: number, file?: boolean}} [field] `file`: the text is a file's
 * @property {string} [no] the button that doesn't do it
 * @property {(text: string, chosen: string) => Promise<void>} run gets the field's text; what it throws is shown
 */

/** @param {{question: Question, close: () => void}} given */
export function Ask({ question, close }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const { title, text, yes, no = "Keep as it is", danger = false, choice, field, run } = question;
  const [value, setValue] = useState(field?.value ?? "");
  const [chosen, choose] = useState(choice?.options[0] ?? "");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setValue(field?.value ?? "");
    choose(choice?.options[0] ?? "");
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
      await run(value, chosen);
      box.current?.close();
    } catch (error) {
      setWrong(/** @type {Error} */ (error).message);
      setBusy(false);
    }
  }

  /** @param {any} event */
  async function readFile({ target: { files } }) {
    const [file] = files;
    setWrong(file?.size > LARGEST ? `${file.name} is too large to be a run` : "");
    setValue(file && file.size <= LARGEST ? await file.text() : "");
  }

  const told = { "aria-invalid": wrong ? "true" : undefined, "aria-describedby": wrong ? "ask-wrong" : undefined };
  return html`<dialog ref=${box} onclose=${close} aria-labelledby="ask-title" aria-describedby="ask-text">
    <form onsubmit=${submit}>
      <h2 id="ask-title">${title}</h2>
      <p id="ask-text">${text}</p>
      ${choice &&
      html`<label class="field"><span>${choice.label}</span>
        ${
          choice.options.length
            ? html`<select name=${choice.name} value=${chosen} onchange=${(/** @type {any} */ { target }) => choose(target.value)}>
                ${choice.options.map((one) => html`<option value=${one} key=${one}>${one}</option>`)}</select>`
            : html`<input type="text" name=${choice.name} value=${chosen} required autocomplete="off" spellcheck=${false}
                oninput=${(/** @type {any} */ { target }) => choose(target.value)} />`
        }</label>`}
      ${field &&
      html`<label class="field"><span>${field.label}</span>${
        field.file
          ? html`<input type="file" name=${field.name} accept=".json,application/json" required ...${told} onchange=${readFile} />`
          : html`<textarea name=${field.name} rows=${field.rows ?? 4} spellcheck=${false} value=${value} ...${told}
              oninput=${(/** @type {any} */ { target }) => setValue(target.value)} />`
      }</label>`}
      <p class="bad wrong" id="ask-wrong" role="alert">${wrong}</p>
      <p class="buttons">
        <button type="button" onclick=${() => box.current?.close()}>${no}</button>
        <button type="submit" class=${danger ? "danger" : "main"} disabled=${busy}>${yes}</button>
      </p>
    </form>
  </dialog>`;
}
