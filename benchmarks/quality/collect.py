"""Keep the results of finished runs, and write the tables from them.

    python -m benchmarks.quality.collect outputs/ml-1m outputs/ml-100k
    python -m benchmarks.quality.collect                                  # the tables alone

Each run becomes one JSON in `training/results/`: recipe, seed, curve, test figures with intervals, seconds, hardware
and the hash of the test targets. The tables in `docs/evaluation.md`, in `training/results/README.md` and in the README
are written from those files, from the files of ablate.py and compare.py, and from `published.yaml`, which holds the
figures of others and their sources. The curve of every recipe's first run becomes a picture next to its JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.quality.tables import (
    ablation_tables,
    comparison_table,
    format_tables,
    headline_table,
    recipe_of,
    sampled_tables,
)
from hf_bert4rec.evaluation.report import REPORT_FILE, load_report
from hf_bert4rec.files import atomic_write, write_json, write_text
from hf_bert4rec.hub.card.curve import draw_curve
from hf_bert4rec.hub.staging import TRAINING_FILE

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
METRICS = ("ndcg@10", "hit_rate@10", "mrr")
SAMPLED = ("ndcg@10", "hit_rate@10")
COMPARED = ("markov", "popularity")
PAGE = ROOT / "docs" / "evaluation.md"
MARKS = ("<!-- results: written by benchmarks/quality/collect.py -->", "<!-- end of results -->")
HEADLINE_MARKS = ("<!-- headline: written by benchmarks/quality/collect.py -->", "<!-- end of headline -->")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="exported and evaluated models")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results are kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with all tables")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="the file with the headline table")
    arguments = parser.parse_args(argv)
    collected = [result_of(folder) for folder in arguments.folders]
    for result in collected:
        write_json(arguments.results / f"{name_of(result)}.json", result)
    files = sorted(arguments.results.glob("*-seed*.json"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    published = yaml.safe_load((arguments.results / "published.yaml").read_text(encoding="utf-8"))
    changes = sorted((arguments.results / "ablations").glob("*.json"))
    ablations = [json.loads(path.read_text(encoding="utf-8")) for path in changes]
    compared = sorted((arguments.results / "comparisons").glob("*.json"), key=lambda path: path.stem)
    comparisons = [json.loads(path.read_text(encoding="utf-8")) for path in compared]
    parts = [format_tables(results, published), *sampled_tables(results, published)]
    parts += [comparison_table(comparisons), *ablation_tables(ablations)]
    tables = "\n\n".join(part for part in parts if part)
    curves = [show_curve(result, arguments.results, result in collected) for result in first_runs(results)]
    for path, marks, contents in (
        (arguments.results / "README.md", MARKS, [tables, *curves]),
        (arguments.page, MARKS, [tables]),
        (arguments.readme, HEADLINE_MARKS, [headline_table(results, published)]),
    ):
        write_text(path, between_marks(path, marks, "\n\n".join(part for part in contents if part)))
        print(f"written: {path}")


def result_of(folder: Path) -> dict[str, Any]:
    """What is kept of a run: a part of its `training.json` and of its `evaluation.json`.

    Raises:
        FileNotFoundError: it was not trained by `training/train.py`, or not evaluated.
        ValueError: it was evaluated otherwise than on the leave-one-out test split.
    """
    if not (folder / TRAINING_FILE).is_file():
        raise FileNotFoundError(f"{folder} has no {TRAINING_FILE}: it was not made by training/train.py")
    training = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    report = load_report(folder / REPORT_FILE)
    protocol = report["protocol"]
    if (protocol["split"], protocol["part"]) != ("leave-one-out", "test"):
        raise ValueError(
            f"{folder} was evaluated on {protocol['split']}, {protocol['part']}: results are kept of tests"
        )
    sampled: dict[str, Any] = report["sampled"]
    kept = ("dataset", "command", "options", "seconds", "hardware", "parameters", "best_validation_ndcg@10", "curve")
    return {
        **{name: training[name] for name in kept},
        "targets_sha256": protocol["targets_sha256"],
        "catalogue_size": protocol["catalogue_size"],
        "users": protocol["counts"]["users"],
        "test": {metric: report["metrics"][metric] for metric in METRICS},
        "baselines": {
            name: {
                "test": {metric: report["baselines"][name]["metrics"][metric] for metric in METRICS},
                "difference": {metric: report["baselines"][name]["difference"][metric] for metric in METRICS},
            }
            for name in COMPARED
        },
        "sampled": {name: {metric: rows["model"][metric] for metric in SAMPLED} for name, rows in sampled.items()},
        "environment": report["environment"],
    }


def name_of(result: dict[str, Any]) -> str:
    """The name of a result's file: data set, recipe and seed."""
    return f"{result['dataset'].removesuffix('.txt')}-{recipe_of(result)}-seed{result['options']['seed']}"


def first_runs(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every recipe on every data set the run with the smallest seed."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for result in sorted(results, key=lambda result: result["options"]["seed"]):
        first.setdefault((result["dataset"], recipe_of(result)), result)
    return list(first.values())


def show_curve(result: dict[str, Any], folder: Path, anew: bool) -> str:
    """The Markdown that shows a run's curve; the picture is drawn into `folder` where it is missing, or `anew`."""
    picture = folder / f"{name_of(result)}.png"
    if anew or not picture.is_file():
        evaluated = [entry for entry in result["curve"] if "eval_ndcg@10" in entry]
        best = max(evaluated, key=lambda entry: entry["eval_ndcg@10"], default={"step": None})
        with atomic_write(picture) as temporary:
            temporary.write_bytes(draw_curve({**result, "best_step": best["step"]}))
    title = f"**{recipe_of(result)}** on {result['dataset']}, seed {result['options']['seed']}:"
    return f"{title}\n\n![Training loss and validation NDCG@10 by epoch]({picture.name})"


def between_marks(path: Path, marks: tuple[str, str], tables: str) -> str:
    """The text of a file with the tables between its marks.

    Raises:
        ValueError: the file lacks the marks.
    """
    text = path.read_text(encoding="utf-8")
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    if not re.search(pattern, text, flags=re.DOTALL):
        raise ValueError(f"{path} lacks the lines {marks[0]!r} and {marks[1]!r}, between which the tables go")
    marked = "\n\n".join(part for part in (marks[0], tables, marks[1]) if part)
    return re.sub(pattern, lambda _: marked, text, flags=re.DOTALL)


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
