"""Logs and progress bars of the commands."""

import logging
import sys

import datasets
import transformers


def set_up_console() -> None:
    """Log to stderr at INFO; show progress bars on a terminal only."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hf_bert4rec").setLevel(logging.INFO)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
