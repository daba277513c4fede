"""The declarations that a build carries: what TypeScript says of a page that uses them."""

import shutil

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


MISTAKES = [
    ('"indexeddb:a"', "5", "Type 'number' is not assignable to type 'string'"),
    ("keepAwake: false", "keepawake: false", "'keepawake' does not exist in type 'TabOptions'"),
    ("const text: string", "const text: number", "Type 'string' is not assignable to type 'number'"),
    ('"squares", 5, {', "5, {", "not assignable to parameter of type 'string'"),
]


def test_a_page_is_understood_and_mistakes_are_told(full, tmp_path):
    """All pages at once: the compiler takes seconds to start."""
    done = run(*TSC, "--project", ROOT, "--outDir", tmp_path / "types")  # the declarations of now
    assert done.returncode == 0, done.stdout
    for new in (tmp_path / "types").rglob("*.d.mts"):  # at once: other tests build from the same tree
        old = ROOT / "web/types" / new.relative_to(tmp_path / "types")
        if not old.exists() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            new.replace(old)
    shutil.copytree(full, tmp_path / "durable")
    build(Plan(tmp_path / "durable", pyodide=PYODIDE, brotli=False))
    pages = ["good.mts"]
    (tmp_path / pages[0]).write_text(GOOD)
    for number, (right, wrong, _) in enumerate(MISTAKES):
        assert GOOD.count(right) == 1
        pages.append(f"mistake{number}.mts")
        (tmp_path / pages[-1]).write_text(GOOD.replace(right, wrong))
    options = ("--strict", "--noEmit", "--target", "es2024", "--module", "nodenext", "--types", "")
    done = run(*TSC, *options, *pages, folder=tmp_path)
    told = done.stdout.splitlines()
    # Neither of the good page nor of the declarations; what belongs to a line above is indented.
    assert not [line for line in told if not line.startswith(("mistake", " "))]
    assert done.returncode != 0
    for number, (_, _, words) in enumerate(MISTAKES):
        assert any(line.startswith(f"mistake{number}.mts") and words in line for line in told), done.stdout
