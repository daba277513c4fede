/** As much of a page as a tab needs that nobody looks at. */

export const page = Object.assign(new EventTarget(), {
  ...{ baseURI: "https://example.org/", visibilityState: "visible" },
});
Object.assign(globalThis, { document: page, window: new EventTarget() });
