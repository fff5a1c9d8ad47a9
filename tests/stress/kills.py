"""Campaign: SIGKILL training, download, preparation, export, scoring; go on; compare with what was never killed."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from tests.data.movielens_archives import serving, write_release, zip_release
from tests.stress import killing, training_kills
from tests.stress import workloads as victims

MIB = 1 << 20
KILLS = 30  # at moments of chance, of each
STATES = ("earlier", "new", "absent")


def campaign() -> dict[str, Any]:
    """All of it, counted. AssertionError or RuntimeError where something was lost."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        told: dict[str, Any] = {"training": training_kills.campaign(root)}
        with serving() as server:
            server.publish(zip_release(write_release(root / "release", victims.RELEASE)))
            told["download"] = {
                "killed_at_each_change_to_a_file": killing.at_each(
                    lambda change: download_killed_at(change, root / f"d{change}", server)
                ),
                "killed_at_moments_of_chance": download_killed_by_chance(root / "chance", server, KILLS),
            }
            told["preparation"] = {
                "killed_at_each_change_to_a_file": killing.at_each(
                    lambda change: prepare_killed_at(change, root / f"p{change}", server)
                ),
                "killed_at_moments_of_chance": prepare_killed_by_chance(root / "prepared", server, KILLS),
            }
        told["export"] = export_campaign(root)
        source = scoring_source(root / "scoring")
        told["batch_scoring"] = {
            "killed_at_each_change_to_a_file": killing.at_each(
                lambda change: score_killed_at(change, root / f"s{change}", source)
            ),
            "killed_at_moments_of_chance": score_killed_by_chance(root / "scored", source, KILLS),
        }
    return told


def download_killed_at(change: int, folder: Path, server: Any) -> bool:
    """Kill a download before that change, go on, compare the bytes."""
    data, url = _offer(server)
    was_killed = killing.kill_at_change(change, folder, victims.download, str(folder), url)
    _check_file(folder, data)
    killing.finish(victims.download, str(folder), url)
    assert killing.contents(folder) == {"file.zip": data}, f"killed before change {change}: {sorted(folder.iterdir())}"
    return was_killed


