"""Evaluate a trained recommender beside baselines, on the same held-out movies.

    python training/evaluate.py outputs/ml-100k
    python training/evaluate.py someone/bert4rec-ml-1m --dataset ml-1m.txt --examples 5
    python training/evaluate.py outputs/seed-1 outputs/seed-2 outputs/seed-3 --output outputs/three-seeds

Data options default to what the model was trained with. Writes `evaluation.json` and `plots/` into the model's folder,
whose card then shows them (of a model on the Hub: into `outputs/evaluations/`), or into `--output`. Several models are
taken to differ in their seed: each is evaluated into its own folder, and `spread.json` with mean and spread goes to
`--output`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict

from .. import Bert4RecForMaskedLM, Bert4RecTokenizer
from ..data.prepare import DataArguments, Prepared, prepare, split_histories
from ..data.ragged import Ragged
from ..data.splits import check_leakage, target_hash
from ..environment import describe_hardware
from ..evaluation.assessment import ModelScorer, evaluate_scorer
from ..evaluation.baselines import fit_baselines
from ..evaluation.examples import make_examples
from ..evaluation.plots import write_plots
from ..evaluation.report import REPORT_FILE, build_report, spread, times_section, weights_sha256
from ..evaluation.table import format_example, format_report, format_spread
from ..evaluation.task import build_task, time_ablations
from ..files import TRAINING_FILE, write_json
from ..hub.card.render import update_card
from ..training.record import without_places
from .console import set_up_console
from .model_options import parse_model_options, training_options

logger = logging.getLogger(__name__)

SPLIT_OPTIONS = ("split", "targets", "quantile")
IDENTIFYING = ("dataset", "ratings", "min_interactions", "min_rating")  # options that decide the histories


@dataclass
class EvaluationArguments:
    """What is held out, and what is done with it."""

    part: str = field(default="test", metadata={"help": "part of the split", "choices": ("validation", "test")})
    ks: list[int] = field(default_factory=lambda: [5, 10, 20], metadata={"help": "lengths of lists"})
    examples: int = field(default=5, metadata={"help": "histories to print with their recommendations"})
    output: str | None = field(default=None, metadata={"help": "folder for evaluation.json and plots/"})
    seed: int = field(default=0, metadata={"help": "of intervals, sampled negatives, random baseline, examples"})
    batch_size: int = field(default=256, metadata={"help": "users scored at once"})
    device: str | None = field(default=None, metadata={"help": "cuda where there is one, else cpu"})


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    models, folders, options, arguments = parse_model_options(
        list(sys.argv[1:] if argv is None else argv), EvaluationArguments, __doc__
    )
    if min(arguments.ks) < 1 or options.targets < 1:
        raise ValueError(f"--ks {arguments.ks} and --targets {options.targets} count from 1")
    reports = []
    for name, folder in zip(models, folders, strict=True):
        output = output_folder(name, folder, arguments, alone=len(models) == 1)
        report = evaluate(name, folder, options, arguments)
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
        found = spread(reports)
        output = Path(arguments.output or "outputs")
        write_json(output / "spread.json", {"models": models, "metrics": found})
        print(f"\n{len(models)} models\n{format_spread(found)}")


def evaluate(name: str, folder: Path, options: DataArguments, arguments: EvaluationArguments) -> dict[str, Any]:
    """Everything that `evaluation.json` holds about one model.

    Raises:
        ValueError: catalogues that do not match, no targets, NaN scores; `LeakageError` where the model's training
            data hold a target.
    """
    start = time.perf_counter()
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    model.to(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    data = prepare_for(folder, options)
    task = build_task(data, arguments.part, arguments.seed, timed=model.config.time_aware)
    ours = ModelScorer(model, data.tokenizer)
    scorers = fit_baselines(task.known, task.vocab_size, arguments.seed)
    found = evaluate_scorer(ours, task, arguments.ks, arguments.batch_size, name)
    report = build_report(
        task,
        found,
        {label: evaluate_scorer(scorer, task, arguments.ks, name=label) for label, scorer in scorers.items()},
        identity={
            "name": name,
            "weights_sha256": weights_sha256(folder),
            "parameters": model.num_parameters(),
            "window": model.config.max_position_embeddings,
        },
        protocol=protocol_of(data, options, arguments),
        ks=arguments.ks,
        seed=arguments.seed,
        examples=make_examples(ours, task, data.tokenizer, arguments.examples, seed=arguments.seed),
    )
    if model.config.time_aware:
        tasks = time_ablations(task, data, arguments.part)
        others = {
            label: evaluate_scorer(ours, other, arguments.ks, name=f"{name}, {label}") for label, other in tasks.items()
        }
        report["times"] = times_section(found, others, arguments.seed)
    report["environment"]["hardware"] = describe_hardware()
    report["environment"]["seconds"]["all"] = round(time.perf_counter() - start, 2)
    return report


def prepare_for(folder: Path, options: DataArguments) -> Prepared:
    """The data set in the model's own vocabulary, checked against leaks into its training.

    Raises:
        ValueError: the model's catalogue and the data set's differ.
        LeakageError: the split leaks, or the model was trained on what it is asked.
    """
    data = prepare(options)
    tokenizer = Bert4RecTokenizer.from_pretrained(folder)
    check_catalogues(tokenizer, data)
    trained = training_options(folder)
    told = without_places(vars(options))
    if trained is None or any(without_places(trained).get(key) != told[key] for key in IDENTIFYING):
        logger.warning("no record that %s was trained on these data: only the split is checked for leaks", folder)
    else:
        rule = replace(options, **{name: trained[name] for name in SPLIT_OPTIONS if name in trained})
        check_leakage(DatasetDict(data.splits | {"train": split_histories(data.histories, rule)["train"]}))
    return replace(data, tokenizer=tokenizer)


def check_catalogues(tokenizer: Bert4RecTokenizer, data: Prepared) -> None:
    """Raise ValueError unless model and data set have the same items."""
    ours, theirs = set(tokenizer.item_ids), set(data.tokenizer.item_ids)
    missing, extra = theirs - ours, ours - theirs
    if missing or extra:
        shown = ", ".join(map(repr, sorted(missing or extra, key=str)[:3]))
        raise ValueError(
            f"the model's catalogue and that of {data.name} differ: {len(missing):,} items of the data set are missing "
            f"from the model and {len(extra):,} of the model's are not in the data set ({shown}, …): evaluate on the "
            "data set, and with the --min_interactions and --min_rating, that the model was trained with"
        )


def protocol_of(data: Prepared, options: DataArguments, arguments: EvaluationArguments) -> dict[str, Any]:
    """What the report says of the data and the split."""
    named = {"last-n": f"last {options.targets}", "temporal": f"temporal at {options.quantile}"}
    timed = "timestamps" in data.histories.column_names
    return {
        "dataset": data.name,
        "split": named.get(options.split, options.split),
        "part": arguments.part,
        "order": "by user, time, row of the release; stable" if timed else "as the file lists them",
        "min_interactions": options.min_interactions,
        "min_rating": options.min_rating,
        "targets_sha256": target_hash(data.splits[arguments.part]),
        "users_in_all": len(data.histories),
        "interactions_in_all": int(Ragged.from_column(data.histories, "item_ids").lengths.sum()),
        "seeds": dict.fromkeys(("bootstrap", "negatives", "random"), arguments.seed),
    }


def output_folder(name: str, folder: Path, arguments: EvaluationArguments, alone: bool) -> Path:
    """Where a model's evaluation goes."""
    if alone and arguments.output is not None:
        return Path(arguments.output)
    return folder if Path(name).is_dir() else Path("outputs/evaluations") / name.replace("/", "--")
