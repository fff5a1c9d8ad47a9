"""Record the quality for new users and the kin found by evaluated models, and write them to docs/evaluation.md.

    python -m benchmarks.quality.new_users outputs/ml-100k-new-users outputs/ml-latest-small-new-users outputs/ml-1m
    python -m benchmarks.quality.new_users                                # the text only

The figures are those of each folder's `evaluation.json`; `make new-users` trains and evaluates the first two. One JSON
file per data set goes to `training/results/new_users/`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import replace_between_marks
from benchmarks.measure import ROOT
from hf_bert4rec.evaluation.report import REPORT_FILE, load_report
from hf_bert4rec.evaluation.report_text import markdown, taste_sections
from hf_bert4rec.files import write_json

RESULTS, PAGE = ROOT / "training" / "results" / "new_users", ROOT / "docs" / "evaluation.md"
MARKS = ("<!-- new users: written by benchmarks/quality/new_users.py -->", "<!-- end of new users -->")
RECORDED = ("new_users", "kin", "environment")


def record(folder: Path) -> None:
    """Copy the sections of a folder's report to the result file of its data set."""
    report = load_report(folder / REPORT_FILE)
    dataset = report["protocol"]["dataset"]
    sections = {name: report[name] for name in RECORDED if name in report}
    write_json(RESULTS / f"{dataset.removesuffix('.txt')}.json", {"dataset": dataset, **sections})


def text() -> str:
    """The sections of every result file, as in a model card."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return "\n\n".join(map(section, results))


def section(result: Mapping[str, Any]) -> str:
    return f"### On {result['dataset']}\n" + "\n".join(taste_sections(result, markdown))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="evaluated models")
    for folder in parser.parse_args(argv).folders:
        record(folder)
    replace_between_marks(PAGE, MARKS, text())


if __name__ == "__main__":
    main()
