"""Download a file, completely or not at all, and check it by md5."""

import hashlib
import re
import shutil
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

CHUNK = 1 << 20  # bytes
TIMEOUT = 10.0  # seconds, to connect and between two chunks


def download_checked(url: str, target: Path) -> Path:
    """Download `url` to `target` and check it against the md5 in `url`.md5; one process at a time may do so.

    Raises:
        OSError: The server cannot be reached, or the connection breaks.
        ValueError: The file has the wrong md5.
    """
    expected = _published_md5(f"{url}.md5")
    part = target.with_name(f"{target.name}.part")
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        with (
            part.open("wb") as opened,
            tqdm.wrapattr(opened, "write", desc=target.name, total=answer.length, disable=None) as progress,
        ):
            shutil.copyfileobj(answer, progress, CHUNK)
        if answer.length:  # of what is still to come
            raise OSError(f"{url}: the connection was lost, {answer.length:,} bytes are missing")
    with part.open("rb") as complete:
        actual = hashlib.file_digest(complete, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if actual != expected:
        part.unlink()
        raise ValueError(f"{url}: md5 {actual}, but {expected} is published: damaged or replaced. Try again.")
    return part.replace(target)


def _published_md5(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        text = answer.read(4096).decode("latin-1")
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if match is None:
        raise OSError(f"{url} returned something other than an md5: {text[:60]!r}")
    return match.group().lower()
