"""Training checkpoints that are whole or are not taken: a seal, written last, lists the files and their sizes.

A run that is killed while it writes or removes a checkpoint leaves a torn one behind, which looks like any other and
which transformers would resume from, optimizer or not.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..files import write_json

SEAL_FILE = "whole.json"


class IncompleteCheckpointError(ValueError):
    """A checkpoint that was not written to its end, or of which files were lost."""


def mark_complete(checkpoint: Path) -> None:
    """Declare a checkpoint whole: from now on a missing file, or one of another size, is noticed."""
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != SEAL_FILE]
    write_json(checkpoint / SEAL_FILE, {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in paths})


def mark_incomplete(checkpoint: Path) -> None:
    """Declare a checkpoint torn until it is sealed again, since its files are about to be written over."""
    (checkpoint / SEAL_FILE).unlink(missing_ok=True)


def check_complete(checkpoint: str | Path) -> None:
    """Raise IncompleteCheckpointError unless every file that the seal lists is there with its size."""
    checkpoint = Path(checkpoint)
    mend = "resume from an earlier one; `last` finds the last whole one"
    try:
        sizes = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IncompleteCheckpointError(f"{checkpoint} was not written to its end (no {SEAL_FILE}): {mend}") from error
    for name, size in sizes.items():
        path = checkpoint / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes and not {size:,}"
            raise IncompleteCheckpointError(f"{path} {state}: the checkpoint is torn; {mend}")


def latest_complete(folder: str | Path) -> Path | None:
    """The whole checkpoint with the highest step in `folder`; None where there is none."""
    whole = [checkpoint for checkpoint in _checkpoints(folder) if _is_whole(checkpoint)]
    return whole[-1] if whole else None


def remove_incomplete(folder: str | Path) -> None:
    """Remove what a killed run left of checkpoints: transformers counts them when it decides which ones to keep."""
    for checkpoint in _checkpoints(folder):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _checkpoints(folder: str | Path) -> list[Path]:
    """By rising step."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def _is_whole(checkpoint: Path) -> bool:
    try:
        check_complete(checkpoint)
    except IncompleteCheckpointError:
        return False
    return True
