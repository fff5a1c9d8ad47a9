"""The bytes of one file of a release, from its folder or from its zip archive (which is never unpacked)."""

from __future__ import annotations

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

MOST_UNFOLDED = 100  # times the archive's size
DAMAGED = "is cut short, damaged or no zip archive that can be read"
FIX_HINT = "Delete it and fetch the release again."


def read_from_folder(folder: Path, name: str) -> bytes:
    """Contents of the file `name` in `folder`."""
    return (folder / name).read_bytes()


def read_from_zip(archive: Path, name: str) -> bytes:
    """Contents of the member whose file name is `name`, wherever it lies in the archive.

    ValueError for a file that is no zip, is cut short, damaged or encrypted, lacks the member, has a member whose path
    leads out of the archive (such an archive is not trusted at all, although nothing is ever unpacked), or whose
    member unfolds to a hundred times the archive's size, which no table of ratings does.
    """
    with _damage_named(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        members = opened.namelist()
        _refuse_paths_outside(archive, members)
        found = [member for member in members if PurePosixPath(member).name == name and "__MACOSX" not in member]
        if not found:
            raise ValueError(f"{archive} holds no {name}, only {', '.join(members[:12])}")
        member = opened.getinfo(min(found, key=len))
        if member.file_size > MOST_UNFOLDED * archive.stat().st_size:
            raise ValueError(f"{archive} unfolds {name} to {member.file_size:,} bytes: it is no MovieLens archive")
        with _damage_named(archive):
            return opened.read(member)


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """Turn whatever `zipfile` stumbles over in a damaged archive into a ValueError with its name."""
    try:
        yield
    except (ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{archive} {DAMAGED} ({error}). {FIX_HINT}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # those two come of places and streams that make no sense
            raise
        raise ValueError(f"{archive} {DAMAGED} ({error}). {FIX_HINT}") from error


def _refuse_paths_outside(archive: Path, members: list[str]) -> None:
    for member in members:
        path, windows = PurePosixPath(member), PureWindowsPath(member)
        if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise ValueError(f"{archive} holds {member!r}, a path that leads out of it: it is no MovieLens archive")
