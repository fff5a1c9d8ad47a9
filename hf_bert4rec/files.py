"""Files that are whole or absent: everything the package writes goes through a temporary name and a rename."""

from __future__ import annotations

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
PACKAGE = Path(__file__).resolve().parent
# Where a checkout keeps the files that a wheel holds in the package, as pyproject.toml maps them.
IN_CHECKOUT = {"recipes": "training/recipes", "model_card": "model_card"}


def data_folder(name: str) -> Path:
    """Folder of the "recipes" or of the "model_card" template and demo, in a wheel and in a checkout alike."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / IN_CHECKOUT[name]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block ends well, else remove it."""
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
        error.filename = error.filename or str(path)  # a full disk does not say which one it is
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, whole or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def annotate_write_errors(folder: Path, mend: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while a folder is written into an OSError with its place, which not every library tells.

    Args:
        mend: what to do then.
        others: types of error, beside OSError and safetensors' own, that a full disk ends in here.
    """
    errors: tuple[type[Exception], ...] = (OSError, SafetensorError, *others)
    try:
        yield
    except errors as error:
        free = shutil.disk_usage(folder.parent).free
        raise OSError(f"{folder} could not be written: {error}. {free:,} bytes are free on its disk. {mend}") from error
