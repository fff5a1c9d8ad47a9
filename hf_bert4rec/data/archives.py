"""Read one file of a release from its zip archive, which is never unpacked."""

import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..files import report_damage

MAX_EXPANSION = 100  # of a member's size to the archive's


def read_from_zip(archive: Path, name: str) -> bytes:
    """Contents of the member whose file name is `name`, in any folder of the archive.

    ValueError if the file is not a zip archive, or is truncated, damaged or encrypted; if it lacks the member, or has a
    path that leads out of it; or if the member is `MAX_EXPANSION` times as large as the archive.
    """
    damage = f"{archive} is truncated, damaged or not a zip archive; delete it and download the release again"
    with archive.open("rb") as file:
        with report_damage(damage):
            opened = zipfile.ZipFile(file)
        members = opened.namelist()
        for member in members:
            path = PureWindowsPath(member)
            if path.drive or path.root or ".." in path.parts:
                raise ValueError(f"{archive} has the member {member!r}, which leads out of it: not a MovieLens archive")
        matches = [member for member in members if PurePosixPath(member).name == name and "__MACOSX" not in member]
        if not matches:
            raise ValueError(f"{archive} has no {name}, only {', '.join(members[:12])}")
        entry = opened.getinfo(min(matches, key=len))
        if entry.file_size > MAX_EXPANSION * archive.stat().st_size:
            raise ValueError(f"{archive} expands {name} to {entry.file_size:,} bytes: not a MovieLens archive")
        with report_damage(damage):
            return opened.read(entry)
