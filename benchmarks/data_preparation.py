"""Time and peak memory from ratings to leave-one-out splits, compared with pandas and RecTools.

    python -m benchmarks.data_preparation --rows 25000000

Ratings are synthetic, in the shape of MovieLens 25M. Each measurement runs in its own process, which reads the ratings
before the clock starts; peak memory is that of the process, ratings included. RecTools has three rows. "split,
construct, sequences" does comparable work without the k-core: `LastNSplitter`, `Dataset.construct`, and the sequences
that its transformers train on. "Dataset.construct only" maps ids to indices; it makes neither histories nor splits.
"fast_transformers.build_sequences" makes the sequences of its fast transformers, cut to 200 items, from ids that are
integers already; it makes no splits.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from datasets import Dataset

from benchmarks.measure import benchmark_parser, cpu_load, ratio_row, rotated, row, run_in_process, write_result
from benchmarks.peers.common import process_megabytes
from benchmarks.peers.runner import PeerRuns
from hf_bert4rec.data import build_histories, leave_one_out

MIN_INTERACTIONS = 5
USERS, ITEMS, RATINGS = 162_541, 59_047, 25_000_095  # of MovieLens 25M
TITLES = {
    "hf_bert4rec": "hf_bert4rec",
    "pandas": "pandas",
    "splits": "RecTools (split, construct, sequences)",
    "construct": "RecTools (Dataset.construct only)",
    "fast_sequences": "RecTools (fast_transformers.build_sequences)",
}
SCRIPTS = {"splits": "rectools", "construct": "rectools", "fast_sequences": "rectools_fast"}
MAX_SECONDS, MAX_MEGABYTES, MIN_SPEED_UP = 20, 4000, 3  # targets at the size of MovieLens 25M
TIMEOUT = 1200  # seconds for RecTools
Measurements = dict[str, list[dict[str, Any]]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=2)
    parser.add_argument("--rows", type=int, default=25_000_000, help="number of synthetic ratings")
    arguments = parser.parse_args(argv)
    load, peers = cpu_load(), PeerRuns()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "ratings.parquet"
        synthetic_ratings(arguments.rows).write_parquet(path)
        measurements = measure_all(peers, path, arguments.repeats)
    rows = result_rows(measurements, arguments.rows)
    write_result(arguments, "data_preparation", rows, load, peers.missing, peers.versions)


def synthetic_ratings(rows: int) -> pl.DataFrame:
    """About `rows` interactions with MovieLens-like user activity and item popularity, sorted by user."""
    generator = np.random.default_rng(0)
    users, items = max(10, rows * USERS // RATINGS), max(50, round(ITEMS * min(1.0, rows / RATINGS) ** 0.5))
    activity = np.exp(generator.normal(0, 1.2, users))
    popularity = 1 / np.arange(10, items + 10)
    user = generator.choice(users, rows, p=activity / activity.sum())
    item = generator.choice(items, rows, p=popularity / popularity.sum())
    pairs = np.unique(user * items + item)  # at most one rating per user and item
    timestamps = generator.integers(800_000_000, 1_600_000_000, len(pairs))
    return pl.DataFrame({"user_id": pairs // items, "movie_id": pairs % items, "timestamp": timestamps})


def measure_all(peers: PeerRuns, path: Path, repeats: int) -> Measurements:
    """All measurements of all libraries, interleaved."""
    measurements: Measurements = {"hf_bert4rec": []}
    for repeat in range(repeats):
        for name in rotated([name for name in TITLES if TITLES[name] not in peers.missing], repeat):
            if name in SCRIPTS:
                result = peers.measure(TITLES[name], SCRIPTS[name], name, {"table": str(path)}, TIMEOUT)
            else:
                result = run_in_process(measure, name, path)
            if result is not None:
                measurements.setdefault(name, []).append(result)
    if len({result["targets"] for results in measurements.values() for result in results if "targets" in result}) > 1:
        raise ValueError("hf_bert4rec and pandas produce different test items, so their times are not comparable")
    return measurements


def result_rows(measurements: Measurements, ratings: int) -> list[dict[str, Any]]:
    """Time, peak memory and speed-up; targets apply at the size of MovieLens 25M only."""
    rows, full_size = [], ratings >= 25_000_000
    seconds = {name: [result["seconds"] for result in results] for name, results in measurements.items()}
    for name, results in measurements.items():
        ours = full_size and name == "hf_bert4rec"
        time_target, memory_target = ({"at_most": MAX_SECONDS}, {"at_most": MAX_MEGABYTES}) if ours else ({}, {})
        rows.append(row(f"{ratings:,} ratings, time, {TITLES[name]}", "s", seconds[name], **time_target))
        peaks = [result["peak"] for result in results]
        rows.append(row(f"{ratings:,} ratings, peak memory, {TITLES[name]}", "MB", peaks, **memory_target))
    for name, values in seconds.items():
        if name != "hf_bert4rec":
            target = {"at_least": MIN_SPEED_UP} if full_size else {}
            rows.append(ratio_row(f"speed-up over {TITLES[name]}", values, seconds["hf_bert4rec"], **target))
    return rows


def measure(library: str, path: Path) -> dict[str, Any]:
    """Seconds from ratings in memory to splits, peak memory of the process, and a hash of the test items."""
    load: Callable[[Path], Callable[[], Any]] = {"hf_bert4rec": load_hf_bert4rec, "pandas": load_pandas}[library]
    split = load(path)
    start = time.perf_counter()
    targets = split()
    seconds = time.perf_counter() - start
    peak = process_megabytes("VmHWM")
    digest = hashlib.sha256(np.asarray(targets(), dtype=np.int64).tobytes()).hexdigest()
    return {"seconds": seconds, "peak": peak, "targets": digest}


def load_hf_bert4rec(path: Path) -> Callable[[], Callable[[], Any]]:
    """Read the ratings; the returned function builds histories and splits."""
    ratings = Dataset(pq.read_table(path))

    def split() -> Callable[[], Any]:
        splits = leave_one_out(build_histories(ratings, min_interactions=MIN_INTERACTIONS))
        return lambda: splits["test"].with_format("numpy")["target"][:]

    return split


def load_pandas(path: Path) -> Callable[[], Callable[[], Any]]:
    """The same in idiomatic pandas."""
    import pandas as pd  # only in this process, so that its memory is not counted for the others

    ratings = pd.read_parquet(path)

    def split() -> Callable[[], Any]:
        frame = ratings.sort_values(["user_id", "timestamp"], kind="stable")
        frame = frame.drop_duplicates(["user_id", "movie_id"])
        height = -1
        while height != len(frame):
            height = len(frame)
            for name in ("movie_id", "user_id"):
                frame = frame[frame.groupby(name)[name].transform("size") >= MIN_INTERACTIONS]
        histories = frame.groupby("user_id")[["movie_id", "timestamp"]].agg(list)
        parts = {"train": slice(None, -2), "validation": slice(None, -2), "test": slice(None, -1)}
        splits = {part: histories.map(lambda row, part=part: row[parts[part]]) for part in parts}
        splits["validation"]["target"] = histories["movie_id"].str[-2]
        splits["test"]["target"] = histories["movie_id"].str[-1]
        return lambda: splits["test"]["target"].to_numpy()

    return split


if __name__ == "__main__":
    main()
