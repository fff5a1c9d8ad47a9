"""What of a model's folder is published: files that are known, no pickle, titles only where they may go along."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..evaluation.report import REPORT_FILE
from ..files import TRAINING_FILE, write_json
from ..model.tokenization_bert4rec import ITEMS_FILE

PUBLISHED = (
    "*_bert4rec.py",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    ITEMS_FILE,
    "model*.safetensors",
    "model.safetensors.index.json",
    "onnx/model.onnx",
    TRAINING_FILE,
    REPORT_FILE,
    "plots/*.png",
)
REWRITTEN = (ITEMS_FILE, TRAINING_FILE, REPORT_FILE)
NEEDED = ("dataset", "options", "example", "command", "curve", "environment")  # of a training record
TITLE_COLUMNS = ("title", "year", "genres")  # everything of items.json but the interaction counts


def stage(folder: Path, target: Path, name: str, titles: bool) -> list[str]:
    """Copy what is published of `folder` into the new folder `target`; gives what was left out, by name.

    Args:
        folder: an exported model.
        target: a folder that is not there yet.
        name: of the repository that the copy is for.
        titles: whether titles and genres go with it. Without them examples go too, for they quote both.

    Raises:
        FileNotFoundError: the folder has no training record.
        OSError: no room on the disk; `target` is then removed.
    """
    chosen = {path for pattern in PUBLISHED for path in folder.glob(pattern)}
    with whole(target, f"a copy of {folder}"):
        for path in sorted(chosen):
            _copy(path, target / path.relative_to(folder))
        _rewrite(folder, target, name, titles)
    everything = {path for path in folder.rglob("*") if path.is_file()}
    return sorted(str(path.relative_to(folder)) for path in everything - chosen - {folder / "README.md"})


@contextmanager
def whole(target: Path, what: str) -> Iterator[None]:
    """Remove the folder `target` if the block fails to write it; a full disk is said so, naming `what` had no room."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        if error.errno == errno.ENOSPC:
            told = f"no room for {what} in {target.parent}: free some, or name another folder with TMPDIR"
            raise OSError(error.errno, f"{told}; nothing was sent") from error
        raise


def read_training(folder: Path) -> dict[str, Any]:
    """The training record of an exported model.

    Raises:
        FileNotFoundError: it has none. ValueError: one that is cut short, or of another version.
    """
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {TRAINING_FILE}, from which its card is written: train it again")
    try:
        found = _read(path)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): train the model again") from error
    if missing := [name for name in NEEDED if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}, which its card shows: train the model again")
    return found


def without_titles(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training record whose example names movies by id alone."""
    example = training["example"]
    answer = [{**movie, "title": None, "genres": []} for movie in example["answer"]]
    return {**training, "example": {**example, "history": example["history_ids"], "answer": answer}}


def _rewrite(folder: Path, target: Path, name: str, titles: bool) -> None:
    training = read_training(folder)
    write_json(target / TRAINING_FILE, training if titles else without_titles(training))
    items = _read(folder / ITEMS_FILE)
    kept = items if titles else {column: values for column, values in items.items() if column not in TITLE_COLUMNS}
    write_json(target / ITEMS_FILE, kept)
    if (folder / REPORT_FILE).is_file():
        report = _read(folder / REPORT_FILE)
        report["model"]["name"] = name
        write_json(target / REPORT_FILE, report if titles else {**report, "examples": []})


def _copy(path: Path, target: Path) -> None:
    if path.name in REWRITTEN:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":  # may be large; a second name is as good as a copy
        try:
            os.link(path.resolve(), target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(path, target)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
