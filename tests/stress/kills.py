"""Campaign: kill training, download, preparation, export and scoring, resume, and compare with uninterrupted runs."""

import random
import tempfile
import time
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
            counts["download"] = {
                "killed_before_each_file_change": sigkill.before_each_change(
                    lambda change: download_killed_before(change, root / f"d{change}", server)
                ),
                "killed_at_random_times": download_killed_randomly(root / "chance", server, KILLS),
            }
            counts["preparation"] = {
                "killed_before_each_file_change": sigkill.before_each_change(
                    lambda change: prepare_killed_before(change, root / f"p{change}", server)
                ),
                "killed_at_random_times": prepare_killed_randomly(root / "prepared", server, KILLS),
            }
        counts["prepared_table"] = sigkill.before_each_change(
            lambda change: table_killed_before(change, root / f"t{change}")
        )
        counts["export"] = export_campaign(root)
        source = scoring_source(root / "scoring")
        counts["batch_scoring"] = {
            "killed_before_each_file_change": sigkill.before_each_change(
                lambda change: score_killed_before(change, root / f"s{change}", source)
            ),
            "killed_at_random_times": score_killed_randomly(root / "scored", source, KILLS),
        }
    return counts


def download_killed_before(change: int, folder: Path, server: Any) -> bool:
    """Kill a download before that file change, resume it, compare the bytes."""
    data, url = _offer(server)
    was_killed = sigkill.kill_before_change(change, folder, workloads.download, str(folder), url)
    _check_file(folder, data)
    sigkill.finish(workloads.download, str(folder), url)
    assert sigkill.contents(folder) == {"file.zip": data}, f"killed before change {change}: {sorted(folder.iterdir())}"
    return was_killed


def download_killed_randomly(folder: Path, server: Any, kills: int) -> int:
    """Kill downloads at random times; the final file is complete whenever it exists."""
    data, url = _offer(server)
    seconds_to_finish = sigkill.finish(workloads.download, str(folder / "measured"), url)

    def attempt(number: int, seconds: float) -> bool:
        attempt_folder = folder / str(number // 4)
        was_killed = sigkill.kill_after(seconds, workloads.download, str(attempt_folder), url)
        _check_file(attempt_folder, data)
        if number % 4 == 3:
            sigkill.finish(workloads.download, str(attempt_folder), url)
            assert sigkill.contents(attempt_folder) == {"file.zip": data}
        return was_killed

    return sigkill.at_random_times(attempt, kills, 0.2 * seconds_to_finish, seconds_to_finish)


def _offer(server: Any) -> tuple[bytes, str]:
    data = random.Random(1).randbytes(12 * MIB)
    archive = Path(tempfile.mkdtemp()) / "file.zip"
    archive.write_bytes(data)
    server.publish(archive)
    return data, f"{server.url}/file.zip"


def _check_file(folder: Path, data: bytes) -> None:
    path = folder / "file.zip"
    assert not path.exists() or path.read_bytes() == data, f"{path} is incomplete"


def prepare_killed_before(change: int, folder: Path, server: Any) -> bool:
    """Kill the loading of a release before that file change, then load it again."""
    was_killed = sigkill.kill_before_change(change, folder, workloads.prepare, str(folder), server.url)
    _check_prepared(folder, server)
    return was_killed


def prepare_killed_randomly(folder: Path, server: Any, kills: int) -> int:
    """Kill the loading of a release at random times, and load it again each time."""
    seconds_to_finish = sigkill.finish(workloads.prepare, str(folder / "measured"), server.url)

    def attempt(number: int, seconds: float) -> bool:
        attempt_folder = folder / str(number)
        was_killed = sigkill.kill_after(seconds, workloads.prepare, str(attempt_folder), server.url)
        _check_prepared(attempt_folder, server)
        return was_killed

    return sigkill.at_random_times(attempt, kills, 0.2 * seconds_to_finish, seconds_to_finish)


def _check_prepared(folder: Path, server: Any) -> None:
    sigkill.finish(workloads.prepare, str(folder), server.url)
    files = {name for name in sigkill.contents(folder) if not name.endswith(".lock")}
    assert files == {f"{workloads.RELEASE}.zip"}, f"the cache contains {files}"


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
    first, second = tables(folder / "tables")
    target = folder / "output"
    sigkill.finish(workloads.prepare_table, str(folder / "expected"), str(second))
    expected = sigkill.contents(folder / "expected" / "prepared")
    sigkill.finish(workloads.prepare_table, str(target), str(first))
    earlier = sigkill.contents(target / "prepared")
    was_killed = sigkill.kill_before_change(change, target, workloads.prepare_table, str(target), str(second))
    if (target / "prepared").exists():
        found = sigkill.contents(target / "prepared")
        assert found in (earlier, expected), f"killed before change {change}: {sorted(found)}"
    sigkill.finish(workloads.prepare_table, str(target), str(second))
    assert sigkill.contents(target) == {f"prepared/{name}": data for name, data in expected.items()}
    return was_killed


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


def score_killed_before(change: int, folder: Path, source: tuple[Path, Path, bytes]) -> bool:
    """Kill batch scoring before that file change, resume, compare the table; False if it makes fewer changes."""
    model, ratings, expected = source
    was_killed = sigkill.kill_before_change(change, folder, workloads.score, str(folder), str(model), str(ratings))
    table = folder / "recommendations.parquet"
    assert not table.exists() or table.read_bytes() == expected, f"killed before change {change}, {table} is incomplete"
    sigkill.finish(workloads.score, str(folder), str(model), str(ratings))
    files = {name for name in sigkill.contents(folder) if not name.endswith(".part")}
    assert files == {table.name}, f"killed before change {change}: {files}"
    assert table.read_bytes() == expected, f"killed before change {change}, the table differs"
    return was_killed


def score_killed_randomly(folder: Path, source: tuple[Path, Path, bytes], kills: int) -> int:
    """Kill batch scoring at random times, three times before it finishes; the table is complete or absent."""
    model, ratings, expected = source
    seconds_to_finish = sigkill.finish(workloads.score, str(folder / "measured"), str(model), str(ratings))

    def attempt(number: int, seconds: float) -> bool:
        attempt_folder = folder / str(number // 3)
        was_killed = sigkill.kill_after(seconds, workloads.score, str(attempt_folder), str(model), str(ratings))
        table = attempt_folder / "recommendations.parquet"
        assert not table.exists() or table.read_bytes() == expected, f"{table} is incomplete"
        if number % 3 == 2:
            sigkill.finish(workloads.score, str(attempt_folder), str(model), str(ratings))
            assert table.read_bytes() == expected, f"{table} differs"
        return was_killed

    return sigkill.at_random_times(attempt, kills, 0.2 * seconds_to_finish, seconds_to_finish)
