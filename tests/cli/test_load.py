"""Job files: how a target names a job, and one line for whatever may be wrong with a file."""

import sys

import pytest

from durable_lite.cli.load import load_job, load_jobs
from tests.cli.support import invoke, one_line, write_jobs

TWO = """
from durable_lite import job

@job
async def first(ctx): ...

@job("the-second")
async def second(ctx): ...
"""


class TestTargets:
    @pytest.mark.parametrize(
        "target", ["two.py:the-second", "two.py:second", "./two.py:second", "two:second"]
    )
    def test_a_job_by_its_name_or_its_function(self, tmp_path, target):
        write_jobs(tmp_path, TWO, "two.py")
        job, loaded = load_job(target)
        assert job.name == "the-second"
        assert set(loaded.jobs) == {"first", "the-second"}
        assert job.fn.__module__ == "two"
        assert sys.modules["two"].second is job

    def test_the_only_job_needs_no_name(self, tmp_path):
        write_jobs(tmp_path, TWO.replace('@job("the-second")', ""), "one.py")
        assert load_job("one.py")[0].name == "first"

    def test_the_file_can_import_its_neighbours(self, tmp_path):
        (tmp_path / "sub").mkdir()
        write_jobs(tmp_path / "sub", "NAME = 'by-neighbour'", "neighbour_of_jobs.py")
        source = f"import neighbour_of_jobs\n{TWO}".replace('"the-second"', "neighbour_of_jobs.NAME")
        write_jobs(tmp_path / "sub", source, "two.py")
        assert load_job("sub/two.py:by-neighbour")[0].name == "by-neighbour"

    def test_a_file_of_a_package_is_loaded_under_its_full_name(self, tmp_path):
        (tmp_path / "pack" / "inner").mkdir(parents=True)
        write_jobs(tmp_path / "pack", "", "__init__.py")
        write_jobs(tmp_path / "pack" / "inner", "", "__init__.py")
        write_jobs(tmp_path / "pack", "NAME = 'relative'", "other.py")
        source = TWO.replace("from durable", "from ..other import NAME\nfrom durable").replace(
            '"the-second"', "NAME"
        )
        write_jobs(tmp_path / "pack" / "inner", source, "two.py")
        job, _ = load_job("pack/inner/two.py:relative")
        assert job.fn.__module__ == "pack.inner.two"
        assert load_job("pack.inner.two:relative")[0] is job

    def test_several(self, tmp_path):
        write_jobs(tmp_path, TWO, "two.py")
        write_jobs(tmp_path, TWO.replace("first", "third").replace("the-second", "fourth"), "more.py")
        assert set(load_jobs(["two.py", "more.py:fourth"]).jobs) == {"first", "the-second", "fourth"}


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "source", "target", "message"),
        [
            ("two.py", TWO, "none.py:first", "none.py: there is no such file"),
            ("two.py", TWO, "none:first", "none: no module is named 'none'; a file is given as none.py"),
            ("two.py", TWO, "two.py:nope", "two.py: no job is named 'nope'; there are first, the-second"),
            ("two.py", TWO, "two.py:job", "two.py: no job is named 'job'; there are first, the-second"),
            ("two.py", TWO, "two.py", "two.py: which job? there are first, the-second; say two.py:first"),
            ("two.py", TWO, "two.py:", "two.py:: expected FILE.py:JOB or MODULE:JOB"),
            ("none.py", "x = 1", "none.py:x", "none.py: there are no jobs in it; "),
            ("bad.py", "\nx = (1,\ny 2", "bad.py:x", "bad.py:2: syntax error: "),
            (
                "bad.py",
                "x = 1\n\nimport nonesuch_abc",
                "bad.py:x",
                "bad.py:3: can't be imported: ModuleNotFoundError: No module named 'nonesuch_abc'",
            ),
            (
                "bad.py",
                "x = 1\n1 / 0",
                "bad.py:x",
                "bad.py:2: can't be imported: ZeroDivisionError: division by zero",
            ),
            ("bad.py", "import sys\nsys.exit(3)", "bad.py:x", "bad.py:2: can't be imported: SystemExit: 3"),
            (
                "bad.py",
                "from durable_lite import job\n@job\ndef f(ctx): ...",
                "bad.py:f",
                "bad.py:2: can't be imported: InvalidOption: job 'f': ",
            ),
            (
                "my-jobs.py",
                TWO,
                "my-jobs.py:first",
                "my-jobs.py: a module can't be named 'my-jobs'; rename the file",
            ),
            ("json.py", TWO, "json.py:first", "json.py: the module name 'json' is taken by "),
            (
                "bad.py",
                "raise ValueError('\\x1b[2J')",
                "bad.py:x",
                "bad.py:1: can't be imported: ValueError: \\x1b[2J",
            ),
        ],
    )
    def test_one_line_says_it(self, tmp_path, name, source, target, message):
        write_jobs(tmp_path, source, name)
        done = invoke("run", target, "--db", "x.db")
        assert done.exit_code == 2
        assert one_line(done).startswith(f"durable-lite: {message}")
        assert not (tmp_path / "x.db").exists()

    def test_two_jobs_of_one_name(self, tmp_path):
        write_jobs(tmp_path, TWO, "two.py")
        write_jobs(tmp_path, TWO, "again.py")
        done = invoke("worker", "two.py", "again.py")
        assert done.exit_code == 2
        assert one_line(done) == "durable-lite: two.py, again.py: two jobs are named 'first'"
