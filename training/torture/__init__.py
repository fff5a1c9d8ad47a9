"""Attempts to break the package, counted: `python -m training.torture`, or `make torture`."""
