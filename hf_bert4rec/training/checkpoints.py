"""Detection of incomplete training checkpoints: a list of files and sizes, written last, marks a complete one.

A run that is killed while it writes or removes a checkpoint leaves some of its files behind. transformers would resume
from it all the same, with or without an optimizer state.
"""

import json
import shutil
from pathlib import Path

from ..files import write_json

COMPLETE_FILE = "complete.json"


class IncompleteCheckpointError(ValueError):
    """A checkpoint that was not completely written, or lost files."""


def mark_complete(checkpoint: Path) -> None:
    """Record the names and sizes of a checkpoint's files, against which `check_complete` compares it."""
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != COMPLETE_FILE]
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in paths}
    write_json(checkpoint / COMPLETE_FILE, sizes)


def check_complete(checkpoint: str | Path) -> None:
    """Raise IncompleteCheckpointError unless the checkpoint is marked and all its files have their sizes."""
    if problem := _problem(Path(checkpoint)):
        raise IncompleteCheckpointError(
            f"{problem}: the checkpoint is incomplete; resume from an earlier one. `last` selects the latest that is "
            "complete"
        )


def latest_complete(folder: str | Path) -> Path | None:
    """The complete checkpoint with the highest step in `folder`, or None."""
    return next((checkpoint for checkpoint in reversed(list_checkpoints(folder)) if not _problem(checkpoint)), None)


def remove_incomplete(folder: str | Path) -> None:
    """Remove incomplete checkpoints, which transformers would count when it decides which ones to keep."""
    for checkpoint in list_checkpoints(folder):
        if _problem(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Folders `checkpoint-STEP`, by ascending step."""
    steps = {path: path.name.removeprefix("checkpoint-") for path in Path(folder).glob("checkpoint-*")}
    return sorted((path for path, step in steps.items() if step.isdigit()), key=lambda path: int(steps[path]))


def _problem(checkpoint: Path) -> str | None:
    """What is missing of an incomplete checkpoint; None for a complete one."""
    try:
        sizes = json.loads((checkpoint / COMPLETE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{checkpoint} was not completely written (no {COMPLETE_FILE})"
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{path} is missing"
        if (actual := path.stat().st_size) != size:
            return f"{path} has {actual:,} bytes instead of {size:,}"
    return None
