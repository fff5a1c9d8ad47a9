"""Compare two groups of models on the same test items with paired bootstrap intervals.

    python -m benchmarks.quality.compare outputs/a-42 outputs/a-43 --reference outputs/b-42 outputs/b-43
    python -m benchmarks.quality.compare outputs/a-42 outputs/a-43 --reference markov

A group is one recipe with several seeds: each user's metrics are averaged over its models, then the two groups are
compared user by user. Time-aware models are also evaluated with the time of the query. Data options default to those
that the first model was trained with. Prints a table of NDCG@10; `--result FILE` saves the comparison as JSON.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.tables import comparison_table
from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.cli.main import set_up_console
from hf_bert4rec.cli.model_options import parse_model_options
from hf_bert4rec.data.arguments import DataArguments, option
from hf_bert4rec.data.ragged import FloatArray
from hf_bert4rec.evaluation.baselines import MarkovScorer
from hf_bert4rec.evaluation.bootstrap import intervals
from hf_bert4rec.evaluation.config import PARTS, EvaluationConfig
from hf_bert4rec.evaluation.evaluate import prepare_for_model, refill_memory
from hf_bert4rec.evaluation.scoring import ModelScorer, evaluate_scorer
from hf_bert4rec.evaluation.task import WITH_TIMES, build_task, time_ablations
from hf_bert4rec.evaluation.trained_model import find_model, training_record
from hf_bert4rec.files import write_json
from hf_bert4rec.training.hardware import disable_malloc_trim

KS = [10]
MARKOV = "markov"
METRICS = ("ndcg@10", "hit_rate@10")
HISTORY_INPUT, QUERY_TIME_INPUT = "history", "history and query time"  # what a model is given
PerUser = dict[str, FloatArray]  # metric name → (users,)


@dataclass
class ComparisonArguments:
    """The reference group, and where the result is saved."""

    reference: list[str] = field(default_factory=list, metadata={"help": "models of the reference group, or markov"})
    part: str = option("part of the split", "test", choices=PARTS)
    result: str | None = option("JSON file to write")


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    _, folders, options, arguments = parse_model_options(
        sys.argv[1:] if argv is None else argv, ComparisonArguments, "python -m benchmarks.quality.compare", __doc__
    )
    if not arguments.reference:
        raise ValueError("no reference group: name its models, or markov, after --reference")
    group = group_metrics(folders, options, arguments.part)
    if arguments.reference == [MARKOV]:
        reference, title = markov_metrics(folders[0], options, arguments.part), "Markov chain"
    else:
        others = [find_model(name) for name in arguments.reference]
        reference, title = group_metrics(others, options, arguments.part)[HISTORY_INPUT], training_options(others[0])
    results = {model_input: compare(per_user, reference) for model_input, per_user in group.items()}
    comparison = {"dataset": options.dataset, "recipe": training_options(folders[0]), "seeds": len(folders)}
    comparison |= {"reference": title, "part": arguments.part, "results": results}
    print(comparison_table([comparison]))
    if arguments.result is not None:
        write_json(Path(arguments.result), comparison)


def training_options(folder: Path) -> str:
    """Recipe and command-line options that a model was trained with, without the seed."""
    command = training_record(folder)["command"]
    words = shlex.split(command)[2:]
    if "--seed" in words:
        del words[words.index("--seed") : words.index("--seed") + 2]
    return shlex.join([Path(words[0]).name, *words[1:]])


def markov_metrics(folder: Path, options: DataArguments, part: str) -> PerUser:
    """Per-user metrics of the Markov chain over the vocabulary of this model."""
    config = EvaluationConfig(part=part, ks=KS)
    task = build_task(prepare_for_model(folder, options), config)
    return evaluate_scorer(MarkovScorer(task.known, task.vocab_size), task, config, MARKOV).per_user


def group_metrics(folders: Sequence[Path], options: DataArguments, part: str) -> dict[str, PerUser]:
    """Per-user metrics, averaged over the models of a group, by model input."""
    per_model = [model_metrics(folder, options, part) for folder in folders]
    return {
        model_input: {name: np.mean([metrics[model_input][name] for metrics in per_model], axis=0) for name in METRICS}
        for model_input in per_model[0]
    }


def model_metrics(folder: Path, options: DataArguments, part: str) -> dict[str, PerUser]:
    """Per-user metrics of a model, by model input."""
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    data, config = prepare_for_model(folder, options), EvaluationConfig(part=part, ks=KS)
    refill_memory(model, folder, data, part)
    task = build_task(data, config, timed=model.config.time_aware)
    tasks = {HISTORY_INPUT: task}
    if model.config.time_aware:
        tasks[QUERY_TIME_INPUT] = time_ablations(task, data, config)[WITH_TIMES]
    scorer = ModelScorer(model, data.tokenizer)
    return {
        model_input: evaluate_scorer(scorer, task, config, str(folder)).per_user for model_input, task in tasks.items()
    }


def compare(group: PerUser, reference: PerUser) -> dict[str, dict[str, Any]]:
    """Means of both, and their absolute and relative difference with intervals, by metric."""
    differences = intervals({name: group[name] - reference[name] for name in group})
    means, reference_means = intervals(group), intervals(reference)
    return {
        name: {
            "mean": means[name]["mean"],
            "reference_mean": reference_means[name]["mean"],
            "difference": differences[name],
            "relative": {key: value / reference_means[name]["mean"] for key, value in differences[name].items()},
        }
        for name in METRICS
    }


if __name__ == "__main__":
    disable_malloc_trim()  # the buffers of one batch are reused for the next
    main()
