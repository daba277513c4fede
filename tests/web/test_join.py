"""Joined modules: one file that does what the many did."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from durable_lite.web.join import NotJoinable, joined, without_comments
from durable_lite.web.modules import page_modules

ROOT = Path(__file__).parents[2]
_installed = ROOT / "node_modules/.bin/node"
NODE = str(_installed) if _installed.exists() else "node"

MODULES = {
    "app.mjs": """\
/** The entry. */
import { add, twice as doubled } from "./sum.mjs";
import * as text from "./text-tools.mjs";

export { add } from "./sum.mjs";
export { shout } from "./text-tools.mjs";

const name = "app";
export const answer = () => text.shout(`${name} ${doubled(add(1, 2))}`);
""",
    "sum.mjs": """\
// A sum
export function add(a, b) {
  return a + b; // of two
}
const name = "sum"; /* not the entry's */
export const twice = (a) => (name === "sum" ? 2 * a : NaN);
""",
    "text-tools.mjs": """\
import { add } from "./sum.mjs";

class Tools {}
export async function later() {
  return add(1, 1);
}
function shout(text) {
  return text.toUpperCase() + "!";
}
export { shout, Tools };
""",
    "worker.mjs": """\
import { answer } from "./app.mjs";
import * as sum from "./sum.mjs";
import { shout as loud } from "./text-tools.mjs";

export const told = [answer(), sum.add(20, 1), loud("x")];
""",
    "unused.mjs": "export const unused = 1;\n",
}


def run(folder: Path, files: dict[str, str], code: str):
    for name, source in files.items():
        (folder / name).write_text(source)
    (folder / "main.mjs").write_text(code)
    done = subprocess.run([NODE, folder / "main.mjs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_joined_entry_and_what_stays_apart_share_their_modules(tmp_path):
    files = joined(MODULES, "app.mjs", ["worker.mjs"], ["text-tools.mjs"])
    assert sorted(files) == ["app.mjs", "text-tools.mjs", "worker.mjs"]
    code = """
    import * as app from "./app.mjs";
    import { told } from "./worker.mjs";
    import { shout, Tools, later } from "./text-tools.mjs";
    const names = Object.keys(app).filter((name) => !name.endsWith(".mjs"));
    console.log(JSON.stringify([names, app.answer(), told, shout === app.shout, Tools.name, await later()]));
    """
    names, answer, told, same, tools, later = run(tmp_path, files, code)
    assert sorted(names) == ["add", "answer", "shout"]
    assert (answer, told, same, tools, later) == ("APP 6!", ["APP 6!", 21, "X!"], True, "Tools", 2)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('import x from "./sum.mjs";\n', "not understood: import x"),
        ("export default 1;\n", "not understood: export default 1"),
        ('export * from "./sum.mjs";\n', "not understood: export *"),
        ('export { add as plus } from "./sum.mjs";\n', "renamed: export { add as plus }"),
        ('import { x } from "./gone.mjs";\n', "app.mjs imports gone.mjs, which isn't there"),
        ('import { x } from "./worker.mjs";\n', "app.mjs > worker.mjs > app.mjs"),
    ],
)
def test_what_it_does_not_understand_is_refused(source, told):
    with pytest.raises(NotJoinable, match=re.escape(told)):
        joined(MODULES | {"app.mjs": source}, "app.mjs", [], [])


def test_comments_go_and_what_looks_like_one_stays(tmp_path):
    source = r"""
/** Above. */
const a = "http://x/*y*/"; // behind
const b = '// no'; /* x */ const c = `/* ${a} // */`;
const d = /\/\/[^/"]*"/.test('//x"'); // a regular expression
const e = [6 / 2 / 1, /** @type {any} */ (7) / 2]; // divisions
  // indented

const f = { /* inside */ g: 1 };
console.log(JSON.stringify([a, b, c, d, e, f]));
"""
    plain = without_comments(source)
    assert not re.search(r"Above|behind|inside|indented|@type|/\* x|divisions", plain)
    assert "" not in plain.splitlines()
    expected = ["http://x/*y*/", "// no", "/* http://x/*y*/ // */", True, [3, 3.5], {"g": 1}]
    assert run(tmp_path, {}, plain) == run(tmp_path, {}, source) == expected


def test_our_modules_have_no_comments_left():
    made = {name: data.decode() for name, data in page_modules().items() if name.endswith(".mjs")}
    assert sorted(made) == [
        "durable-lite.mjs",
        "durable-runs.mjs",
        "indexeddb.mjs",
        "moving.mjs",
        "outside.mjs",
        "react.mjs",
        "remote.mjs",
        "steering.mjs",
        "worker.mjs",
    ]
    for name, source in made.items():
        outside = re.sub(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`", "", source)
        left = [line for line in outside.splitlines() if re.search(r"/\*|(?<![:\\])//", line)]
        assert not left, f"{name}: {left[0]}"
