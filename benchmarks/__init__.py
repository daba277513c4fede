"""Benchmarks against the raw floor, measured in the same process: `python -m benchmarks --help`."""
