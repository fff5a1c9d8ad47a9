"""HitRate@k: the share of users with a held-out item among the first k.

An `evaluate` module around `hf_bert4rec.evaluation.metrics.hit_rate`, which defines it.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.metrics import hit_rate


class HitRate(evaluate.Metric):
    """HitRate@k: the share of users with a held-out item among the first k."""

    def _info(self) -> evaluate.MetricInfo:
        one = datasets.Features({"ranks": datasets.Value("int64")})
        several = datasets.Features({"ranks": datasets.List(datasets.Value("int64"))})
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Sun et al., BERT4Rec, CIKM 2019, section 4.2",
            inputs_description="ranks: 1-based, one a user or a list a user. k: the list's length.",
            features=[several, one],
        )

    def _compute(self, ranks: list[Any], k: int = 10) -> dict[str, float]:
        rows = Ragged.from_lists([[rank] if isinstance(rank, int) else rank for rank in ranks])
        return {f"hit_rate@{k}": float(hit_rate(rows, k).mean())}
