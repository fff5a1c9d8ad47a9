"""JSON files of a model's folder: read, or refused by an error that names the file.

A folder may come from a stranger. transformers and tokenizers stumble over odd JSON in as many ways as there are, with
an AttributeError, a RecursionError, a bare Exception, and mostly without saying in which file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

FIX_HINT = "fetch or export the model again"
PARSE_ERRORS = (
    *(AttributeError, LookupError, RecursionError, TypeError, UnicodeDecodeError, json.JSONDecodeError),
    StrictDataclassError,
)


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object that a file holds. ValueError, with the file's name, where it holds none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read ({error}): {FIX_HINT}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not an object: {FIX_HINT}")
    return found


@contextmanager
def report_corrupt_files(folder: str | Path, *names: str, bare: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what goes wrong in the block, where these files of `folder` are read, into a ValueError that names them.

    Other errors pass: those that this package raises, and all but `PARSE_ERRORS` and those whose type is in `bare`.
    """
    try:
        yield
    except Exception as error:
        for name in names:
            if (path := Path(folder) / name).is_file():
                read_object(path)
        stumbled = isinstance(error, PARSE_ERRORS) or type(error) in bare
        if not stumbled or _is_ours(error):
            raise
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{folder}: {' or '.join(names)} is damaged, it seems ({told}): {FIX_HINT}") from error


def _is_ours(error: Exception) -> bool:
    """Whether a file beside this one raised it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and Path(place.tb_frame.f_code.co_filename).parent == Path(__file__).parent


__all__ = ["FIX_HINT", "read_object", "report_corrupt_files"]
