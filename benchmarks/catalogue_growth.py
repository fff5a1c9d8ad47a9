"""Loading and serving of a model's folder while its catalogue doubles: time, memory, disk, and recall.

    python -m benchmarks.catalogue_growth
    python -m benchmarks.catalogue_growth --before 0814ab3

Untrained models of width 64 with made-up titles, years, genres and counts. Every measurement loads the folder in a new
process, on one thread, with the code in the folder; with `--before`, the code of an earlier commit takes turns. Times
are CPU time, which other processes hardly change. The first request of each kind builds what later ones use, so it is
timed separately. Recall compares the pipeline's best ten with the model's exact logits.
"""

from __future__ import annotations

import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import serve_folder
from benchmarks.measure import ROOT, benchmark_parser, cpu_load, rotated, row, run_in_subprocess, write_result
from benchmarks.models import FIRST_ITEM_ID, untrained_model
from benchmarks.scaling_curves import exponents
from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.model.pipeline_bert4rec import TASK

HIDDEN_SIZE, WINDOW = 64, 200
NOW, BEFORE = "", "before"
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
    set_up_console()
    parser = benchmark_parser(__doc__, repeats=3)
    parser.add_argument("--items", type=int, default=62_500, help="the smallest catalogue")
    parser.add_argument("--doublings", type=int, default=4, help="how often it is doubled")
    parser.add_argument("--calls", type=int, default=100, help="requests per measurement")
    parser.add_argument("--before", help="a commit whose code is measured as well")
    arguments = parser.parse_args(argv)
    load, versions = cpu_load(), [NOW] if arguments.before is None else [NOW, BEFORE]
    sizes = [arguments.items * 2**doubling for doubling in range(arguments.doublings + 1)]
    measured = {size: measure_size(arguments, size, versions) for size in tqdm(sizes, disable=None)}
    rows, curves = [], []
    for version in versions:
        for name in measured[sizes[0]][version][0]:
            label = f"{name}, {version} ({arguments.before})" if version else name
            values = {size: [repeat[name] for repeat in measured[size][version]] for size in sizes}
            rows.append(size_row(f"{sizes[-1]:,} items, {label}", name, values[sizes[-1]], {} if version else TARGETS))
            quantity = "megabytes" if name in MEGABYTES else "seconds"
            points = [{"size": size, quantity: values[size]} for size in sizes]
            if name not in CURVES:
                continue
            rows.append(row(f"{label} vs catalogue size", "exponent", exponents(points, quantity)))
            curves.append({"work": f"{name}, {version}" if version else name, "axis": "items", "points": points})
    write_result(arguments, "catalogue_growth", rows, load, curves=curves)


def size_row(label: str, name: str, values: list[float], targets: dict[str, dict[str, float]]) -> dict[str, Any]:
    """A row in the unit of its measurement: milliseconds of requests, seconds, megabytes or a share."""
    if name.startswith("request"):
        return row(label, "ms", [1e3 * value for value in values], **targets.get(name, {}))
    unit = "MB" if name in MEGABYTES else "" if name.startswith("recall") else "s"
    return row(label, unit, values, **targets.get(name, {}))


def measure_size(arguments: Namespace, items: int, versions: list[str]) -> dict[str, list[dict[str, float]]]:
    """Every repeat's measurements of each version of the code, which take turns."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {NOW: save_untrained(Path(temporary) / "now", items)}
        if BEFORE in versions:
            folders[BEFORE] = with_code_of(folders[NOW], Path(temporary) / "before", arguments.before)
        measured: dict[str, list[dict[str, float]]] = {version: [] for version in versions}
        for repeat in range(arguments.repeats):
            for version in rotated(versions, repeat):
                options = [folders[version], "--calls", arguments.calls]
                measured[version].append(run_in_subprocess(serve_folder.__file__, options))
    return measured


def save_untrained(folder: Path, items: int) -> Path:
    """Save an untrained recommender of this many items."""
    tokenizer = Bert4RecTokenizer.from_movies(*made_up_movies(items))
    model = untrained_model(items + FIRST_ITEM_ID, HIDDEN_SIZE, WINDOW, initializer_range=0.1).eval()
    MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK).save_pretrained(folder)
    return folder


def made_up_movies(items: int) -> tuple[dict[str, list[Any]], dict[int, int]]:
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


def with_code_of(folder: Path, copy: Path, commit: str) -> Path:
    """The same folder with the code of an earlier commit; its other files are links."""
    copy.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".py":
            (copy / path.name).hardlink_to(path)
    package = "hf_bert4rec/model/"
    for name in _git("ls-tree", "--name-only", commit, package).split():
        if name.endswith("_bert4rec.py"):
            (copy / Path(name).name).write_text(_git("show", f"{commit}:{name}"), encoding="utf-8")
    return copy


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
