"""Download a file: resumed after a broken transfer, checked by md5, written completely or not at all."""

import errno
import hashlib
import http.client
import logging
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

CHUNK = 1 << 20  # bytes
TIMEOUT = 10.0  # seconds, to connect and between two chunks
ATTEMPTS = 3
LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # a retry does not help


def download_checked(url: str, target: Path) -> Path:
    """Download `url` to `target` and check it against the md5 in `url`.md5; one process at a time may do so.

    An incomplete download stays in `target`.part, from which a later call continues.

    Raises:
        OSError: The server cannot be reached, or the connection breaks too often.
        ValueError: The complete file has the wrong md5; the part is removed.
    """
    expected = _published_md5(f"{url}.md5")
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _fetch(url, part)
    with part.open("rb") as opened:
        actual = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if actual == expected:
        return part.replace(target)
    part.unlink()
    if resumed:
        logger.warning("%s: the part of an earlier download does not match; downloading all of it", url)
        return download_checked(url, target)
    raise ValueError(f"{url}: md5 {actual}, but {expected} is published: damaged or replaced. Try again.")


def _published_md5(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        text = answer.read(4096).decode("latin-1")
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if match is None:
        raise OSError(f"{url} returned something other than an md5: {text[:60]!r}")
    return match.group().lower()


def _fetch(url: str, part: Path) -> None:
    """Fill `part` to the length that the server states, resuming after a broken connection."""
    reason: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            return _fetch_rest(url, part)
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # The part is complete, or longer than the file; the md5 decides.
            return None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                error.filename = error.filename or str(part)  # the error of a full disk has none
                raise
            reason = error
        logger.info("%s: connection lost (%s); resuming at byte %d", url, reason, _size(part))
    raise OSError(f"{url}: connection lost {ATTEMPTS} times, last with: {reason}; the next call resumes")


def _fetch_rest(url: str, part: Path) -> None:
    """Append the rest of the file to `part`; OSError if the connection closes early."""
    done = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            done = 0  # the server does not resume: it sends the complete file
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with (
            part.open("ab" if done else "wb") as opened,
            tqdm.wrapattr(opened, "write", desc=part.stem, total=total, initial=done, disable=None) as target,
        ):
            shutil.copyfileobj(answer, target, CHUNK)
    if total is not None and _size(part) < total:
        raise OSError("the connection closed early")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
