/** The timelines of `tests/timelines.json`, which Python's module makes as well. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { timeline } from "../../web/timeline.mjs";

const cases = JSON.parse(readFileSync(new URL("../timelines.json", import.meta.url), "utf-8"));
assert(Object.keys(cases).length > 15);

for (const [name, { run, steps, events, now, expected }] of Object.entries(cases)) {
  test(name, () => {
    const stored = events.map((event) => ({ ...event, run_id: run.id, data: JSON.stringify(event.data) }));
    assert.deepEqual(timeline(run, steps, stored, now), expected);
    // As `tab.run(id).events` and the steps of any store give them: in any order, and read already.
    assert.deepEqual(timeline(run, steps.toReversed(), events.toReversed(), now), expected);
  });
}
