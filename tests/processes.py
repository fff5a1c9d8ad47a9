"""Python in processes of its own."""

import subprocess
import sys
from typing import Any

import pytest


def run_python(*words: str, **options: Any) -> str:
    """The output of `python words…`, which must succeed."""
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        pytest.fail(f"{words[0]} … exited with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout
