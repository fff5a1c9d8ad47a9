"""Time, memory and disk of `training/spark/prepare.py` as the rows of the table double.

    python -m benchmarks.spark_growth

The tables are those of `large_data`, each in eight Parquet files. Spark runs on two local cores in a process of its
own, with a driver of 4 GB. Time is from the table to the folder's manifest, without the start of Spark, which CPU time
includes. Memory is the largest resident size of the process and all that it started, the Java virtual machine and
Python workers; disk is the largest use of the folder and of Spark's own files.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import psutil
from tqdm import tqdm

from benchmarks.large_data import folder_megabytes, write_table
from benchmarks.measure import ROOT, benchmark_parser, cpu_load, largest, row, run_in_process, write_result
from benchmarks.peers.common import timed
from benchmarks.scaling_curves import exponents
from hf_bert4rec.data.arguments import DataArguments

SIZES = [250_000 << doubling for doubling in range(5)]
FILES = 8  # of a table
CURVES = {
    "time": "seconds",
    "CPU time": "seconds",
    "resident memory": "megabytes",
    "disk while preparing": "megabytes",
    "prepared folder": "megabytes",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="rows of the tables")
    arguments = parser.parse_args(argv)
    load, measured = cpu_load(), dict[int, list[dict[str, float]]]()
    for size in tqdm(arguments.rows, disable=None):
        measured[size] = [measure_size(size) for _ in range(arguments.repeats)]
        curves = curves_of(measured)
        write_result(arguments, "spark_growth", result_rows(curves), load, curves=curves)


def curves_of(measured: Mapping[int, Sequence[dict[str, float]]]) -> list[dict[str, Any]]:
    """A curve of every measure over the rows; `measured` has the repeats of every size."""
    return [
        {
            "work": name,
            "axis": "rows",
            "points": [{"size": size, quantity: [one[name] for one in repeats]} for size, repeats in measured.items()],
        }
        for name, quantity in CURVES.items()
    ]


def result_rows(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of every point, and the exponent of every curve."""
    rows = []
    for curve in curves:
        name, quantity = curve["work"], CURVES[curve["work"]]
        unit = "s" if quantity == "seconds" else "MB"
        rows += [row(f"{point['size']:,} rows, {name}", unit, point[quantity]) for point in curve["points"]]
        if len(curve["points"]) > 1:
            rows.append(row(f"{name} vs rows", "exponent", exponents(curve["points"], quantity)))
    return rows


def measure_size(rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(rows, folder / "table")
        table = folder_megabytes(folder)
        cpu_seconds: dict[int, float] = {}
        with largest(lambda: folder_megabytes(folder)) as disk, largest(lambda: tree_usage(cpu_seconds)) as memory:
            seconds = run_in_process(measure, folder)
        sizes = disk[0] - table, folder_megabytes(folder / "prepared")
        return dict(zip(CURVES, (seconds, sum(cpu_seconds.values()), memory[0], *sizes), strict=True))


def write_files(rows: int, folder: Path) -> None:
    folder.mkdir()
    write_table(rows, folder.with_suffix(".parquet"))
    frame = pl.read_parquet(folder.with_suffix(".parquet"))
    folder.with_suffix(".parquet").unlink()
    size = -(-frame.height // FILES)
    for number, part in enumerate(frame.iter_slices(size)):
        part.write_parquet(folder / f"{number}.parquet")


def tree_usage(cpu_seconds: dict[int, float]) -> float:
    """Resident megabytes of all that this process has started; records the CPU seconds of each by its number."""
    megabytes = 0.0
    with suppress(psutil.NoSuchProcess):  # one has just ended
        for process in psutil.Process().children(recursive=True):
            times = process.cpu_times()
            cpu_seconds[process.pid] = times.user + times.system
            megabytes += process.memory_info().rss / 1e6
    return megabytes


def measure(folder: Path) -> float:
    """Seconds of the preparation with Spark on two local cores."""
    from pyspark.sql import SparkSession

    from training.spark.prepare import prepare_with_spark

    os.environ |= {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.memory", "4g").config("spark.local.dir", str(folder / "spark"))
    spark = builder.config("spark.sql.shuffle.partitions", "8").getOrCreate()
    data = DataArguments(ratings=str(folder / "table"))
    seconds = timed(lambda: prepare_with_spark(spark, data, folder / "prepared"))
    spark.stop()
    return seconds


if __name__ == "__main__":
    main()
