"""Tests that need real processes, files and signals: CPython only."""
