/** Preact and htm for the dashboard's modules: the only one that knows where they lie, so it is never joined. */

import { h, render } from "./vendor/preact.mjs";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
import htm from "./vendor/htm.mjs";

/** What a component returns. @typedef {any} View */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => View} */
export const html = htm.bind(h);
export { render, useEffect, useLayoutEffect, useMemo, useRef, useState };
