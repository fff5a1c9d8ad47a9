"""Campaign: kill training, download, preparation, export and scoring, resume, and compare with uninterrupted runs."""

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.data.movielens_archives import serving, write_release, zip_release
from tests.stress import sigkill, training_kills, workloads
from tests.stress.models import save_good

MIB = 1 << 20
KILLS = 30  # at random times, per workload
STATES = ("earlier", "new", "absent")


def campaign() -> dict[str, Any]:
    """All kills, counted.

    Raises:
        AssertionError, RuntimeError: Something was lost or a workload failed.
    """
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        counts: dict[str, Any] = {"training": training_kills.campaign(root)}
        with serving() as server:
            server.publish(zip_release(write_release(root / "release", workloads.RELEASE)))
            counts["download"] = download(server).campaign(root / "download")
            counts["preparation"] = preparation(server).campaign(root / "preparation")
        counts["prepared_table"] = sigkill.before_each_change(
            lambda change: table_killed_before(change, root / f"t{change}")
        )
        counts["export"] = export_campaign(root)
        counts["batch_scoring"] = scoring(scoring_source(root / "scoring")).campaign(root / "scored")
    return counts


@dataclass(frozen=True)
class Interrupted:
    """A workload that is killed and then finished, in folders that `check(folder, finished)` asserts to be complete."""

    workload: sigkill.Workload
    arguments: tuple[str, ...]
    check: Callable[[Path, bool], None]
    kills_before_the_end: int = 1  # at random times

    def killed_before(self, change: int, folder: Path) -> bool:
        """Kill it before that file change, then finish it; False if it makes fewer changes."""
        was_killed = sigkill.kill_before_change(change, folder, self.workload, str(folder), *self.arguments)
        self.check(folder, False)
        self.finish(folder)
        return was_killed

    def killed_randomly(self, folder: Path, kills: int) -> int:
        """Kill it at random times, some times in a folder before it finishes there."""
        seconds_to_finish = self.finish(folder / "measured")

        def attempt(number: int, seconds: float) -> bool:
            attempt_folder = folder / str(number // self.kills_before_the_end)
            was_killed = sigkill.kill_after(seconds, self.workload, str(attempt_folder), *self.arguments)
            self.check(attempt_folder, False)
            if (number + 1) % self.kills_before_the_end == 0:
                self.finish(attempt_folder)
            return was_killed

        return sigkill.at_random_times(attempt, kills, 0.2 * seconds_to_finish, seconds_to_finish)

    def finish(self, folder: Path) -> float:
        """Run it to the end; returns the seconds it took."""
        seconds = sigkill.finish(self.workload, str(folder), *self.arguments)
        self.check(folder, True)
        return seconds

    def campaign(self, root: Path) -> dict[str, int]:
        changes = sigkill.before_each_change(lambda change: self.killed_before(change, root / f"before{change}"))
        random_times = self.killed_randomly(root / "random", KILLS)
        return {"killed_before_each_file_change": changes, "killed_at_random_times": random_times}


def only(name: str, data: bytes, ignored: tuple[str, ...] = ()) -> Callable[[Path, bool], None]:
    """Asserts that the only file, but for those with ignored suffixes, is complete whenever it exists."""

    def check(folder: Path, finished: bool) -> None:
        contents = sigkill.contents(folder)
        assert contents.get(name, data) == data, f"{name} is incomplete"
        files = {file for file in contents if not file.endswith(ignored)}
        assert not finished or files == {name}, f"the folder contains {files}"

    return check


def download(server: Any) -> Interrupted:
    """A download, compared with the bytes that the server offers."""
    data = random.Random(1).randbytes(12 * MIB)
    archive = Path(tempfile.mkdtemp()) / "file.zip"
    archive.write_bytes(data)
    server.publish(archive)
    return Interrupted(workloads.download, (f"{server.url}/file.zip",), only("file.zip", data), 4)


def preparation(server: Any) -> Interrupted:
    """The loading of a release, through a cache."""
    name = f"{workloads.RELEASE}.zip"
    return Interrupted(workloads.prepare, (server.url,), only(name, server.files[name], (".lock",)))


def export_earlier(folder: Path) -> dict[str, bytes]:
    """Export model 0 into `folder`; returns the exported files."""
    sigkill.finish(workloads.export_model, str(folder), 0)
    return sigkill.contents(folder / "model")


def export_killed_before(change: int, folder: Path, check_end: bool = True) -> bool:
    """Kill the export of model 1 over model 0 before that file change; one of the two, or neither, remains."""
    earlier = sigkill.contents(folder / "model")
    was_killed = sigkill.kill_before_change(change, folder, workloads.export_model, str(folder), 1)
    state = export_state(folder, earlier)
    assert state == "earlier" or (check_end and state in STATES), f"killed before change {change}: {state}"
    return was_killed


def export_state(folder: Path, earlier: dict[str, bytes]) -> str:
    """Which export `folder` has: "earlier", "new" or "absent".

    Raises:
        AssertionError: The export is incomplete.
    """
    files = sigkill.contents(folder / "model") if (folder / "model").exists() else {}
    if not files:
        return "absent"
    if files == earlier:
        return "earlier"
    assert files.keys() == earlier.keys(), f"an incomplete export: {sorted(files)}"
    assert files["seed.json"] == b"1\n", "a mixture of two exports"
    return "new"


def export_campaign(root: Path) -> dict[str, Any]:
    """Kill an export before each of its file changes, and count which export remained."""
    folder = root / "export"
    earlier = export_earlier(folder)
    states = dict.fromkeys(STATES, 0)
    change = 1
    while sigkill.kill_before_change(change, folder, workloads.export_model, str(folder), 1):
        state = export_state(folder, earlier)
        states[state] += 1
        if state != "earlier":
            export_earlier(folder)
        change += 1
    survived = export_killed_randomly(root / "exported", KILLS)
    return {
        "killed_before_each_file_change": change - 1,
        "remaining_export": states,
        "killed_at_random_times": survived,
    }


def export_killed_randomly(folder: Path, kills: int) -> int:
    """Kill exports over an earlier one at random times; one of the two, or neither, remains."""
    start = time.monotonic()
    earlier = export_earlier(folder)
    seconds_to_finish = time.monotonic() - start

    def attempt(number: int, seconds: float) -> bool:
        if export_state(folder, earlier) != "earlier":
            export_earlier(folder)
        was_killed = sigkill.kill_after(seconds, workloads.export_model, str(folder), 1)
        export_state(folder, earlier)
        return was_killed

    return sigkill.at_random_times(attempt, kills, 0.2 * seconds_to_finish, seconds_to_finish)


def tables(folder: Path) -> list[Path]:
    """Two tables of the same users and items."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("first.csv", "second.csv")]
    for step, path in enumerate(paths, start=1):
        rows = [
            f"{user},{(user * step + n) % workloads.ITEMS},{n}" for user in range(workloads.USERS) for n in range(5)
        ]
        path.write_text("\n".join(["user_id,movie_id,timestamp", *rows]) + "\n", encoding="utf-8")
    return paths


def table_killed_before(change: int, folder: Path) -> bool:
    """Kill the preparation of a second table over that of a first before that file change; then finish it.

    The folder is complete, the first or the second, whenever it exists, and the next run removes all else.
    """
    first, second = map(str, tables(folder / "tables"))
    target = folder / "output"
    sigkill.finish(workloads.prepare_table, str(folder / "expected"), second)
    sigkill.finish(workloads.prepare_table, str(target), first)
    earlier, expected = sigkill.contents(target), sigkill.contents(folder / "expected")

    def check(folder: Path, finished: bool) -> None:
        contents = sigkill.contents(folder)
        prepared = {name: data for name, data in contents.items() if name.startswith("prepared/")}
        assert not (folder / "prepared").exists() or prepared in (earlier, expected), sorted(contents)
        assert not finished or contents == expected, sorted(contents)

    return Interrupted(workloads.prepare_table, (second,), check).killed_before(change, target)


def scoring_source(folder: Path) -> tuple[Path, Path, bytes]:
    """A model, a table of ratings, and the recommendations of an uninterrupted run."""
    save_good(folder / "model")
    ratings = folder / "ratings.csv"
    lines = [
        f"{user},{100 + (user + step) % workloads.ITEMS},{step}" for user in range(workloads.USERS) for step in range(4)
    ]
    ratings.write_text("\n".join(["user_id,movie_id,timestamp", *lines]) + "\n", encoding="utf-8")
    sigkill.finish(workloads.score, str(folder / "out"), str(folder / "model"), str(ratings))
    return folder / "model", ratings, (folder / "out" / "recommendations.parquet").read_bytes()


def scoring(source: tuple[Path, Path, bytes]) -> Interrupted:
    """Batch scoring with that model and table, compared with the table of an uninterrupted run."""
    model, ratings, expected = source
    check = only("recommendations.parquet", expected, (".part",))
    return Interrupted(workloads.score, (str(model), str(ratings)), check, 3)
