"""The tests. A package, so that `tests.harness` can't be another one's."""
