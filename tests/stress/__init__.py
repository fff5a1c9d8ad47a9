"""Attempts to break the package, counted: `python -m tests.stress`, or `make stress`."""
