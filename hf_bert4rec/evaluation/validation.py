"""The model and the baselines on the validation part, at the end of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.prepared import Prepared
from ..data.ragged import no_items
from .baselines import fit_baselines
from .metrics import metrics_from_ranks
from .ranking import rank_targets
from .report_text import align, metric_label, scorer_label
from .scoring import ModelScorer
from .task import known_interactions

METRICS = ("ndcg@10", "hit_rate@10")


def validation_metrics(model: Any, data: Prepared, seed: int) -> dict[str, dict[str, float]]:
    """`METRICS` of the model and of every baseline, over the full catalogue, best by the first metric."""
    rows = data.next_item_dataset("validation", timed=model.config.time_aware)
    known = known_interactions(data, "validation")
    seen = rows.histories if data.exclude_seen else no_items(len(rows.histories))
    scorers = fit_baselines(known, len(data.tokenizer), seed) | {"model": ModelScorer(model, data.tokenizer)}
    metrics = {}
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
        values = metrics_from_ranks(ranking.ranks)
        metrics[name] = {metric: round(values[metric], 6) for metric in METRICS}
    return dict(sorted(metrics.items(), key=lambda entry: -entry[1][METRICS[0]]))


def format_validation(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metrics as a table."""
    header = ["validation", *map(metric_label, METRICS)]
    rows = [[scorer_label(name), *(f"{values[metric]:.4f}" for metric in METRICS)] for name, values in metrics.items()]
    return align([header, *rows])
