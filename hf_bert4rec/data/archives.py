"""Read one file of a release from its zip archive, which is never unpacked."""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

MAX_EXPANSION = 100  # of a member's size to the archive's
DAMAGES = (ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, OSError)


def read_from_zip(archive: Path, name: str) -> bytes:
    """Contents of the member whose file name is `name`, in any folder of the archive.

    ValueError if the file is not a zip archive, or is truncated, damaged or encrypted; if it lacks the member, or has a
    path that leads out of it; or if the member is `MAX_EXPANSION` times as large as the archive.
    """
    with _report_damage(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        members = opened.namelist()
        for member in members:
            path, windows = PurePosixPath(member), PureWindowsPath(member)
            if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
                raise ValueError(f"{archive} has the member {member!r}, which leads out of it: not a MovieLens archive")
        matches = [member for member in members if PurePosixPath(member).name == name and "__MACOSX" not in member]
        if not matches:
            raise ValueError(f"{archive} has no {name}, only {', '.join(members[:12])}")
        entry = opened.getinfo(min(matches, key=len))
        if entry.file_size > MAX_EXPANSION * archive.stat().st_size:
            raise ValueError(f"{archive} expands {name} to {entry.file_size:,} bytes: not a MovieLens archive")
        with _report_damage(archive):
            return opened.read(entry)


@contextmanager
def _report_damage(archive: Path) -> Iterator[None]:
    """Turn every error of `zipfile` on a damaged archive into a ValueError that names it."""
    try:
        yield
    except DAMAGES as error:
        # Impossible offsets and streams raise an OSError with one of these numbers; others are not about the archive.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        message = f"{archive} is truncated, damaged or not a zip archive ({error})"
        raise ValueError(f"{message}. Delete it and download the release again.") from error
