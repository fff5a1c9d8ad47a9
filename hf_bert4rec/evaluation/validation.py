"""The model and the baselines on the validation part, at the end of a training run."""

from collections.abc import Mapping
from typing import Any

from ..data.prepared import PreparedData
from ..data.ragged import FloatArray, seen_items
from .baselines import fit_baselines
from .bootstrap import intervals
from .metrics import metrics_per_user
from .ranking import Scorer, rank_targets
from .report_text import align, metric_label, scorer_label, validation_verdicts
from .scoring import ModelScorer

METRICS = ("ndcg@10", "hit_rate@10")


def validation_metrics(model: Any, data: PreparedData, seed: int) -> dict[str, dict[str, Any]]:
    """`METRICS` of the model and of every baseline, over the full catalogue, best first by the first metric.

    Baselines also have the paired `difference` of the model from them by the first metric, with its interval.
    """
    rows, headline = data.next_item_dataset("validation", timed=model.config.time_aware), METRICS[0]
    known = data.known_interactions("validation")
    scorers: dict[str, Scorer] = {"model": ModelScorer(model, data.tokenizer)}
    scorers |= fit_baselines(known, len(data.tokenizer), seed)
    per_user: dict[str, FloatArray] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for name, scorer in scorers.items():
        ranking = rank_targets(
            scorer,
            rows.histories,
            rows.targets,
            vocab_size=len(data.tokenizer),
            special_ids=data.tokenizer.all_special_ids,
            seen=seen_items(rows.histories, data.exclude_seen),
            description=name,
        )
        values = metrics_per_user(ranking.ranks, [10])
        per_user[name] = values[headline]
        metrics[name] = {metric: round(float(values[metric].mean()), 6) for metric in METRICS}
        if name != "model":
            metrics[name]["difference"] = intervals({headline: per_user["model"] - per_user[name]}, seed)
    return dict(sorted(metrics.items(), key=lambda entry: -entry[1][headline]))


def format_validation(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    header = ["validation", *map(metric_label, METRICS)]
    rows = [[scorer_label(name), *(f"{values[metric]:.4f}" for metric in METRICS)] for name, values in metrics.items()]
    return f"{align([header, *rows])}\n{validation_verdicts(metrics, METRICS[0])}"
