"""Campaign: a full disk and a read-only one give an error with words, and what was there stays as it was."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_bert4rec.files import write_json
from hf_bert4rec.training.checkpoints import latest_complete
from tests.data.movielens_archives import serving
from tests.stress import killing, kills
from tests.stress import workloads as victims

KIB = 1 << 10
ROOM = 8192  # KiB of a disk with room enough
WORDS = ("No space left", "Read-only file system", "bytes are free on its disk")


class NoDiskError(RuntimeError):
    """No disk can be mounted here: it takes root and `mount`."""


@contextmanager
def disk(kib: int) -> Iterator[Path]:
    """A disk of so many KiB, in memory, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as name:
        mounted = _mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", name)
        if mounted is not None:
            raise NoDiskError(f"no tmpfs can be mounted: {mounted}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def leave(folder: Path, kib: int) -> None:
    """Leave so many KiB of the disk free; none at all makes it read-only."""
    if kib:
        status = os.statvfs(folder)
        (folder / "ballast").write_bytes(bytes(status.f_bavail * status.f_frsize - kib * KIB))
    elif (reason := _mount("-o", "remount,ro", str(folder))) is not None:
        raise NoDiskError(reason)


def _mount(*arguments: str) -> str | None:
    """None where it went well, else why not."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or "refused" if done.returncode else None


def refused(attempt: Callable[[], object]) -> str:
    """The words of the error that the attempt must end in."""
    try:
        attempt()
    except Exception as error:
        chain = [error, *filter(None, (error.__cause__, error.__context__))]
        words = " ".join(map(str, chain))
        if not any(word in words for word in WORDS):
            raise AssertionError(f"{type(error).__name__} does not say what is wrong with the disk: {error}") from error
        if os.sep not in str(error).replace("I/O", ""):
            raise AssertionError(f"{type(error).__name__} does not say where: {error}") from error
        return f"{type(error).__name__}: {error}"
    raise AssertionError("written, on a disk without room")


def export_refused(room: int) -> str:
    """Export over an earlier model on a disk with `room` KiB left: refused, and the earlier one stays."""
    with disk(ROOM) as folder:
        victims.export_model(str(folder), 0)
        leave(folder, room)
        earlier = killing.contents(folder)
        words = refused(lambda: victims.export_model(str(folder), 1))
        assert killing.contents(folder) == earlier, "the earlier export is not what it was"
        return words


def training_refused(room: int) -> str:
    """Train on a disk with `room` KiB left: refused at a checkpoint, and the last whole one can be resumed from."""
    with disk(ROOM) as folder:
        trainer = victims.tiny_trainer(folder / "checkpoints", epochs=1)
        trainer.train()
        kept = latest_complete(folder / "checkpoints")
        leave(folder, room)
        again = victims.tiny_trainer(folder / "checkpoints", epochs=3)
        words = refused(lambda: again.train(resume_from_checkpoint=str(kept)))
        found = latest_complete(folder / "checkpoints")
        assert found is not None, "no whole checkpoint is left"
        assert kept is not None
        assert int(found.name.split("-")[1]) >= int(kept.name.split("-")[1])
        return words


def download_refused(room: int) -> str:
    """Download to a disk with too little room: refused, with no file under the final name."""
    with disk(ROOM) as folder, serving() as server:
        server.files["file.zip"] = bytes(4 << 20)
        server.files["file.zip.md5"] = b"b5cfa9d6c8febd618f91ac2843d50a1c"
        (folder / "keep").write_bytes(b"kept")
        leave(folder, room)
        words = refused(lambda: victims.download(str(folder), f"{server.url}/file.zip"))
        assert not (folder / "file.zip").exists()
        return words


def scoring_refused(room: int) -> str:
    """Recommend to all users on a disk with too little room: refused, and the earlier table stays."""
    with tempfile.TemporaryDirectory() as elsewhere, disk(ROOM) as folder:
        model, ratings, table = kills.scoring_source(Path(elsewhere))
        (folder / "recommendations.parquet").write_bytes(table[:-1])  # another run's
        leave(folder, room)
        earlier = killing.contents(folder)
        words = refused(lambda: victims.score(str(folder), str(model), str(ratings)))
        assert {name: killing.contents(folder).get(name) for name in earlier} == earlier, "the earlier table is lost"
        return words


def json_refused(room: int) -> str:
    """Write a JSON file over another: refused, and the other stays."""
    with disk(ROOM) as folder:
        write_json(folder / "a.json", 1)
        leave(folder, room)
        words = refused(lambda: write_json(folder / "a.json", ["x" * 1000] * 1000))
        assert killing.contents(folder).keys() - {"ballast"} == {"a.json"}
        assert (folder / "a.json").read_text() == "1\n"
        return words


# With the KiB that are left: none (and read-only), too few for the code, the weights, the optimizer, a part, the table.
ATTEMPTS: dict[Callable[[int], str], tuple[int, ...]] = {
    export_refused: (0, *range(4, 200, 12)),
    training_refused: (0, *range(4, 220, 12)),
    download_refused: (0, 4, 64),
    scoring_refused: (0, 4, 16),
    json_refused: (0, 4, 64),
}


def campaign() -> dict[str, Any]:
    """Every attempt on a read-only disk and on full ones; a reason where no disk can be mounted."""
    told: dict[str, Any] = {}
    for attempt, rooms in ATTEMPTS.items():
        try:
            told[attempt.__name__] = sum(bool(attempt(room)) for room in rooms)
        except NoDiskError as error:
            return {"skipped": str(error)}
    return told
