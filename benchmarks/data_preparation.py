"""Ratings to histories to leave-one-out, beside the same in pandas and RecTools: seconds and peak memory.

    python -m benchmarks.data_preparation --rows 25000000

The rows are made up in the shape of MovieLens 25M. Every measurement is a process of its own that reads them, and then
starts its clock; its peak memory is that of the whole process, the rows included. RecTools's `Dataset.construct` gives
ids their places and no more: neither histories nor splits. Beside it stands RecTools's whole way, of which it is
a part: `LastNSplitter`, `Dataset.construct`, and the histories that its transformers train on; only the k-core is left
out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from datasets import Dataset

from benchmarks.measure import in_process, load_of_machine, parser, ratio_row, row, write_result
from benchmarks.peers.running import Field, in_turns, run
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data import build_histories, leave_one_out

CORE = 5
USERS, ITEMS, ROWS = 162_541, 59_047, 25_000_095  # of MovieLens 25M
NAMES = {
    "ours": "hf_bert4rec",
    "pandas": "pandas",
    "splits": "RecTools to splits",
    "construct": "RecTools Dataset.construct alone",
}
RECTOOLS = ("splits", "construct")
MOST_SECONDS, MOST_MEGABYTES, AT_LEAST = 20, 4000, 3  # of MovieLens 25M's rows; times as fast as each of the others
BOUND = 1200  # seconds after which RecTools is ended


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=2)
    options.add_argument("--rows", type=int, default=25_000_000, help="interactions to make up")
    options.add_argument("--measure", nargs=2, metavar=("WHO", "FILE"), help="one measurement, in this process")
    arguments = options.parse_args(argv)
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    load, field = load_of_machine(), Field()
    if importlib.util.find_spec("pandas") is None:
        field.missing["pandas"] = "not installed"
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "ratings.parquet"
        synthetic(arguments.rows).write_parquet(path)
        found = measurements(field, path, arguments.repeats)
    del arguments.measure
    write_result(arguments, "data_preparation", rows_of(found, arguments.rows), load, field.missing, field.versions)


def synthetic(rows: int) -> pl.DataFrame:
    """About so many interactions of users and items as uneven as MovieLens's, in order of users, times shuffled."""
    generator = np.random.default_rng(0)
    users, items = max(10, rows * USERS // ROWS), max(50, round(ITEMS * min(1.0, rows / ROWS) ** 0.5))
    activity = np.exp(generator.normal(0, 1.2, users))
    popularity = 1 / np.arange(10, items + 10)
    user = generator.choice(users, rows, p=activity / activity.sum())
    item = generator.choice(items, rows, p=popularity / popularity.sum())
    pairs = np.unique(user * items + item)  # a release has no movie twice for a user
    times = generator.integers(800_000_000, 1_600_000_000, len(pairs))
    return pl.DataFrame({"user_id": pairs // items, "movie_id": pairs % items, "timestamp": times})


def measurements(field: Field, path: Path, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Every measurement, taken in turns.

    Raises:
        ValueError: the two that hold movies out hold different ones out.
    """
    found: dict[str, list[dict[str, Any]]] = {"ours": []}
    for repeat in range(repeats):
        for name in in_turns([name for name in NAMES if NAMES[name] not in field.missing], repeat):
            if name not in RECTOOLS:
                found.setdefault(name, []).append(in_process(__file__, ["--measure", name, path]))
                continue
            ask = partial(run, "rectools", name, {"table": str(path)}, BOUND)
            if (taken := field.measure(NAMES[name], "rectools", ask)) is not None:
                found.setdefault(name, []).append(taken)
    if len({taken["targets"] for each in found.values() for taken in each if "targets" in taken}) != 1:
        raise ValueError("hf_bert4rec and pandas hold different movies out: there is nothing to compare")
    return found


def rows_of(found: dict[str, list[dict[str, Any]]], rows: int) -> list[dict[str, Any]]:
    """Seconds, memory, and the ratios of the seconds; of fewer rows than MovieLens 25M's no targets are known."""
    lines, whole = [], rows >= 25_000_000
    for name, taken in found.items():
        most = whole and name == "ours"
        seconds, peaks = ([each[what] for each in taken] for what in ("seconds", "peak"))
        label = f"{rows:,} rows to splits, {NAMES[name]}"
        lines.append(row(label, "s", seconds, **({"at_most": MOST_SECONDS} if most else {})))
        lines.append(row(f"{label}, memory", "MB", peaks, **({"at_most": MOST_MEGABYTES} if most else {})))
    ours = [each["seconds"] for each in found["ours"]]
    for name, taken in found.items():
        if name != "ours":
            seconds = [each["seconds"] for each in taken]
            target = {"at_least": AT_LEAST} if whole else {}
            name = f"{NAMES[name]} : hf_bert4rec, seconds"
            lines.append(ratio_row(name, seconds, ours[: len(seconds)], **target))
    return lines


def measure(who: str, path: str) -> dict[str, Any]:
    """Seconds from rows in memory to splits, the process's peak memory, and a hash of the movies held out."""
    prepare: Callable[[str], Callable[[], Any]] = {"ours": with_us, "pandas": with_pandas}[who]
    run = prepare(path)
    start = time.perf_counter()
    targets = run()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    digest = hashlib.sha256(np.asarray(targets(), dtype=np.int64).tobytes()).hexdigest()
    return {"seconds": seconds, "peak": peak, "targets": digest}


def with_us(path: str) -> Callable[[], Callable[[], Any]]:
    """Read the rows; what is given back makes histories and splits of them."""
    ratings = Dataset(pq.read_table(path))

    def run() -> Callable[[], Any]:
        splits = leave_one_out(build_histories(ratings, min_interactions=CORE))
        return lambda: splits["test"].with_format("numpy")["target"][:]

    return run


def with_pandas(path: str) -> Callable[[], Callable[[], Any]]:
    """The same, as a notebook would do it."""
    import pandas as pd  # only this process has it

    ratings = pd.read_parquet(path)

    def run() -> Callable[[], Any]:
        frame = ratings.sort_values(["user_id", "timestamp"], kind="stable")
        frame = frame.drop_duplicates(["user_id", "movie_id"])
        height = -1
        while height != len(frame):
            height = len(frame)
            for name in ("movie_id", "user_id"):
                frame = frame[frame.groupby(name)[name].transform("size") >= CORE]
        histories = frame.groupby("user_id")[["movie_id", "timestamp"]].agg(list)
        parts = {"train": slice(None, -2), "validation": slice(None, -2), "test": slice(None, -1)}
        splits = {part: histories.map(lambda row, cut=cut: row[cut]) for part, cut in parts.items()}
        splits["validation"]["target"] = histories["movie_id"].str[-2]
        splits["test"]["target"] = histories["movie_id"].str[-1]
        return lambda: splits["test"]["target"].to_numpy()

    return run


if __name__ == "__main__":
    main()
