"""Time and memory of an evaluation as the users double: of a prepared folder, and of its table in memory.

    OMP_NUM_THREADS=1 python -m benchmarks.large_evaluation

The table is a made-up log in the shape of MovieLens, in parts with users of their own and one catalogue. An untrained
model with a transition memory, and the baselines, rank all test targets. Each evaluation runs in its own process. Files
of the folder, and the pairs of items that are counted at once, are 1/64 of their size elsewhere: a table of these sizes
has as many chunks as one with 64 times the rows. "anonymous" is the largest resident memory without mapped files,
whose pages the system can drop.
"""

import logging
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.large_data import write_table
from benchmarks.measure import benchmark_parser, cpu_load, largest, row, run_in_process, write_result
from benchmarks.peers.common import process_megabytes
from hf_bert4rec.data import transitions
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder import prepare_folder as folders
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.evaluation.evaluate import evaluate_model
from hf_bert4rec.files import TRAINING_FILE, write_json
from hf_bert4rec.training.arguments import parse_options
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.record import run_options

SIZES = [1_000_000 << doubling for doubling in range(4)]
PART_ROWS = 250_000  # with users of their own
SOURCES = {"folder": "prepared folder", "table": "in memory"}
MEASURES = {"seconds": ("time", "s"), "megabytes": ("peak memory", "MB"), "anonymous": ("anonymous memory", "MB")}
RECIPE = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2, "max_position_embeddings": 50}
RECIPE |= {"num_hidden_layers": 1, "memory_size": 100}
CHUNKS = 64


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="rows of the tables")
    arguments = parser.parse_args(argv)
    folders.ROWS_PER_PARTITION //= CHUNKS
    load = cpu_load()
    points = [measure_size(rows, arguments) for rows in arguments.rows]
    write_result(arguments, "large_evaluation", result_rows(points), load, points=points, curves=curves_of(points))


def measure_size(rows: int, arguments: Namespace) -> dict[str, Any]:
    """Every measure of both sources, one value per repeat."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(rows, folder / "table", part_rows=PART_ROWS)
        manifest = folders.prepare_folder(DataArguments(ratings=str(folder / "table")), folder / "folder")
        write_model(folder)
        point: dict[str, Any] = {"rows": rows, "users": manifest["users"], "items": manifest["items"]}
        for source in SOURCES:
            results = [run_in_process(measure, source, folder) for _ in range(arguments.repeats)]
            point[source] = {key: [result[key] for result in results] for key in results[0]}
        if point["folder"].pop("metrics") != point["table"].pop("metrics"):
            raise ValueError(f"{rows} rows: the metrics of the folder are not those of the table")
    logging.getLogger("hf_bert4rec").info("%s", point)
    return point


def write_model(folder: Path) -> None:
    arguments, _ = parse_options(RECIPE, {"ratings": str(folder / "folder"), "output_dir": str(folder / "model")})
    data = prepare(arguments[0])
    model = build_trainer(data, *arguments[1:]).gathered_model()
    model.save_pretrained(folder / "model")
    data.tokenizer.save_pretrained(folder / "model")
    write_json(folder / "model" / TRAINING_FILE, {"options": run_options(arguments[:-1], arguments[-1])})


def measure(source: str, folder: Path) -> dict[str, Any]:
    transitions.PAIRS_AT_ONCE //= CHUNKS
    start = time.perf_counter()
    # Resident memory that is not of mapped files.
    with largest(lambda: process_megabytes("RssAnon")) as anonymous:
        report = evaluate_model(folder / "model", DataArguments(ratings=str(folder / source)))
    return {
        "seconds": time.perf_counter() - start,
        "megabytes": process_megabytes("VmHWM"),
        "anonymous": anonymous[0],
        "metrics": {name: report[name] for name in ("metrics", "aggregate", "baselines", "slices", "popularity")},
    }


def curves_of(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Time and memory of both sources over the rows."""
    curves = []
    for (key, (measure, unit)), source in product(MEASURES.items(), SOURCES):
        quantity = "seconds" if unit == "s" else "megabytes"
        values = [{"size": point["rows"], quantity: point[source][key]} for point in points]
        curves.append({"work": f"{source}: {measure}", "axis": "rows", "points": values})
    return curves


def result_rows(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        row(f"{point['rows']:,} rows, {point['users']:,} users, {title}, {measure}", unit, point[source][key])
        for point in points
        for source, title in SOURCES.items()
        for key, (measure, unit) in MEASURES.items()
    ]


if __name__ == "__main__":
    main()
