"""The deliberate defects fit the code as it is now: one that can't be made any more would be caught by nothing."""

from pathlib import Path

import pytest

import durable_lite
from tests.mutants import MUTANTS, Mutant

PACKAGE = Path(durable_lite.__file__).parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_made(mutant: Mutant):
    source = (PACKAGE / mutant.file).read_text("utf-8")
    assert source.count(mutant.before) == 1
    compile(source.replace(mutant.before, mutant.after), mutant.file, "exec")
    assert mutant.before != mutant.after


def test_each_has_a_name_of_its_own():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 40
