"""Keep the results of finished runs, and write the tables from them.

    python training/collect.py outputs/ml-1m outputs/ml-100k
    python training/collect.py                                  # the tables alone

Each run becomes one JSON in `training/results/`: recipe, seed, curve, test figures with intervals, seconds, hardware
and the hash of the test targets. The tables in the README and in `training/results/README.md` are written from those
files, from what training/ablate.py kept, and from `published.yaml`, which holds the figures of others and where they
stand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout works uninstalled

from hf_bert4rec.evaluation.report import REPORT_FILE, load_report
from hf_bert4rec.files import write_json, write_text
from hf_bert4rec.hub_stage import TRAINING_FILE

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "training" / "results"
METRICS = ("ndcg@10", "hit_rate@10", "mrr")
SAMPLED = ("ndcg@10", "hit_rate@10")
COMPARED = ("markov", "popularity")
MARKS = ("<!-- results: written by training/collect.py -->", "<!-- end of results -->")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="exported and evaluated models")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results are kept")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="the file that shows the table")
    arguments = parser.parse_args(argv)
    for folder in arguments.folders:
        result = result_of(folder)
        write_json(arguments.results / f"{name_of(result)}.json", result)
    files = sorted(arguments.results.glob("*-seed*.json"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    published = yaml.safe_load((arguments.results / "published.yaml").read_text(encoding="utf-8"))
    ablations = [
        json.loads(path.read_text(encoding="utf-8")) for path in (arguments.results / "ablations").glob("*.json")
    ]
    comparisons = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((arguments.results / "comparisons").glob("*.json"))
    ]
    found = (format_tables(results, published), comparison_table(comparisons), *ablation_tables(ablations))
    tables = "\n\n".join(part for part in found if part)
    for path in (arguments.results / "README.md", arguments.readme):
        write_text(path, between_marks(path, tables))
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


def recipe_of(result: dict[str, Any]) -> str:
    """The name of the recipe, with a hint where the command line changed it."""
    words = [word for word in result["command"].split()[2:] if not word.startswith(("--seed", "--dataset"))]
    last = any(word.startswith("--train_on_validation") for word in words)
    changed = any(word.startswith("--") and not word.startswith("--train_on_validation") for word in words[1:])
    return Path(words[0]).stem + ("-last" if last else "") + ("-changed" if changed else "")


def format_tables(results: list[dict[str, Any]], published: dict[str, Any]) -> str:
    """One table a data set: our runs and baselines beside what others published, best NDCG@10 first."""
    parts = []
    for dataset in sorted({result["dataset"] for result in results}):
        ours = [result for result in results if result["dataset"] == dataset]
        rows = [row for result in ours for row in run_rows(result)] + mean_rows(ours)
        rows += [
            (entry["ndcg@10"], f"| {entry['model']} | {entry['ndcg@10']:.4f} | {_other(entry)} | | {entry['source']} |")
            for entry in published.get(dataset, [])
        ]
        unique = sorted(set(rows), reverse=True)
        head = f"**{dataset}**: {ours[0]['users']:,} users, {ours[0]['catalogue_size']:,} items, targets "
        parts.append(f"{head}`{ours[0]['targets_sha256'][:8]}`\n\n| | NDCG@10 | HR@10 | training | source |")
        parts[-1] += "\n|---|---|---|---|---|\n" + "\n".join(row for _, row in unique)
    return "\n\n".join(parts)


def comparison_table(comparisons: list[dict[str, Any]]) -> str:
    """What `training/compare.py` kept of recipes with `time_aware` and without, a row for what the model was told."""
    if not comparisons:
        return ""
    lines = [
        "**With times and without**, the same recipe and test items, NDCG@10, mean over seeds, paired by user",
        "",
        "| data set | seeds | the model knows | with | without | difference | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for kept in comparisons:
        for told, metrics in kept["found"].items():
            found = metrics["ndcg@10"]
            share = f"{found['share']['mean']:+.1%} [{found['share']['low']:+.1%}, {found['share']['high']:+.1%}]"
            lines.append(
                f"| {kept['dataset']} | {len(kept['models'])} | {told} | {found['mean']:.4f} | {found['other']:.4f} | "
                f"{_signed(found['difference'])} | {share} |"
            )
    return "\n".join(lines)


def _signed(figure: dict[str, float]) -> str:
    return f"{figure['mean']:+.4f} [{figure['low']:+.4f}, {figure['high']:+.4f}]"


def ablation_tables(ablations: list[dict[str, Any]]) -> list[str]:
    """One table a recipe that was run with one change at a time: what is kept of validation, best first."""
    tables = []
    for recipe in sorted({run["recipe"] for run in ablations}):
        runs = sorted((run for run in ablations if run["recipe"] == recipe), key=_validation, reverse=True)
        whole = next(_validation(run) for run in runs if not run["change"])
        command = f"python training/ablate.py training/recipes/{recipe} {' '.join(runs[0]['options'])}".rstrip()
        lines = [
            f"**One change at a time**, on validation, seed {runs[0]['seed']}: `{command}`",
            "",
            "| change | NDCG@10 | difference |",
            "|---|---|---|",
        ]
        for run in runs:
            difference = f" {_validation(run) - whole:+.4f}" if run["change"] else ""
            lines.append(f"| {run['name']} | {_validation(run):.4f} |{difference} |")
        tables.append("\n".join(lines))
    return tables


def _validation(run: dict[str, Any]) -> float:
    return run["best_validation_ndcg@10"]


def run_rows(result: dict[str, Any]) -> list[tuple[float, str]]:
    """The rows of a run and of the baselines on its targets, each with the figure to sort by."""
    command = result["command"]
    time = f"{result['seconds'] / 60:.0f} min on {result['hardware']}"
    test = result["test"]
    rows = [
        (
            test["ndcg@10"]["mean"],
            f"| **ours**, {recipe_of(result)}, seed {result['options']['seed']} | {_interval(test['ndcg@10'])} | "
            f"{_interval(test['hit_rate@10'])} | {time} | `{command}` |",
        )
    ]
    for name, baseline in result["baselines"].items():
        test = baseline["test"]
        row = f"| {name} | {_interval(test['ndcg@10'])} | {_interval(test['hit_rate@10'])} | | measured here |"
        rows.append((test["ndcg@10"]["mean"], row))
    return rows


def mean_rows(results: list[dict[str, Any]]) -> list[tuple[float, str]]:
    """A row for every recipe that was run with several seeds: mean and standard deviation over them."""
    rows = []
    for recipe in sorted({recipe_of(result) for result in results}):
        runs = [result["test"] for result in results if recipe_of(result) == recipe]
        if len(runs) > 1:
            figures = [[run[metric]["mean"] for run in runs] for metric in ("ndcg@10", "hit_rate@10")]
            shown = " | ".join(f"**{mean(values):.4f}** ± {stdev(values):.4f}" for values in figures)
            rows.append((mean(figures[0]), f"| **ours**, {recipe}, mean of {len(runs)} seeds | {shown} | | |"))
    return rows


def between_marks(path: Path, tables: str) -> str:
    """The text of a file with the tables between its marks."""
    text = path.read_text(encoding="utf-8")
    pattern = re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1])
    if not re.search(pattern, text, flags=re.DOTALL):
        raise ValueError(f"{path} has no place for the tables: the lines {MARKS[0]!r} and {MARKS[1]!r}")
    whole = "\n\n".join(part for part in (MARKS[0], tables, MARKS[1]) if part)
    return re.sub(pattern, lambda _: whole, text, flags=re.DOTALL)


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def _other(entry: dict[str, Any]) -> str:
    return f"{entry['hit_rate@10']:.4f}" if "hit_rate@10" in entry else ""


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
