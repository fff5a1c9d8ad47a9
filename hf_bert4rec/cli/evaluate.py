"""Evaluate a trained model and the baselines on the same held-out movies.

    hf-bert4rec evaluate outputs/ml-100k
    hf-bert4rec evaluate someone/bert4rec-ml-1m --dataset ml-1m.txt --examples 5
    hf-bert4rec evaluate outputs/seed-1 outputs/seed-2 outputs/seed-3 --output outputs/three-seeds

Data options default to those of the training. `evaluation.json` and `plots/` are written into the model's folder, whose
card then shows them (for a model on the Hub, into `outputs/evaluations/`), or into `--output`. Several models are
treated as seeds of one recipe: each is evaluated into its own folder, and `spread.json` with mean and standard
deviation goes to `--output`, by default `outputs`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..evaluation.config import EvaluationConfig
from ..evaluation.evaluate import evaluate_model
from ..evaluation.plots import write_plots
from ..evaluation.report import REPORT_FILE, spread
from ..evaluation.report_text import format_example, format_report, format_spread
from ..files import TRAINING_FILE, write_json
from ..hub.card import update_card
from .model_options import parse_model_options

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationArguments(EvaluationConfig):
    output: str | None = field(default=None, metadata={"help": "folder for evaluation.json and plots/"})


def main(argv: Sequence[str]) -> None:
    models, folders, data, arguments = parse_model_options(argv, EvaluationArguments, "hf-bert4rec evaluate", __doc__)
    reports = []
    for model, folder in zip(models, folders, strict=True):
        report = evaluate_model(model, data, arguments)
        if arguments.output is not None and len(models) == 1:
            output = Path(arguments.output)
        else:
            output = folder if Path(model).is_dir() else Path("outputs/evaluations") / model.replace("/", "--")
        write_json(output / REPORT_FILE, report)
        write_plots(report, output / "plots")
        print(format_report(report))
        for example in report["examples"]:
            print(f"\n{format_example(example)}")
        if output == folder and (folder / TRAINING_FILE).is_file():
            update_card(folder)
        logger.info("written to %s and %s", output / REPORT_FILE, output / "plots")
        reports.append(report)
    if len(reports) > 1:
        metrics = spread(reports)
        write_json(Path(arguments.output or "outputs") / "spread.json", {"models": models, "metrics": metrics})
        print(f"\n{len(models)} models\n{format_spread(metrics, arguments.headline_k)}")
