"""Atomic writes through a temporary file and a rename, and errors that name the file."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

TRAINING_FILE = "training.json"  # the record of its training, in a model's folder
TASTE_FILE = "taste.safetensors"  # the model of taste for JavaScript, in the folder's `onnx/`
DISK_FULL_HINT = "Free some space, or name another folder with TMPDIR; nothing was sent"
PACKAGE = Path(__file__).resolve().parent
# Paths in a checkout of folders that pyproject.toml maps into the package of a wheel.
IN_CHECKOUT = {"recipes": "training/recipes", "model_card": "model_card"}


def data_folder(name: str) -> Path:
    """The folder "recipes" or "model_card" (template and demo), in a wheel or in a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / IN_CHECKOUT[name]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path`, or remove it if the block raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # the error of a full disk has none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, completely or not at all; ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, completely or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def annotate_write_errors(folder: Path, fix: str = DISK_FULL_HINT, *error_types: type[Exception]) -> Iterator[None]:
    """Turn errors while a folder is written into an OSError with its path and the free space of its disk.

    Args:
        fix: what to do about it, for the message.
        error_types: further types of error that a full disk raises here, such as RuntimeError by torch.
    """
    errors: tuple[type[Exception], ...] = (OSError, SafetensorError, *error_types)
    try:
        yield
    except errors as error:
        free = shutil.disk_usage(folder.parent).free
        raise OSError(f"{folder} could not be written: {error}. {free:,} bytes are free on its disk. {fix}") from error


@contextmanager
def report_damage(message: str) -> Iterator[None]:
    """Turn any error of a library that reads a file into a ValueError: the message, and the first line of the error.

    A MemoryError passes through, as it says nothing about the file.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason, *_ = str(error).split("\n")
        raise ValueError(f"{message}: {reason}") from error
