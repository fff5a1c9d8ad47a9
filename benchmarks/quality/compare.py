"""Compare two groups of models, each the same recipe with several seeds, user by user on the same held-out movies.

    python -m benchmarks.quality.compare outputs/with-42 outputs/with-43 --than outputs/without-42 outputs/without-43
    python -m benchmarks.quality.compare outputs/with-42 outputs/with-43 --than markov

Of each group the mean over its models is taken for every user, and the mean difference of the users gets a paired
bootstrap interval. Models that know times are also told when they are asked. Data options default to what the first
model was trained with; `--result FILE` keeps what was found.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.cli.evaluate import prepare_for
from hf_bert4rec.cli.model_options import find_model, parse_model_options
from hf_bert4rec.data.prepare import DataArguments
from hf_bert4rec.evaluation.assessment import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.baselines import MarkovScorer
from hf_bert4rec.evaluation.bootstrap import Interval, difference_intervals, intervals
from hf_bert4rec.evaluation.metrics import FloatArray
from hf_bert4rec.evaluation.task import WITH_TIMES, build_task, time_ablations
from hf_bert4rec.files import write_json
from hf_bert4rec.hub.staging import TRAINING_FILE
from hf_bert4rec.training.hardware import disable_malloc_trim

KS = (10,)
MARKOV = "markov"
METRICS = ("ndcg@10", "hit_rate@10")
HISTORY = "when the movies of the history were seen"
PerUser = dict[str, FloatArray]


@dataclass
class ComparisonArguments:
    """What is compared with, and where what was found goes."""

    than: list[str] = field(default_factory=list, metadata={"help": "the other group, or markov"})
    part: str = field(default="test", metadata={"help": "part of the split", "choices": ("validation", "test")})
    result: str | None = field(default=None, metadata={"help": "a JSON file to write"})


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    _, folders, options, arguments = parse_model_options(
        list(sys.argv[1:] if argv is None else argv), ComparisonArguments, __doc__
    )
    if not arguments.than:
        raise ValueError("nothing to compare with: name models after --than")
    ours = mean_of(folders, options, arguments.part)
    if arguments.than == [MARKOV]:
        theirs, than = markov(folders[0], options, arguments.part), "Markov chain"
    else:
        others = [find_model(name) for name in arguments.than]
        theirs, than = mean_of(others, options, arguments.part)[HISTORY], trained_with(others[0])
    found = {told: compare(per_user, theirs) for told, per_user in ours.items()}
    for told, metrics in found.items():
        print("\n".join(lines_of(told, metrics)))
    if arguments.result is not None:
        kept = {"dataset": options.dataset, "recipe": trained_with(folders[0]), "models": len(folders), "than": than}
        write_json(Path(arguments.result), {**kept, "part": arguments.part, "found": found})
        print(f"written: {arguments.result}")


def trained_with(folder: Path) -> str:
    """Recipe and options that a model was trained with, its seed left out."""
    command = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))["command"]
    words = shlex.split(command)[2:]
    if "--seed" in words:
        del words[words.index("--seed") : words.index("--seed") + 2]
    return shlex.join([Path(words[0]).name, *words[1:]])


def markov(folder: Path, options: DataArguments, part: str) -> PerUser:
    """What the Markov chain reaches for every user, (users,), in the vocabulary of this model."""
    task = build_task(prepare_for(folder, options), part)
    return evaluate_scorer(MarkovScorer(task.known, task.vocab_size), task, KS, name=MARKOV).per_user


def mean_of(folders: Sequence[Path], options: DataArguments, part: str) -> dict[str, PerUser]:
    """Every metric of every user, the mean over the models, by what these were told of times."""
    all_of_them = [per_user_of(folder, options, part) for folder in folders]
    return {
        told: {name: np.mean([found[told][name] for found in all_of_them], axis=0) for name in METRICS}
        for told in all_of_them[0]
    }


def per_user_of(folder: Path, options: DataArguments, part: str) -> dict[str, PerUser]:
    """Every metric of every user, (users,), by what the model was told of times."""
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    data = prepare_for(folder, options)
    task = build_task(data, part, timed=model.config.time_aware)
    tasks = {HISTORY: task}
    if model.config.time_aware:
        tasks |= {told: other for told, other in time_ablations(task, data, part).items() if told == WITH_TIMES}
    scorer = ModelScorer(model, data.tokenizer)
    return {told: evaluate_scorer(scorer, each, KS, name=str(folder)).per_user for told, each in tasks.items()}


def compare(ours: PerUser, theirs: PerUser) -> dict[str, dict[str, Any]]:
    """Mean of both, the difference with its interval, and what share of theirs that is."""
    differences = difference_intervals(ours, theirs)
    means, others = intervals(ours), intervals(theirs)
    return {
        name: {
            "mean": means[name].mean,
            "other": others[name].mean,
            "difference": differences[name]._asdict(),
            "share": Interval(*(bound / others[name].mean for bound in differences[name]))._asdict(),
        }
        for name in METRICS
    }


def lines_of(told: str, metrics: dict[str, dict[str, Any]]) -> list[str]:
    """A line a metric."""
    lines = [told]
    for name, found in metrics.items():
        difference, share = found["difference"], found["share"]
        bounds = f"[{difference['low']:+.4f}, {difference['high']:+.4f}]"
        lines.append(
            f"  {name:<11} {found['mean']:.4f} and {found['other']:.4f}: {difference['mean']:+.4f} {bounds}, "
            f"{share['mean']:+.1%} [{share['low']:+.1%}, {share['high']:+.1%}]"
        )
    return lines


if __name__ == "__main__":
    disable_malloc_trim()  # of the scores of one batch for those of the next
    main()
