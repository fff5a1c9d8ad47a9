"""Campaign: broken MovieLens archives and folders raise a descriptive error; intact ones load completely."""

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
BOMB_BYTES = 300_000_000  # size of the uncompressed members of a zip bomb
Corruption = Callable[[Path, Path], None]


@contextmanager
def small_releases() -> Iterator[None]:
    """Replace the counts of the real releases by those of the small test releases within the block."""
    real = dict(releases.RELEASES)
    releases.RELEASES.update({name: small_release(name) for name in NAMES})
    try:
        yield
    finally:
        releases.RELEASES.update(real)


def outcome(name: str, source: Path) -> str:
    """How loading ended: "intact", "refused" or "changed field".

    Raises:
        AssertionError: Rows were lost or added.
    """
    try:
        tables = load_movielens(name, data_dir=source, cache_dir=source.parent / "no-cache", download=False)
    except (ValueError, FileNotFoundError) as error:
        return checked_message(error)
    ratings = [tuple(row.values()) for row in tables["ratings"]]
    assert len(ratings) == len(RATINGS), "rows were lost or added"
    if ratings == RATINGS and list(tables["movies"]) == CLEAN:
        return "intact"
    return "changed field"  # folders have no checksum, so this cannot be detected


def checked_message(error: Exception) -> str:
    """ "refused", if the error has a message.

    Raises:
        AssertionError: The message is missing or too short to describe the fault.
    """
    if len(str(error)) <= 20:
        raise AssertionError(f"an error without a message: {error!r}") from error
    return "refused"


def rewritten(archive: Path) -> Iterator[tuple[zipfile.ZipFile, str, bytes]]:
    """Replace an archive: yields the new archive with name and data of every old member, for the caller to write."""
    with zipfile.ZipFile(archive) as opened:
        members = [(name, opened.read(name)) for name in opened.namelist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members:
            yield new, name, data


def empty_file(folder: Path, archive: Path) -> None:
    archive.write_bytes(b"")


def not_a_zip(folder: Path, archive: Path) -> None:
    archive.write_bytes(b"<html>not found</html>" * 100)


def empty_zip(folder: Path, archive: Path) -> None:
    zipfile.ZipFile(archive, "w").close()


def path_outside(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../../etc/cron.d/x", "bad")


def bomb(folder: Path, archive: Path) -> None:
    for new, name, data in rewritten(archive):
        with new.open(name, "w", force_zip64=True) as member:
            member.write(data)
            for _ in range(BOMB_BYTES // 1_000_000):
                member.write(b"1" * 1_000_000)


def encrypted(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 8, 6, 1)


def unknown_compression(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 99)


def wrong_lzma_header(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 14)


def wrong_bzip2_header(folder: Path, archive: Path) -> None:
    _set_in_headers(archive, 10, 8, 12)


def directory_instead_of_file(folder: Path, archive: Path) -> None:
    for new, name, _ in rewritten(archive):
        new.writestr(f"{name}/", b"")


def appended_garbage(folder: Path, archive: Path) -> None:
    for new, name, data in rewritten(archive):
        new.writestr(name, data + b"\x00\xff|::,\t\n")


def _set_in_headers(archive: Path, central: int, local: int, value: int) -> None:
    """Set a 16-bit field of every member at its offsets in the central directory and in the local header."""
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x01\x02", central), (b"PK\x03\x04", local)):
        position = data.find(signature)
        while position >= 0:
            data[position + offset : position + offset + 2] = struct.pack("<H", value)
            position = data.find(signature, position + 4)
    archive.write_bytes(data)


CORRUPTIONS: tuple[Corruption, ...] = (
    *(empty_file, not_a_zip, empty_zip, path_outside, bomb, encrypted),
    *(unknown_compression, wrong_lzma_header, wrong_bzip2_header, directory_instead_of_file, appended_garbage),
)
CORPUS = {corrupt.__name__: corrupt for corrupt in CORRUPTIONS}


def corrupt_randomly(data: bytes, rng: random.Random) -> bytes:
    """Flip a few bits, or remove, double, replace or reverse a random slice."""
    start, stop = sorted(rng.choices(range(len(data) + 1), k=2))
    kind = rng.randrange(5)
    if kind == 0:
        corrupted = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            corrupted[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(corrupted)
    parts = {1: b"", 2: data[start:stop] * 2, 3: rng.randbytes(stop - start), 4: data[start:stop][::-1]}
    return data[:start] + parts[kind] + data[stop:]


def try_random(name: str, root: Path, cases: int, seed: int) -> Counter[str]:
    """Corrupt the archive or the folder of a release `cases` times; counts the outcomes."""
    rng, counts = random.Random(seed), Counter[str]()
    folder = write_release(root, name)
    archive = zip_release(folder)
    files = [archive, *sorted(folder.iterdir())]
    intact = {path: path.read_bytes() for path in files}
    for _ in range(cases):
        path = rng.choice(files)
        path.write_bytes(corrupt_randomly(intact[path], rng))
        counts[outcome(name, archive if path == archive else folder)] += 1
        path.write_bytes(intact[path])
    assert outcome(name, archive) == outcome(name, folder) == "intact"
    return counts


def campaign() -> dict[str, Any]:
    """All named corruptions of each release layout, and thousands of random ones."""
    counts: dict[str, Any] = {"corpus": 0, "random": {}}
    with tempfile.TemporaryDirectory() as temporary, small_releases():
        for name in NAMES:
            for kind, corrupt in CORPUS.items():
                counts["corpus"] += corrupt_once(name, corrupt, Path(temporary) / kind) == "refused"
            counts["random"][name] = dict(try_random(name, Path(temporary) / "random", CASES, seed=0))
    return counts


def corrupt_once(name: str, corrupt: Corruption, root: Path) -> str:
    """Apply one corruption to a new release; how loading ended."""
    folder = write_release(root, name)
    archive = zip_release(folder)
    corrupt(folder, archive)
    return outcome(name, archive)
