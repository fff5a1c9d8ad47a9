"""The bytes of one file of a release, from its folder or from its zip archive (which is never unpacked)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath


def read_from_folder(folder: Path, name: str) -> bytes:
    """Contents of the file `name` in `folder`."""
    return (folder / name).read_bytes()


def read_from_zip(archive: Path, name: str) -> bytes:
    """Contents of the member whose file name is `name`, wherever it lies in the archive.

    ValueError for a file that is no zip, is cut short or damaged, lacks the member, or has a member whose path
    leads out of the archive: such an archive is not trusted at all, although nothing is ever unpacked.
    """
    mend = "Delete it and fetch the release again."
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.namelist()
            _refuse_paths_outside(archive, members)
            found = [member for member in members if PurePosixPath(member).name == name and "__MACOSX" not in member]
            if not found:
                raise ValueError(f"{archive} holds no {name}, only {', '.join(members[:12])}")
            return opened.read(min(found, key=len))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{archive} is cut short, damaged or no zip archive ({error}). {mend}") from error


def _refuse_paths_outside(archive: Path, members: list[str]) -> None:
    for member in members:
        path, windows = PurePosixPath(member), PureWindowsPath(member)
        if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise ValueError(f"{archive} holds {member!r}, a path that leads out of it: it is no MovieLens archive")
