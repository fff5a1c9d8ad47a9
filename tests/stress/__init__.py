"""Stress campaigns with counted outcomes: `make stress`, or `python -m tests.stress NAME...`."""
