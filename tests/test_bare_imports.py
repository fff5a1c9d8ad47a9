"""Training on encoded histories, and ranking, import without the libraries that only raw data needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# These cannot be imported, and code that looks for them sees that they are not installed.
BLOCK = """
import sys
from importlib.machinery import PathFinder

BLOCKED = {"datasets", "evaluate", "matplotlib", "pandas", "polars", "psutil", "pyarrow"}


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else super().find_spec(name, path, target)


sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
IMPORT = """
import hf_bert4rec
from hf_bert4rec.data import collators, encoding, negatives, windows
from hf_bert4rec.evaluation import metrics, ranking, scoring
from hf_bert4rec.training import arguments, build, ema, trainer, training_forward

assert not BLOCKED & set(sys.modules)
"""


def run_without_libraries(code: str) -> None:
    """Run Python code in a new process in which `BLOCKED` libraries are not installed."""
    done = subprocess.run([sys.executable, "-c", BLOCK + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_and_ranking_import_without_libraries_for_raw_data():
    run_without_libraries(IMPORT)


def test_blocked_libraries_cannot_be_imported():
    run_without_libraries(
        "try:\n    import polars\nexcept ModuleNotFoundError:\n    pass\nelse:\n    raise AssertionError(polars)"
    )
