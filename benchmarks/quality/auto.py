"""NDCG@10 of `fit` with the recipe `auto`, and of baselines, on synthetic data sets and MovieLens releases.

    python -m benchmarks.quality.auto shop ml-latest-small
    python -m benchmarks.quality.auto shop --users 2500 --threads 1
    python -m benchmarks.quality.auto                                     # the table only

Each model is trained with the defaults, then evaluated on the test part. The results are saved in
`training/results/auto/`, one JSON file each, and written to docs/training.md as a table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import read_json_files, replace_between_marks
from benchmarks.measure import ROOT, script_parser
from benchmarks.quality.synthetic_data import SYNTHETIC_DATA
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import evaluate_model
from hf_bert4rec.evaluation.report_text import Rows, markdown, verdicts
from hf_bert4rec.evaluation.trained_model import training_data_options, training_record
from hf_bert4rec.files import write_json
from hf_bert4rec.training.fit import fit

RESULTS = ROOT / "training" / "results" / "auto"
TABLE = ROOT / "docs" / "training.md"
MARKS = ("<!-- auto: written by benchmarks/quality/auto.py -->", "<!-- end of auto -->")
OUTPUTS = ROOT / "outputs" / "auto"
METRIC = "ndcg@10"
BASELINES = ("markov", "item_knn", "popularity")
RECORDED = ("num_users", "num_items", "num_interactions", "auto", "memory", "validation", "seconds", "hardware")


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("names", nargs="*", help=f"releases, or {', '.join(SYNTHETIC_DATA)}")
    parser.add_argument("--users", type=int, help="users of a synthetic data set, by default its own number")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument("--data_dir", help="folder of releases")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name in arguments.names:
        write_json(RESULTS / f"{name}.json", measure(name, arguments.users, arguments.data_dir))
    replace_between_marks(TABLE, MARKS, table(RESULTS))


def measure(name: str, users: int | None, data_dir: str | None) -> dict[str, Any]:
    """Train with the defaults of `fit`, and evaluate on the test part."""
    folder = OUTPUTS / name
    options: dict[str, Any] = {"data_dir": data_dir}
    if name in SYNTHETIC_DATA:
        frame = SYNTHETIC_DATA[name](**({"users": users} if users else {}))
        path = OUTPUTS / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_csv(path)
        options = {"ratings": str(path)}
        fit(path, output_dir=folder, time_column="time" if "time" in frame.columns else None)
    else:
        fit(name, output_dir=folder, data_dir=data_dir)
    data = DataArguments(**{**training_data_options(folder), **options})
    report = evaluate_model(folder, data, EvaluationConfig(ks=[10], examples=0))
    training = training_record(folder)
    return {
        "name": name,
        **{key: training[key] for key in RECORDED},
        "threads": torch.get_num_threads(),
        "environment": training["environment"],
        "targets_sha256": report["protocol"]["targets_sha256"],
        "test": report["metrics"][METRIC],
        "baselines": {
            baseline: {
                "mean": report["baselines"][baseline]["metrics"][METRIC]["mean"],
                "difference": {METRIC: report["baselines"][baseline]["difference"][METRIC]},
            }
            for baseline in BASELINES
        },
    }


def table(folder: Path) -> str:
    """One row per result, synthetic data sets first, then releases."""
    order = {name: index for index, name in enumerate(SYNTHETIC_DATA)}
    results = sorted(read_json_files(folder), key=lambda result: order.get(result["name"], len(order)))
    header = ["data", "users", "items", "interactions", "this model", "Markov", "item-kNN", "popularity", "minutes"]
    rows: Rows = [header, *map(table_row, results)]
    notes = [f"- {result['name']}: {'; '.join(verdicts(result['baselines'], METRIC))}." for result in results]
    return "\n\n".join([markdown(rows), "\n".join(notes)])


def table_row(result: Mapping[str, Any]) -> list[str]:
    """NDCG@10 of the model, with its interval, and of the baselines."""
    test = result["test"]
    return [
        result["name"],
        *(f"{result[key]:,}" for key in ("num_users", "num_items", "num_interactions")),
        f"**{test['mean']:.4f}** [{test['low']:.4f}, {test['high']:.4f}]",
        *(f"{result['baselines'][name]['mean']:.4f}" for name in BASELINES),
        f"{result['seconds'] / 60:.0f}",
    ]


if __name__ == "__main__":
    main()
