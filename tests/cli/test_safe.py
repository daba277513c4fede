"""Hostile text: whatever a run says, no control character and no markup reaches the terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.cli.safe import block, json_text, line, visible
from tests.cli.support import Process, invoke, parsed, succeed

HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
anything = st.text(st.characters(exclude_categories=[]))


def harmless(text, also="\n"):
    return not [c for c in text if unicodedata.category(c) in HARMFUL and c not in also + "\u200c\u200d"]


class TestText:
    @given(anything)
    def test_nothing_harmful_is_left(self, text):
        assert harmless(visible(text), also="")
        assert harmless(block(text))
        assert harmless(line(text, 10), also="")
        assert len(line(text, 10)) <= 10

    @given(anything)
    def test_json_keeps_the_value(self, text):
        document = json_text({"a": text, text: [text]})
        assert harmless(document)
        if not any(0xD800 <= ord(c) < 0xE000 for c in text):
            assert json.loads(document) == {"a": text, text: [text]}

    def test_what_people_write_is_left_alone(self):
        assert visible("Müller 請求書 ‘fine’ 👩‍💻") == "Müller 請求書 ‘fine’ 👩‍💻"

    def test_what_is_shown(self):
        assert visible("\x1b[31m\n\t\x9b\u202e\ud800\U000e0041") == r"\x1b[31m\n\t\x9b\u202e\ud800\U000e0041"


class TestRuns:
    """The job `hostile` puts control characters and markup wherever it can."""

    @pytest.fixture(autouse=True)
    def _ran(self, jobs, db):
        done = invoke("run", f"{jobs}:hostile", "--db", db)
        assert done.exit_code == 1
        self.told = done.stderr
        self.db, self.run_id = db, parsed("runs", "list", "--db", db)["runs"][0]["id"]

    def test_progress(self):
        assert harmless(self.told)
        assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]:smile:[/]\r\n" in self.told
        assert r"[red]key\u2066[%2Fred]" in self.told

    @pytest.mark.parametrize("color", [False, True])
    def test_show(self, monkeypatch, color):
        if color:
            monkeypatch.setenv("FORCE_COLOR", "1")
        for traceback in ([], ["--traceback"]):
            shown = succeed("runs", "show", self.run_id, "--db", self.db, *traceback, color=True).stdout
            assert ("\x1b[" in shown) is color
            for character in "\x07\x9b\u202e\u2066\r":
                assert character not in shown
            for sequence in ("\x1b]", "\x1b[2J"):
                assert sequence not in shown
            assert "[bold red]:smile:[/]" in shown
            assert "[red]key" in shown

    def test_list(self):
        assert harmless(succeed("runs", "list", "--db", self.db).stdout)

    def test_json(self):
        for arguments in (("runs", "list"), ("runs", "show", self.run_id)):
            text = succeed(*arguments, "--db", self.db, "--json").stdout
            assert harmless(text)
            assert "\x1b]0;owned" in json.dumps(json.loads(text), ensure_ascii=False).replace(
                "\\u001b", "\x1b"
            )

    def test_arguments(self):
        done = invoke("runs", "show", "\x1b[2J", "--db", self.db)
        assert done.exit_code == 2
        assert harmless(done.stderr)

    def test_an_ascii_terminal_gets_json_all_the_same(self, tmp_path):
        argument = '{"org": "Müller\\u001b", "pages": 1}'
        process = Process(
            "run", "jobs.py:export", "--payload", argument, "--db", "x.db", "--json",
            folder=tmp_path, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        )  # fmt: skip
        with process:
            code, out, _ = process.end()
        assert code == 0
        assert out.isascii()
        assert json.loads(out)["output"]["name"] == "Müller"
