"""Campaign: broken MovieLens archives and folders end in an error with words, the sound one in its tables."""

from __future__ import annotations

import random
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_bert4rec.data import load_movielens, releases
from tests.data.movielens_archives import CLEAN, RATINGS, small_release, write_release, zip_release

NAMES = ("ml-100k", "ml-latest-small", "ml-1m")
CASES = 4000
BOMB = 300_000_000  # bytes that a small archive unfolds to
Break = Callable[[Path, Path], None]


@contextmanager
def small_releases() -> Iterator[None]:
    """The releases with the counts of the made-up ones, for as long as the block runs."""
    real = dict(releases.RELEASES)
    releases.RELEASES.update({name: small_release(name) for name in NAMES})
    try:
        yield
    finally:
        releases.RELEASES.update(real)


def outcome(name: str, source: Path) -> str:
    """How loading ended: "whole", "refused" or "another value in a field". AssertionError for lost or won rows."""
    try:
        tables = load_movielens(name, data_dir=source, cache_dir=source.parent / "no cache", download=False)
    except (ValueError, FileNotFoundError) as error:
        return in_words(error)
    ratings = [tuple(row.values()) for row in tables["ratings"]]
    assert len(ratings) == len(RATINGS), "rows were lost or won"
    if ratings == RATINGS and list(tables["movies"]) == CLEAN:
        return "whole"
    return "another value in a field"  # a folder without a checksum: no one can tell


def in_words(error: Exception) -> str:
    """ "refused"; AssertionError for an error that does not say what is wrong."""
    if len(str(error)) <= 20:
        raise AssertionError(f"an error without words: {error!r}") from error
    return "refused"


def rewritten(archive: Path) -> Iterator[tuple[zipfile.ZipFile, str, bytes]]:
    """The members of an archive, and the new one that is to take its place."""
    with zipfile.ZipFile(archive) as opened:
        members = [(name, opened.read(name)) for name in opened.namelist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            yield made, name, data


def empty_file(folder: Path, archive: Path) -> None:
    archive.write_bytes(b"")


def no_zip(folder: Path, archive: Path) -> None:
    archive.write_bytes(b"<html>not found</html>" * 100)


def empty_zip(folder: Path, archive: Path) -> None:
    zipfile.ZipFile(archive, "w").close()


def path_outside(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../../etc/cron.d/x", "bad")


def bomb(folder: Path, archive: Path) -> None:
    for made, name, data in rewritten(archive):
        with made.open(name, "w", force_zip64=True) as member:
            member.write(data)
            for _ in range(BOMB // 1_000_000):
                member.write(b"1" * 1_000_000)


def encrypted(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 8, 6, 1)


def unknown_compression(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 99)


def lzma_said(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 14)


def bzip2_said(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 12)


def folder_in_place_of_a_file(folder: Path, archive: Path) -> None:
    for made, name, _ in rewritten(archive):
        made.writestr(f"{name}/", b"")


def other_lines(folder: Path, archive: Path) -> None:
    for made, name, data in rewritten(archive):
        made.writestr(name, data + b"\x00\xff|::,\t\n")


def _set_in_headers(archive: Path, central: int, local: int, value: int) -> None:
    """Set a 16-bit field of every member, at its places in the central directory and in the local header."""
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x01\x02", central), (b"PK\x03\x04", local)):
        place = data.find(mark)
        while place >= 0:
            data[place + offset : place + offset + 2] = struct.pack("<H", value)
            place = data.find(mark, place + 4)
    archive.write_bytes(data)


BREAKS: tuple[Break, ...] = (
    *(empty_file, no_zip, empty_zip, path_outside, bomb, encrypted),
    *(unknown_compression, lzma_said, bzip2_said, folder_in_place_of_a_file, other_lines),
)
CORPUS = {made.__name__: made for made in BREAKS}


def random_break(data: bytes, chance: random.Random) -> bytes:
    """Bytes with a few flipped bits, a part cut out, doubled or moved, or a stranger's bytes in the middle."""
    start, stop = sorted(chance.choices(range(len(data) + 1), k=2))
    kind = chance.randrange(5)
    if kind == 0:
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(broken)
    parts = {1: b"", 2: data[start:stop] * 2, 3: chance.randbytes(stop - start), 4: data[start:stop][::-1]}
    return data[:start] + parts[kind] + data[stop:]


def try_random(name: str, root: Path, cases: int, seed: int) -> Counter[str]:
    """So many broken archives and folders of a release; how they ended."""
    chance, counts = random.Random(seed), Counter[str]()
    folder = write_release(root, name)
    archive = zip_release(folder)
    files = [archive, *sorted(folder.iterdir())]
    whole = {path: path.read_bytes() for path in files}
    for _ in range(cases):
        path = chance.choice(files)
        path.write_bytes(random_break(whole[path], chance))
        counts[outcome(name, archive if path == archive else folder)] += 1
        path.write_bytes(whole[path])
    assert outcome(name, archive) == outcome(name, folder) == "whole"
    return counts


def campaign() -> dict[str, Any]:
    """The corpus for each layout, and thousands of random breakages."""
    told: dict[str, Any] = {"corpus": 0, "random": {}}
    with tempfile.TemporaryDirectory() as temporary, small_releases():
        for name in NAMES:
            for kind, made in CORPUS.items():
                told["corpus"] += break_one(name, made, Path(temporary) / kind) == "refused"
            told["random"][name] = dict(try_random(name, Path(temporary) / "random", CASES, seed=0))
    return told


def break_one(name: str, made: Break, root: Path) -> str:
    """One breakage of the corpus; how loading ended."""
    folder = write_release(root, name)
    archive = zip_release(folder)
    made(folder, archive)
    return outcome(name, archive)
