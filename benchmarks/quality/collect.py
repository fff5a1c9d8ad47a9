"""Record finished runs as result files, and generate the result tables from these.

    python -m benchmarks.quality.collect outputs/ml-1m outputs/ml-100k
    python -m benchmarks.quality.collect                                  # tables only

Each run becomes one JSON file in `training/results/`: recipe, seed, curve, test metrics with intervals, seconds,
hardware and the hash of the test targets. The tables in `docs/evaluation.md`, `training/results/README.md` and the
README are generated from those files, from the results of `ablate.py` and `compare.py`, and from `published.yaml`,
which holds published figures with their sources. The learning curve of each recipe's first run is drawn next to its
JSON file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.markdown import read_json_files, replace_between_marks
from benchmarks.measure import ROOT, script_parser
from benchmarks.quality.tables import (
    ablation_tables,
    comparison_table,
    headline_table,
    recipe_name,
    result_tables,
    sampled_tables,
)
from hf_bert4rec.evaluation.plots import draw_curve
from hf_bert4rec.evaluation.report import REPORT_FILE, load_report
from hf_bert4rec.files import atomic_write, write_json
from hf_bert4rec.hub.records import read_training

RESULTS = ROOT / "training" / "results"
MARKS = ("<!-- results: written by benchmarks/quality/collect.py -->", "<!-- end of results -->")
HEADLINE_MARKS = ("<!-- headline: written by benchmarks/quality/collect.py -->", "<!-- end of headline -->")
TARGETS = {ROOT / "docs" / "evaluation.md": MARKS, ROOT / "README.md": HEADLINE_MARKS}  # all tables, the headline table
METRICS = ("ndcg@10", "hit_rate@10", "mrr")
SAMPLED_METRICS = ("ndcg@10", "hit_rate@10")
BASELINES = ("markov", "popularity")
RECORDED = ("dataset", "command", "options", "seconds", "hardware", "parameters", "best_validation_ndcg@10", "curve")


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="exported and evaluated models")
    collect(parser.parse_args(argv).folders, RESULTS, TARGETS)


def collect(folders: Sequence[Path], results: Path, targets: Mapping[Path, tuple[str, str]]) -> None:
    """Record the runs of `folders` in `results`, and write the tables to its README.md and to `targets`.

    These are files with the marks between which they show all tables (`MARKS`) or the headline (`HEADLINE_MARKS`).
    """
    new = [run_result(folder) for folder in folders]
    for result in new:
        write_json(results / f"{result_name(result)}.json", result)
    runs = read_json_files(results, "*-seed*.json")
    published = yaml.safe_load((results / "published.yaml").read_text(encoding="utf-8"))
    tables = all_tables(runs, published, results)
    curves = [curve_markdown(run, results, redraw=run in new) for run in first_seeds(runs)]
    replace_between_marks(results / "README.md", MARKS, "\n\n".join([*tables, *curves]))
    texts = {MARKS: "\n\n".join(tables), HEADLINE_MARKS: headline_table(runs, published)}
    for path, marks in targets.items():
        replace_between_marks(path, marks, texts[marks])


def all_tables(runs: list[dict[str, Any]], published: dict[str, Any], results: Path) -> list[str]:
    """All tables as Markdown, those without a row left out."""
    penalised = read_json_files(results / "popularity_penalty")
    tables = [*result_tables(runs, published), *sampled_tables(runs, published, penalised)]
    tables.append(comparison_table(read_json_files(results / "comparisons")))
    tables += ablation_tables(read_json_files(results / "ablations"))
    return [table for table in tables if table]


def run_result(folder: Path) -> dict[str, Any]:
    """The recorded part of a run's `training.json` and `evaluation.json`.

    Raises:
        FileNotFoundError: The folder has no training record, or was not evaluated.
        ValueError: It was evaluated on something else than the leave-one-out test split.
    """
    training, report = read_training(folder), load_report(folder / REPORT_FILE)
    protocol = report["protocol"]
    if (protocol["split"], protocol["part"]) != ("leave-one-out", "test"):
        raise ValueError(
            f"{folder} was evaluated on {protocol['split']}, {protocol['part']}; evaluate it on leave-one-out, test"
        )
    return {
        **{name: training[name] for name in RECORDED},
        "targets_sha256": protocol["targets_sha256"],
        "catalogue_size": protocol["catalogue_size"],
        "users": protocol["counts"]["users"],
        "test": _select(report["metrics"], METRICS),
        "baselines": {
            name: {
                "test": _select(report["baselines"][name]["metrics"], METRICS),
                "difference": _select(report["baselines"][name]["difference"], METRICS),
            }
            for name in BASELINES
        },
        "sampled": {name: _select(rows["model"], SAMPLED_METRICS) for name, rows in report["sampled"].items()},
        "environment": report["environment"],
    }


def _select(metrics: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: metrics[name] for name in names}


def result_name(result: dict[str, Any]) -> str:
    """The stem of a result file: data set, recipe and seed."""
    return f"{result['dataset'].removesuffix('.txt')}-{recipe_name(result)}-seed{result['options']['seed']}"


def first_seeds(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The run with the smallest seed of every recipe and data set."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: run["options"]["seed"]):
        first.setdefault((run["dataset"], recipe_name(run)), run)
    return list(first.values())


def curve_markdown(run: dict[str, Any], folder: Path, redraw: bool) -> str:
    """Markdown that embeds a run's learning curve; draws the picture if it is missing, or with `redraw`."""
    picture = folder / f"{result_name(run)}.png"
    if redraw or not picture.is_file():
        evaluated = [entry for entry in run["curve"] if "eval_ndcg@10" in entry]
        best = max(evaluated, key=lambda entry: entry["eval_ndcg@10"], default={"step": None})
        with atomic_write(picture) as temporary:
            temporary.write_bytes(draw_curve({**run, "best_step": best["step"]}))
    title = f"**{recipe_name(run)}** on {run['dataset']}, seed {run['options']['seed']}:"
    return f"{title}\n\n![Training loss and validation NDCG@10 by epoch]({picture.name})"


if __name__ == "__main__":
    main()
