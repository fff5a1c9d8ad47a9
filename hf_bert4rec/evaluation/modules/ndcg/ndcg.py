"""NDCG@k: held-out items among the first k, discounted by place, over the best that is possible.

An `evaluate` module around `hf_bert4rec.evaluation.metrics.ndcg`, which defines it.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.metrics import ndcg


class Ndcg(evaluate.Metric):
    """NDCG@k: held-out items among the first k, discounted by place, over the best that is possible."""

    def _info(self) -> evaluate.MetricInfo:
        one = datasets.Features({"ranks": datasets.Value("int64")})
        several = datasets.Features({"ranks": datasets.List(datasets.Value("int64"))})
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques, TOIS 2002",
            inputs_description="ranks: 1-based, one a user or a list a user. k: the list's length.",
            features=[several, one],
        )

    def _compute(self, ranks: list[Any], k: int = 10) -> dict[str, float]:
        rows = Ragged.from_lists([[rank] if isinstance(rank, int) else rank for rank in ranks])
        return {f"ndcg@{k}": float(ndcg(rows, k).mean())}
