"""How the scripts talk: logs on stderr, progress bars only where there is a terminal."""

from __future__ import annotations

import logging
import sys

import datasets
import transformers


def set_up_console() -> None:
    """Log at INFO, and keep progress bars off anything that is not a terminal."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("training", "hf_bert4rec"):
        logging.getLogger(name).setLevel(logging.INFO)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
