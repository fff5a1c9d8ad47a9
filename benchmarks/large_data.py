"""Time, memory and disk from a table on disk to the first training step, as its rows double.

    python -m benchmarks.large_data                     # 1.5 to 25 million rows, doubled four times
    python -m benchmarks.large_data --rows 200000000    # one size; the others stay in the result file

The table is a made-up log in the shape of MovieLens 25M, or of several of it with users of their own, in one Parquet
file in the order of time. `prepare` writes the folder of histories; then a model of the recipe ml-25m is built from it
and trained for one step. Each runs in its own process. Memory is the largest resident size, mapped files included. On
a busy machine the CPU time says more than the time.
"""

import json
import logging
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.data_preparation import ITEMS, RATINGS, USERS
from benchmarks.measure import benchmark_parser, cpu_load, largest, ratio_row, row, run_in_process, write_result
from benchmarks.peers.common import process_megabytes
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.training.arguments import parse
from hf_bert4rec.training.build import build_trainer

SIZES = [25_000_000 >> doubling for doubling in range(4, -1, -1)]
LARGE, REFERENCE = 200_000_000, 25_000_000  # rows from which the targets apply
MAX_MEGABYTES, MAX_SECONDS, MAX_GROWTH = 8000, 900, 1.5
RECIPE = ["ml-25m", "--max_steps", "1", "--eval_strategy", "no", "--save_strategy", "no"]
RECIPE += ["--load_best_model_at_end", "false", "--early_stopping_patience", "none"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="rows of the tables")
    parser.add_argument("--folder", help="where tables are written; a temporary folder by default")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    path = arguments.results / "large_data.json"
    earlier = json.loads(path.read_text())["points"] if path.is_file() else []
    by_rows = {point["rows"]: point for point in earlier}
    for rows in arguments.rows:
        by_rows[rows] = measure_size(rows, arguments)
        points = [by_rows[size] for size in sorted(by_rows)]
        write_result(arguments, "large_data", result_rows(points), load, points=points)


def measure_size(rows: int, arguments: Namespace) -> dict[str, Any]:
    """Everything about a table of this many rows; each value has one entry per repeat."""
    results: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_table(rows, folder / "log.parquet")
        table = folder_megabytes(folder)
        for _ in range(arguments.repeats):
            with largest(lambda: folder_megabytes(folder)) as disk:
                prepared = run_in_process(measure_prepare, folder)
            started = run_in_process(measure_start, folder)
            results.append(
                {
                    "prepare_seconds": prepared["seconds"],
                    "start_seconds": started["seconds"],
                    "cpu_seconds": prepared["cpu_seconds"] + started["cpu_seconds"],
                    "prepare_cpu_seconds": prepared["cpu_seconds"],
                    "prepare_megabytes": prepared["megabytes"],
                    "start_megabytes": started["megabytes"],
                    "folder_megabytes": folder_megabytes(folder / "prepared"),
                    "work_megabytes": disk[0] - table,
                }
            )
            logging.getLogger("hf_bert4rec").info("%d rows: %s", rows, results[-1])
    return {"rows": rows, "table_megabytes": table, **{key: [one[key] for one in results] for key in results[0]}}


def result_rows(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of every size, and the growth of the time for each row of the table."""
    rows = []
    for point in points:
        name, large = f"{point['rows']:,} rows", point["rows"] >= LARGE
        total = _total(point)
        peaks = [max(pair) for pair in zip(point["prepare_megabytes"], point["start_megabytes"], strict=True)]
        rows += [
            row(f"{name}, time to the first step", "s", total, **({"at_most": MAX_SECONDS} if large else {})),
            row(f"{name}, CPU time to the first step", "s", point["cpu_seconds"]),
            row(f"{name}, time of prepare", "s", point["prepare_seconds"]),
            row(f"{name}, CPU time of prepare", "s", point["prepare_cpu_seconds"]),
            row(f"{name}, peak memory", "MB", peaks, **({"at_most": MAX_MEGABYTES} if large else {})),
            row(f"{name}, peak memory of prepare", "MB", point["prepare_megabytes"]),
            row(f"{name}, disk, prepared folder", "MB", point["folder_megabytes"]),
            row(f"{name}, disk, largest use while preparing", "MB", point["work_megabytes"]),
        ]
    by_rows = {point["rows"]: point for point in points}
    if LARGE in by_rows and REFERENCE in by_rows:
        for name, seconds in (("time", _total), ("CPU time", lambda point: point["cpu_seconds"])):
            large, reference = ([value / size for value in seconds(by_rows[size])] for size in (LARGE, REFERENCE))
            title = f"{name} for each row, {LARGE:,} / {REFERENCE:,} rows"
            rows.append(ratio_row(title, large[:1], reference, at_most=MAX_GROWTH))
    return rows


def _total(point: dict[str, Any]) -> list[float]:
    return [sum(pair) for pair in zip(point["prepare_seconds"], point["start_seconds"], strict=True)]


def write_table(rows: int, path: Path, part_rows: int = RATINGS) -> None:
    """Interactions in parts of this many rows, which share the catalogue, but neither users nor item pairs."""
    log = synthetic_log(min(rows, part_rows))
    writer = None
    for part, first in enumerate(range(0, rows, part_rows)):
        frame = log.head(rows - first).with_columns(
            user_id=pl.col("user_id") + part * USERS,
            movie_id=pl.col("movie_id").xor(part),  # an item of similar popularity
            timestamp=pl.col("timestamp") + part,
        )
        writer = writer or pq.ParquetWriter(path, frame.to_arrow().schema)
        writer.write_table(frame.to_arrow(), row_group_size=1 << 20)
    assert writer is not None
    writer.close()


def synthetic_log(rows: int) -> pl.DataFrame:
    """Interactions in the order of time: few users make most of them, and item i has the weight 1 / (i + 10)."""
    generator = np.random.default_rng(0)
    users = max(10, rows * USERS // RATINGS)
    items = max(50, round(ITEMS * (rows / RATINGS) ** 0.5))
    activity = np.exp(generator.normal(0, 1.2, users))
    draws = rows * 4 // 3  # a sixth repeats a pair
    user = np.repeat(np.arange(users), generator.multinomial(draws, activity / activity.sum()))
    item = (10 * (1 + items / 10) ** generator.random(draws) - 10).astype(np.int64)
    pairs = np.unique(user * items + item)
    times = generator.integers(800_000_000, 1_600_000_000, len(pairs))
    order = np.argsort(times)[:rows]
    return pl.DataFrame({"user_id": pairs[order] // items, "movie_id": pairs[order] % items, "timestamp": times[order]})


def folder_megabytes(folder: Path) -> float:
    """Size of all files, those that vanish meanwhile not counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total / 1e6


def measure_prepare(folder: Path) -> dict[str, float]:
    """From the table to the folder of histories."""
    start = time.perf_counter()
    prepare_folder(DataArguments(ratings=str(folder / "log.parquet")), folder / "prepared")
    return _measured(start)


def measure_start(folder: Path) -> dict[str, float]:
    """From the folder to the end of the first training step."""
    start = time.perf_counter()
    options = ["--ratings", str(folder / "prepared"), "--output_dir", str(folder / "run"), "--bf16", "false"]
    data_arguments, model_arguments, masking, training = parse([*RECIPE, *options])
    trainer = build_trainer(prepare(data_arguments), model_arguments, masking, training)
    trainer.train()
    return _measured(start)


def _measured(start: float) -> dict[str, float]:
    seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time()}
    return seconds | {"megabytes": process_megabytes("VmHWM")}


if __name__ == "__main__":
    main()
