"""The model and the baselines on the validation part, at the end of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.prepared import Prepared
from ..data.ragged import seen_items
from .baselines import fit_baselines
from .bootstrap import intervals
from .metrics import metrics_per_user
from .ranking import rank_targets
from .report_text import align, metric_label, scorer_label, validation_verdicts
from .scoring import ModelScorer
from .task import known_interactions

METRICS = ("ndcg@10", "hit_rate@10")


def validation_metrics(model: Any, data: Prepared, seed: int) -> dict[str, dict[str, Any]]:
    """`METRICS` of the model and of every baseline, over the full catalogue, best by the first metric.

    Baselines also have the paired `difference` of the model from them by the first metric, with its interval.
    """
    rows = data.next_item_dataset("validation", timed=model.config.time_aware)
    known = known_interactions(data, "validation")
    seen = seen_items(rows.histories, data.exclude_seen)
    scorers = fit_baselines(known, len(data.tokenizer), seed) | {"model": ModelScorer(model, data.tokenizer)}
    per_user = {}
    for name, scorer in scorers.items():
        ranking = rank_targets(
            scorer,
            rows.histories,
            rows.targets,
            vocab_size=len(data.tokenizer),
            special_ids=data.tokenizer.all_special_ids,
            seen=seen,
            description=name,
        )
        values = metrics_per_user(ranking.ranks, [10])
        per_user[name] = {metric: values[metric] for metric in METRICS}
    metrics: dict[str, dict[str, Any]] = {
        name: {metric: round(float(values.mean()), 6) for metric, values in each.items()}
        for name, each in per_user.items()
    }
    best = METRICS[0]
    for name in per_user.keys() - {"model"}:
        difference = intervals({best: per_user["model"][best] - per_user[name][best]}, seed)
        metrics[name]["difference"] = difference
    return dict(sorted(metrics.items(), key=lambda entry: -entry[1][best]))


def format_validation(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics as a table, and the verdicts."""
    header = ["validation", *map(metric_label, METRICS)]
    rows = [[scorer_label(name), *(f"{values[metric]:.4f}" for metric in METRICS)] for name, values in metrics.items()]
    return f"{align([header, *rows])}\n{validation_verdicts(metrics, METRICS[0])}"
