"""A copy of ml-100k for when GroupLens cannot be reached: the one inside a wheel of the package index.

The wheel of recbole 1.2.1 contains ml-100k as tab-separated files: the ratings are those of u.data in the same order;
in the movies' file the year is split off the title. The wheel is downloaded with pip, checked by its sha256 and read,
never installed. The result is a folder in the layout of the official release, without release dates and addresses.
"""

import hashlib
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .archives import read_from_zip
from .releases import GENRES_100K

logger = logging.getLogger(__name__)

MIRRORED = ("ml-100k",)
REQUIREMENT = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"


def write_mirrored_release(folder: Path) -> Path:
    """Download the mirrored ml-100k and write it to `folder`, completely or not at all; OSError if pip cannot."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".ml-100k.") as scratch:
        wheel = fetch_wheel(Path(scratch))
        _, _, ratings = read_from_zip(wheel, "ml-100k.inter").partition(b"\n")  # without the header
        _, *movies = read_from_zip(wheel, "ml-100k.item").decode("utf-8").strip().split("\n")
        built = Path(scratch) / "built"
        built.mkdir()
        (built / "u.data").write_bytes(ratings)
        (built / "u.item").write_text("".join(map(_movie_as_released, movies)), encoding="latin-1")
        built.rename(folder)
    logger.info("ml-100k written to %s from the wheel of %s", folder, REQUIREMENT)
    return folder


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel into `folder` without installing it, and check its sha256."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), REQUIREMENT], capture_output=True, text=True)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        *_, reason = done.stderr.strip().split("\n")
        raise OSError(f"pip download {REQUIREMENT} failed: {reason}. Are the package index and pip available?")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ValueError(f"The wheel of {REQUIREMENT} has sha256 {digest}, expected {WHEEL_SHA256}: not used")
    return wheel


def _movie_as_released(row: str) -> str:
    """The line of u.item for one of the wheel's `.item` file; dates and addresses are left empty.

    Two rows differ by more than the year: the movie "unknown" is "unkonwn", and in "Land Before Time III: … (1995) (V)"
    the mark "(V)" of a video release was taken for the year.
    """
    movie_id, title, year, genres = row.split("\t")
    if title == "unkonwn":
        title = "unknown"
    elif re.fullmatch(r"\d{4}|V", year):
        title = f"{title} ({year})"
    flags = "|".join(str(int(genre in genres.split(" "))) for genre in GENRES_100K)
    return f"{movie_id}|{title}||||{flags}\n"
