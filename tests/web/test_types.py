"""The declarations that a build carries: what TypeScript says of a page that uses them."""

import pytest

from durable_lite.web.build import Plan, build
from tests.web.support import PYODIDE, ROOT, run
from tests.web_modules.node import NODE

TSC = (NODE, ROOT / "node_modules/typescript/bin/tsc")
GOOD = """\
import { openTab, Run, RunFailed, type TabStatus } from "./durable/durable-lite.mjs";
import { DurableRuns } from "./durable/durable-runs.mjs";
import { IndexedDBStore } from "./durable/indexeddb.mjs";

const heard = (status: TabStatus): string => status.stage;
const tab = await openTab({ store: "indexeddb:a", staleAfter: "30s", keepAwake: false, onStatus: heard });
const run: Run = await tab.trigger("squares", 5, { idempotencyKey: ["a", 1], tags: ["b"] });
const text: string = (await tab.runs({ status: "FAILED", limit: 3 }))[0].id;
try {
  await run.result();
} catch (error) {
  if (error instanceof RunFailed) console.log(error.message, text);
}
const shown = new DurableRuns();
shown.tab = tab;
export const store: IndexedDBStore = tab.store;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A folder with a build whose declarations are of now."""
    done = run(*TSC, "--project", ROOT)
    assert done.returncode == 0, done.stdout
    folder = tmp_path_factory.mktemp("typed")
    build(Plan(folder / "durable", pyodide=PYODIDE, brotli=False))
    return folder


def checked(page, source):
    (page / "page.mts").write_text(source)
    options = ("--strict", "--noEmit", "--target", "es2024", "--module", "nodenext", "--types", "")
    return run(*TSC, *options, "page.mts", folder=page)


def test_a_page_is_understood(page):
    done = checked(page, GOOD)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('"indexeddb:a"', "5", "Type 'number' is not assignable to type 'string'"),
        ("keepAwake: false", "keepawake: false", "'keepawake' does not exist in type 'TabOptions'"),
        ("const text: string", "const text: number", "Type 'string' is not assignable to type 'number'"),
        ('"squares", 5, {', "5, {", "not assignable to parameter of type 'string'"),
    ],
)
def test_a_mistake_is_told(page, right, wrong, told):
    done = checked(page, GOOD.replace(right, wrong))
    assert done.returncode != 0
    assert told in done.stdout