def download_killed_by_chance(folder: Path, server: Any, kills: int) -> int:
    """Kill downloads at moments of chance; a file under its own name is whole whenever it is there."""
    data, url = _offer(server)
    whole = killing.finish(victims.download, str(folder / "measured"), url)

    def attempt(number: int, seconds: float) -> bool:
        place = folder / str(number // 4)
        was_killed = killing.kill_after(seconds, victims.download, str(place), url)
        _check_file(place, data)
        if number % 4 == 3:
            killing.finish(victims.download, str(place), url)
            assert killing.contents(place) == {"file.zip": data}
        return was_killed

    return killing.by_chance(attempt, kills, 0.2 * whole, whole)


def _offer(server: Any) -> tuple[bytes, str]:
    data = random.Random(1).randbytes(12 * MIB)
    archive = Path(tempfile.mkdtemp()) / "file.zip"
    archive.write_bytes(data)
    server.publish(archive)
    return data, f"{server.url}/file.zip"


def _check_file(folder: Path, data: bytes) -> None:
    path = folder / "file.zip"
    assert not path.exists() or path.read_bytes() == data, f"{path} is torn"


def prepare_killed_at(change: int, folder: Path, server: Any) -> bool:
    """Kill the loading of a release before that change, load it again; the cache holds the archive and its lock."""
    was_killed = killing.kill_at_change(change, folder, victims.prepare, str(folder), server.url)
    _check_prepared(folder, server)
    return was_killed


def prepare_killed_by_chance(folder: Path, server: Any, kills: int) -> int:
    """Kill the loading of a release at moments of chance, and load it again each time."""
    whole = killing.finish(victims.prepare, str(folder / "measured"), server.url)

    def attempt(number: int, seconds: float) -> bool:
        place = folder / str(number)
        was_killed = killing.kill_after(seconds, victims.prepare, str(place), server.url)
        _check_prepared(place, server)
        return was_killed

    return killing.by_chance(attempt, kills, 0.2 * whole, whole)


def _check_prepared(folder: Path, server: Any) -> None:
    killing.finish(victims.prepare, str(folder), server.url)
    left = {name for name in killing.contents(folder) if not name.endswith(".lock")}
    assert left == {f"{victims.RELEASE}.zip"}, f"killed, and the cache holds {left}"


def old_export(folder: Path) -> dict[str, bytes]:
    """Export model 0 into `folder`; the contents of what was exported."""
    killing.finish(victims.export_model, str(folder), 0)
    return killing.contents(folder / "model")


def export_killed_at(change: int, folder: Path, check_end: bool = True) -> bool:
    """Kill the export of model 1 over model 0 before that change; what stands there is one of the two, or nothing."""
    earlier = killing.contents(folder / "model")
    was_killed = killing.kill_at_change(change, folder, victims.export_model, str(folder), 1)
    state = export_state(folder, earlier)
    assert state == "earlier" or (check_end and state in STATES), f"killed before change {change}: {state}"
    return was_killed


def export_state(folder: Path, earlier: dict[str, bytes]) -> str:
    """Which export stands in `folder`; AssertionError where it is neither whole nor absent."""
    found = killing.contents(folder / "model") if (folder / "model").exists() else {}
    if not found:
        return "absent"
    if found == earlier:
        return "earlier"
    assert found.keys() == earlier.keys(), f"a torn export: {sorted(found)}"
    assert found["seed.json"] == b"1\n", "a mixture of two exports"
    return "new"


def export_campaign(root: Path) -> dict[str, Any]:
    """Kill an export before each of its changes; how often the earlier one, the new one and none stood there."""
    folder = root / "export"
    earlier = old_export(folder)
    counts = dict.fromkeys(STATES, 0)
    change = 1
    while killing.kill_at_change(change, folder, victims.export_model, str(folder), 1):
        state = export_state(folder, earlier)
        counts[state] += 1
        if state != "earlier":
            old_export(folder)
        change += 1
    survived = export_killed_by_chance(root / "exported", KILLS)
    return {
        "killed_at_each_change_to_a_file": change - 1,
        "what_stood_there": counts,
        "killed_at_moments_of_chance": survived,
    }


def export_killed_by_chance(folder: Path, kills: int) -> int:
    """Kill exports over an earlier one at moments of chance; what stands there is one of the two, or nothing."""
    earlier = old_export(folder)
    whole = killing.finish(victims.export_model, str(folder), 1)

    def attempt(number: int, seconds: float) -> bool:
        if export_state(folder, earlier) != "earlier":
            old_export(folder)
        was_killed = killing.kill_after(seconds, victims.export_model, str(folder), 1)
        export_state(folder, earlier)
        return was_killed

    return killing.by_chance(attempt, kills, 0.2 * whole, whole)


def scoring_source(folder: Path) -> tuple[Path, Path, bytes]:
    """A model, a table of ratings, and the recommendations of a run that nobody kills."""
    killing.finish(victims.export_model, str(folder), 0)
    ratings = folder / "ratings.csv"
    lines = [
        f"{user},{100 + (user + step) % victims.ITEMS},{step}" for user in range(victims.USERS) for step in range(4)
    ]
    ratings.write_text("\n".join(["user_id,movie_id,timestamp", *lines]) + "\n", encoding="utf-8")
    killing.finish(victims.score, str(folder / "out"), str(folder / "model"), str(ratings))
    return folder / "model", ratings, (folder / "out" / "recommendations.parquet").read_bytes()


def score_killed_at(change: int, folder: Path, source: tuple[Path, Path, bytes]) -> bool:
    """Kill batch scoring before that change, go on, compare the table; False where it ended before."""
    model, ratings, expected = source
    was_killed = killing.kill_at_change(change, folder, victims.score, str(folder), str(model), str(ratings))
    table = folder / "recommendations.parquet"
    assert not table.exists() or table.read_bytes() == expected, f"killed before change {change}, {table} is torn"
    killing.finish(victims.score, str(folder), str(model), str(ratings))
    left = {name for name in killing.contents(folder) if not name.endswith(".part")}
    assert left == {table.name}, f"killed before change {change}: {left}"
    assert table.read_bytes() == expected, f"killed before change {change}, the table is another"
    return was_killed


def score_killed_by_chance(folder: Path, source: tuple[Path, Path, bytes], kills: int) -> int:
    """Kill batch scoring at moments of chance, three times before it may end; the table is whole or absent."""
    model, ratings, expected = source
    whole = killing.finish(victims.score, str(folder / "measured"), str(model), str(ratings))

    def attempt(number: int, seconds: float) -> bool:
        place = folder / str(number // 3)
        was_killed = killing.kill_after(seconds, victims.score, str(place), str(model), str(ratings))
        table = place / "recommendations.parquet"
        assert not table.exists() or table.read_bytes() == expected, f"{table} is torn"
        if number % 3 == 2:
            killing.finish(victims.score, str(place), str(model), str(ratings))
            assert table.read_bytes() == expected, f"{table} is another"
        return was_killed

    return killing.by_chance(attempt, kills, 0.2 * whole, whole)
