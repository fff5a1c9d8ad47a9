"""Campaign: a damaged or mixed folder of prepared histories is refused by name, or its histories are unchanged."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder import prepare_folder as module
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare

CASES = 300  # of each kind of damage
OPTIONS: dict[str, Any] = {"event_column": "kind", "target_events": ["buy"], "weight_column": "weight"}


def campaign() -> dict[str, Any]:
    """Every kind of damage to random files of a small folder; counts the outcomes."""
    with tempfile.TemporaryDirectory() as name:
        return {damage.__name__: dict(try_damage(damage, CASES, Path(name) / damage.__name__)) for damage in DAMAGES}


def try_damage(damage: Callable[..., None], cases: int, root: Path) -> Counter[str]:
    """Damage copies of a folder; counts the outcomes.

    Raises:
        AssertionError: the histories differ, or an error does not name the folder.
    """
    good, other = (write_folder(root / name, reverse) for name, reverse in (("good", False), ("other", True)))
    expected = histories(good)
    counts: Counter[str] = Counter()
    for case in range(cases):
        folder = Path(shutil.copytree(good, root / "damaged"))
        damage(folder, other, random.Random(case))
        counts[outcome(folder, expected)] += 1
        shutil.rmtree(folder)
    return counts


def write_folder(folder: Path, reverse: bool) -> Path:
    """A folder of several files; with `reverse`, of the same rows in another order."""
    table = made_up_table().reverse() if reverse else made_up_table()
    folder.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder.parent / "table.parquet")
    with patch.object(module, "ROWS_PER_PARTITION", 110):
        prepare_folder(DataArguments(ratings=str(folder.parent / "table.parquet"), **OPTIONS), folder)
    return folder


def made_up_table(rows: int = 600) -> pl.DataFrame:
    """Interactions of thirty users."""
    generator = np.random.default_rng(0)
    columns = {"user_id": 30, "movie_id": 40, "timestamp": 200, "kind": 2, "weight": 5}
    frame = pl.DataFrame({name: generator.integers(0, number, rows) for name, number in columns.items()})
    return frame.with_columns(kind=pl.when(pl.col("kind") == 1).then(pl.lit("buy")).otherwise(pl.lit("view")))


def histories(folder: Path) -> Any:
    """The histories of a folder as a table."""
    return prepare(DataArguments(ratings=str(folder), **OPTIONS)).histories.with_format("arrow")[:]


def outcome(folder: Path, expected: Any) -> str:
    """ "refused" or "same histories"."""
    try:
        found = histories(folder)
    except ValueError as error:
        if str(folder) not in str(error):
            raise AssertionError(f"{error} does not name {folder}") from error
        return "refused"
    assert found == expected, f"{folder} has other histories"
    return "same histories"


def flipped_bit(folder: Path, _: Path, draw: random.Random) -> None:
    path = draw.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncated_file(folder: Path, _: Path, draw: random.Random) -> None:
    path = draw.choice(sorted(folder.iterdir()))
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def file_of_another_preparation(folder: Path, other: Path, draw: random.Random) -> None:
    path = draw.choice(sorted(other.iterdir()))
    shutil.copy(path, folder / draw.choice([path.name, f"histories-{draw.randrange(10, 100):05}.arrow"]))


def missing_file(folder: Path, _: Path, draw: random.Random) -> None:
    draw.choice(sorted(folder.iterdir())).unlink()


DAMAGES = (flipped_bit, truncated_file, file_of_another_preparation, missing_file)
