"""Loading and serving of a model's folder while its catalogue doubles: time, memory, disk, and recall.

    python -m benchmarks.catalogue_growth

Untrained models of width 64 with made-up titles, years, genres and counts. Every measurement loads the folder in a new
process, on one thread. Times are CPU time, which other processes hardly change. The first request of each kind builds
what later ones use, so it is timed separately. Recall compares the pipeline's best ten with the model's exact logits.
"""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.measure import ROOT, benchmark_parser, cpu_load, row, write_result
from benchmarks.models import FIRST_ITEM_ID, untrained_model
from benchmarks.scaling_curves import exponents
from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK

HIDDEN_SIZE, WINDOW = 64, 200
MEGABYTES = ("resident memory", "disk")
CURVES = ("load", "first title", "first filter", "request p50", *MEGABYTES)
TARGETS: dict[str, dict[str, float]] = {  # of the largest catalogue, in the units of the rows
    "load": {"at_most": 3},
    "first title": {"at_most": 0.5},
    "first filter": {"at_most": 0.2},
    "request p50": {"at_most": 10},
    "recall of the best 10": {"at_least": 0.999},
}
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou"]
GENRES = [f"Genre {number}" for number in range(20)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=3)
    parser.add_argument("--items", type=int, default=62_500, help="the smallest catalogue")
    parser.add_argument("--doublings", type=int, default=4, help="how often it is doubled")
    parser.add_argument("--calls", type=int, default=100, help="requests per measurement")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    sizes = [arguments.items * 2**doubling for doubling in range(arguments.doublings + 1)]
    measured = {size: measure_size(arguments, size) for size in tqdm(sizes, disable=None)}
    rows, curves = [], []
    for name in measured[sizes[0]][0]:
        values = {size: [repeat[name] for repeat in measured[size]] for size in sizes}
        rows.append(size_row(f"{sizes[-1]:,} items, {name}", name, values[sizes[-1]]))
        if name in CURVES:
            quantity = "megabytes" if name in MEGABYTES else "seconds"
            points = [{"size": size, quantity: values[size]} for size in sizes]
            rows.append(row(f"{name} vs catalogue size", "exponent", exponents(points, quantity)))
            curves.append({"work": name, "axis": "items", "points": points})
    write_result(arguments, "catalogue_growth", rows, load, curves=curves)


def size_row(label: str, name: str, values: list[float]) -> dict[str, Any]:
    """A row in the unit of its measurement: milliseconds of requests, seconds, megabytes or a share."""
    if name.startswith("request"):
        return row(label, "ms", [1e3 * value for value in values], **TARGETS.get(name, {}))
    unit = "MB" if name in MEGABYTES else "" if name.startswith("recall") else "s"
    return row(label, unit, values, **TARGETS.get(name, {}))


def measure_size(arguments: Namespace, items: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        save_untrained(Path(folder), items)
        command = [sys.executable, "-m", "benchmarks.serve_folder", folder, "--calls", str(arguments.calls)]
        outputs = [subprocess.check_output(command, cwd=ROOT, text=True) for _ in range(arguments.repeats)]
        return [json.loads(output.splitlines()[-1]) for output in outputs]


def save_untrained(folder: Path, items: int) -> None:
    tokenizer = Bert4RecTokenizer.from_movies(*synthetic_movies(items))
    model = untrained_model(items + FIRST_ITEM_ID, HIDDEN_SIZE, WINDOW, initializer_range=0.1).eval()
    MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK).save_pretrained(folder)


def synthetic_movies(items: int) -> tuple[dict[str, list[Any]], dict[int, int]]:
    """A table of movies, and interactions per movie: some titles have articles, accents, other names or a namesake."""
    generator = np.random.default_rng(0)
    syllables = np.array(SYLLABLES)[generator.integers(0, len(SYLLABLES), (items, 9))]
    titles = [f"{''.join(row[:3])} {''.join(row[3:6])} {''.join(row[6:])}".title() for row in syllables]
    for form, every in (("{}, The", 10), ("The {}", 11), ("É{}", 30), ("{} (a.k.a. New {})", 12)):
        titles[::every] = [form.format(title, title) for title in titles[::every]]
    genres = generator.integers(0, len(GENRES), (items, 2))
    movies = {
        "movie_id": list(range(1, items + 1)),
        "title": titles,
        "year": generator.integers(1920, 2026, items).tolist(),
        "genres": [[GENRES[first], GENRES[second]] for first, second in genres],
    }
    return movies, dict(enumerate(generator.zipf(1.5, items).clip(max=10**6).tolist(), start=1))


if __name__ == "__main__":
    main()
