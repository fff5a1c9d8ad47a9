"""MRR: the mean of 1 / (rank of a user's best ranked held-out item).

An `evaluate` module around `hf_bert4rec.evaluation.metrics.reciprocal_rank`, which defines it.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.metrics import reciprocal_rank


class Mrr(evaluate.Metric):
    """MRR: the mean of 1 / (rank of a user's best ranked held-out item)."""

    def _info(self) -> evaluate.MetricInfo:
        one = datasets.Features({"ranks": datasets.Value("int64")})
        several = datasets.Features({"ranks": datasets.List(datasets.Value("int64"))})
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Voorhees, The TREC-8 question answering track report, 1999",
            inputs_description="ranks: 1-based, one a user or a list a user.",
            features=[several, one],
        )

    def _compute(self, ranks: list[Any]) -> dict[str, float]:
        rows = Ragged.from_lists([[rank] if isinstance(rank, int) else rank for rank in ranks])
        return {"mrr": float(reciprocal_rank(rows).mean())}
