"""The metrics of `hf-bert4rec evaluate` as a module of the `evaluate` library: `evaluate.load(PATH)`, offline.

HitRate@k, NDCG@k and MRR from the ranks of held-out items; with several per user also recall, precision and MAP. Both
call the functions of `metrics.py`.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

# Absolute imports, since `evaluate` loads a copy of this file.
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.metrics import DEFAULT_KS, metrics_from_ranks

PATH = __file__


class RankingMetrics(evaluate.Metric):
    """Mean metrics over users from 1-based ranks, added in batches or at once."""

    def _info(self) -> evaluate.MetricInfo:
        # float64, which holds ranks exactly: an integer type would truncate 1.5 to 1 before it can be refused
        rank = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=__doc__,
            citation="Sun et al., BERT4Rec, CIKM 2019, section 4.2",
            inputs_description="ranks: 1-based, one per user or a list per user. ks: the lengths of the lists.",
            features=[datasets.Features({"ranks": datasets.List(rank)}), datasets.Features({"ranks": rank})],
        )

    def _compute(self, ranks: list[float] | list[list[float]], ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
        rows = [rank if isinstance(rank, list) else [rank] for rank in ranks]
        return metrics_from_ranks(Ragged.from_lists(rows, np.float64), ks)
