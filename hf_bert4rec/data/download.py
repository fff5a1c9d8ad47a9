"""Fetch a file over HTTP: resumed after a broken transfer, checked by md5, there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

CHUNK = 1 << 20  # bytes
TIMEOUT = 10.0  # seconds for a connection, and between two pieces of an answer
ATTEMPTS = 3
OWN_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # asking again will not help


def download_checked(url: str, target: Path) -> Path:
    """Fetch `url` to `target`, checked against the md5 in `url`.md5.

    What has come is kept in `target`.part, so that a later call goes on from there. Raises OSError where the
    server cannot be reached or breaks off too often, and ValueError where what came whole has the wrong md5
    (the part is then removed). One process at a time may fetch a target.
    """
    wanted = _published_md5(f"{url}.md5")
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _fetch(url, part)
    found = md5_of(part)
    if found != wanted and resumed:
        logger.warning("%s: the part kept from an earlier try does not fit, fetching it anew", url)
        part.unlink()
        _fetch(url, part)
        found = md5_of(part)
    if found != wanted:
        part.unlink()
        raise ValueError(f"{url}: md5 {found}, but {wanted} is published: damaged on the way, or replaced. Try again.")
    part.replace(target)
    return target


def md5_of(path: Path) -> str:
    """Hexadecimal md5 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _published_md5(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        text = answer.read(4096).decode("latin-1")
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if found is None:
        raise OSError(f"{url} answered with something else than an md5: {text[:60]!r}")
    return found.group().lower()


def _fetch(url: str, part: Path) -> None:
    """Fill `part` to the length that the server states, going on where the connection broke."""
    reason: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            if _fetch_rest(url, part):
                return
            reason = OSError("the connection closed early")
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # The part is whole already (the md5 will tell) or longer than the file (the md5 will tell that too).
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in OWN_FAULTS:
                error.filename = error.filename or str(part)  # a full disk does not say which one it is
                raise
            reason = error
        logger.info("%s broke off (%s), going on at byte %d", url, reason, _size(part))
    raise OSError(f"{url} broke off {ATTEMPTS} times, last with: {reason}; the next try goes on where it stopped")


def _fetch_rest(url: str, part: Path) -> bool:
    """One request for what `part` lacks; whether the part is whole afterwards."""
    done = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            done = 0  # the server does not resume: it sends the whole file
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with (
            part.open("ab" if done else "wb") as opened,
            tqdm(desc=part.stem, total=total, initial=done, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while piece := answer.read(CHUNK):
                opened.write(piece)
                bar.update(len(piece))
    return total is None or _size(part) >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
