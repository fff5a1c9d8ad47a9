"""Record how evaluated models serve new users and find related items, and write this to docs/evaluation.md.

    python -m benchmarks.quality.new_users outputs/ml-100k-new-users outputs/ml-latest-small-new-users outputs/ml-1m
    python -m benchmarks.quality.new_users                                # the text only

The figures are those of each folder's `evaluation.json`; `make new-users` trains and evaluates the first two. One JSON
file per data set and seed of the training goes to `training/results/new_users/`. The text has the sections of the first
seed, and the means of all.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.markdown import read_json_files, replace_between_marks
from benchmarks.measure import ROOT, script_parser
from hf_bert4rec.evaluation.report import REPORT_FILE, load_report
from hf_bert4rec.evaluation.report_text import Rows, format_taste, markdown, scorer_label
from hf_bert4rec.evaluation.trained_model import training_record
from hf_bert4rec.files import write_json

RESULTS, PAGE = ROOT / "training" / "results" / "new_users", ROOT / "docs" / "evaluation.md"
MARKS = ("<!-- new users: written by benchmarks/quality/new_users.py -->", "<!-- end of new users -->")
LENGTHS = ("1", "3", "5")
RECORDED = ("new_users", "related_items", "environment")


def record(folder: Path) -> None:
    """Copy the sections of a folder's report to the result file of its data set and seed."""
    report, seed = load_report(folder / REPORT_FILE), training_record(folder)["options"]["seed"]
    dataset = report["protocol"]["dataset"]
    sections = {name: report[name] for name in RECORDED if name in report}
    result = {"dataset": dataset, "seed": seed, **sections}
    write_json(RESULTS / f"{dataset.removesuffix('.txt')}-seed{seed}.json", result)


def text() -> str:
    """For every data set the sections of the first seed, as in a model card, and the means of all seeds."""
    parts = []
    for dataset, group in groupby(read_json_files(RESULTS), lambda result: result["dataset"]):
        seeds = list(group)
        parts.append(f"### On {dataset}\n" + "\n".join(format_taste(seeds[0], markdown)))
        if len(seeds) > 1:
            names = ", ".join(str(result["seed"]) for result in seeds)
            parts.append(f"Mean and standard deviation of seeds {names} of training and draws:")
            parts.append(markdown(means_table(seeds)))
    return "\n\n".join(parts)


def means_table(seeds: Sequence[Mapping[str, Any]]) -> Rows:
    """NDCG@10 of new users and related items found by every scorer over the seeds of a data set; header first."""
    sections = {f"{length} liked": [result["new_users"]["results"][length] for result in seeds] for length in LENGTHS}
    columns = [("ndcg@10", results) for results in sections.values()]
    columns.append(("found@10", [result["related_items"]["results"] for result in seeds]))
    rows: Rows = [["NDCG@10, found@10", *sections, "related items"]]
    for scorer in seeds[0]["related_items"]["results"]:
        cells = []
        for metric, results in columns:
            values = [each[scorer]["metrics"][metric]["mean"] for each in results if scorer in each]
            cells.append(f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" if values else "")
        rows.append([scorer_label(scorer), *cells])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="evaluated models")
    for folder in parser.parse_args(argv).folders:
        record(folder)
    replace_between_marks(PAGE, MARKS, text())


if __name__ == "__main__":
    main()
