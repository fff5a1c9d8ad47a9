"""Campaign: on a full or read-only disk, writing raises a descriptive error and earlier files are unchanged."""

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
from tests.stress import kills, sigkill, workloads

KIB = 1 << 10
DISK_KIB = 8192  # size of the test disk, large enough for everything
MESSAGES = ("No space left", "Read-only file system", "bytes are free on its disk")


class NoDiskError(RuntimeError):
    """No disk can be mounted; it takes root and `mount`."""


@contextmanager
def disk(kib: int) -> Iterator[Path]:
    """A tmpfs of this size within the block."""
    with tempfile.TemporaryDirectory() as name:
        error = _mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", name)
        if error is not None:
            raise NoDiskError(f"cannot mount a tmpfs: {error}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill_disk(folder: Path, free_kib: int) -> None:
    """Leave `free_kib` of the disk free; 0 makes it read-only."""
    if free_kib:
        status = os.statvfs(folder)
        (folder / "ballast").write_bytes(bytes(status.f_bavail * status.f_frsize - free_kib * KIB))
    elif (error := _mount("-o", "remount,ro", str(folder))) is not None:
        raise NoDiskError(error)


def _mount(*arguments: str) -> str | None:
    """The error message of `mount`, None on success."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or "mount failed" if done.returncode else None


def expect_disk_error(attempt: Callable[[], object]) -> str:
    """The message of the error that `attempt` must raise.

    Raises:
        AssertionError: It succeeds, or the message lacks the cause or the path.
    """
    try:
        attempt()
    except Exception as error:
        chain = [error, *filter(None, (error.__cause__, error.__context__))]
        text = " ".join(map(str, chain))
        if not any(message in text for message in MESSAGES):
            raise AssertionError(f"{type(error).__name__} does not name the fault of the disk: {error}") from error
        if os.sep not in str(error).replace("I/O", ""):
            raise AssertionError(f"{type(error).__name__} does not name the path: {error}") from error
        return f"{type(error).__name__}: {error}"
    raise AssertionError("written to a full disk")


def export_refused(free_kib: int) -> str:
    """Export over an earlier model with `free_kib` left: an error, and the earlier model is unchanged."""
    with disk(DISK_KIB) as folder:
        workloads.export_model(str(folder), 0)
        fill_disk(folder, free_kib)
        earlier = sigkill.contents(folder)
        message = expect_disk_error(lambda: workloads.export_model(str(folder), 1))
        assert sigkill.contents(folder) == earlier, "the earlier export changed"
        return message


def training_refused(free_kib: int) -> str:
    """Train with `free_kib` left: an error at a checkpoint, and an earlier complete checkpoint remains."""
    with disk(DISK_KIB) as folder:
        trainer = workloads.tiny_trainer(folder / "checkpoints", epochs=1)
        trainer.train()
        before = latest_complete(folder / "checkpoints")
        fill_disk(folder, free_kib)
        resumed = workloads.tiny_trainer(folder / "checkpoints", epochs=3)
        message = expect_disk_error(lambda: resumed.train(resume_from_checkpoint=str(before)))
        after = latest_complete(folder / "checkpoints")
        assert after is not None, "no complete checkpoint remains"
        assert before is not None
        assert int(after.name.split("-")[1]) >= int(before.name.split("-")[1])
        return message


def download_refused(free_kib: int) -> str:
    """Download with too little space: an error, and no file under the final name."""
    with disk(DISK_KIB) as folder, serving() as server:
        server.files["file.zip"] = bytes(4 << 20)
        server.files["file.zip.md5"] = b"b5cfa9d6c8febd618f91ac2843d50a1c"
        (folder / "existing").write_bytes(b"unchanged")
        fill_disk(folder, free_kib)
        message = expect_disk_error(lambda: workloads.download(str(folder), f"{server.url}/file.zip"))
        assert not (folder / "file.zip").exists()
        return message


def scoring_refused(free_kib: int) -> str:
    """Recommend to all users with too little space: an error, and the earlier table is unchanged."""
    with tempfile.TemporaryDirectory() as elsewhere, disk(DISK_KIB) as folder:
        model, ratings, table = kills.scoring_source(Path(elsewhere))
        (folder / "recommendations.parquet").write_bytes(table[:-1])  # the table of another run
        fill_disk(folder, free_kib)
        earlier = sigkill.contents(folder)
        message = expect_disk_error(lambda: workloads.score(str(folder), str(model), str(ratings)))
        assert {name: sigkill.contents(folder).get(name) for name in earlier} == earlier, "the earlier table is lost"
        return message


def preparation_refused(free_kib: int) -> str:
    """Prepare a table with too little space: an error, and the earlier preparation is unchanged."""
    with tempfile.TemporaryDirectory() as elsewhere, disk(DISK_KIB) as folder:
        first, second = kills.tables(Path(elsewhere))
        workloads.prepare_table(str(folder), str(first))
        fill_disk(folder, free_kib)
        earlier = sigkill.contents(folder)
        message = expect_disk_error(lambda: workloads.prepare_table(str(folder), str(second)))
        assert sigkill.contents(folder) == earlier, "the earlier preparation changed"
        return message


def json_refused(free_kib: int) -> str:
    """Overwrite a JSON file with too little space: an error, and the old file is unchanged."""
    with disk(DISK_KIB) as folder:
        write_json(folder / "a.json", 1)
        fill_disk(folder, free_kib)
        message = expect_disk_error(lambda: write_json(folder / "a.json", ["x" * 1000] * 1000))
        assert sigkill.contents(folder).keys() - {"ballast"} == {"a.json"}
        assert (folder / "a.json").read_text() == "1\n"
        return message


# With the free KiB to try: 0 is read-only; the others are too few for some of the files.
ATTEMPTS: dict[Callable[[int], str], tuple[int, ...]] = {
    export_refused: (0, *range(4, 200, 12)),
    training_refused: (0, *range(4, 220, 12)),
    download_refused: (0, 4, 64),
    scoring_refused: (0, 4, 16),
    preparation_refused: (0, 4, 8, 12),
    json_refused: (0, 4, 64),
}


def campaign() -> dict[str, Any]:
    """Every attempt on a read-only disk and on full ones; the reason if no disk can be mounted."""
    counts: dict[str, Any] = {}
    for attempt, sizes in ATTEMPTS.items():
        try:
            counts[attempt.__name__] = sum(bool(attempt(free_kib)) for free_kib in sizes)
        except NoDiskError as error:
            return {"skipped": str(error)}
    return counts
