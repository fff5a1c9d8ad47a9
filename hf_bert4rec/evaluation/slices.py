"""Quality by length of the history and by popularity of the held-out item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.collators import IGNORED
from ..data.ragged import IntArray, Ragged
from .bootstrap import intervals
from .metrics import FloatArray, metrics_per_user

PARTS = 5  # slices with about the same number of users (or targets) each
POPULARITY_TENTHS = 10


def by_history_length(histories: Ragged, ranks: Ragged, k: int, seed: int) -> list[dict[str, Any]]:
    """hit_rate@k, ndcg@k and mrr for users with short to long histories, with intervals."""
    return sliced(histories.lengths, _headline(ranks, k), seed)


def by_target_popularity(targets: Ragged, ranks: Ragged, counts: IntArray, k: int, seed: int) -> list[dict[str, Any]]:
    """The same by known interactions of the target, rare to popular; every target is a row."""
    one_per_row = Ragged(ranks.values, np.arange(len(ranks.values) + 1))
    return sliced(counts[targets.values], _headline(one_per_row, k), seed)


def sliced(
    sizes: npt.NDArray[np.integer], values: Mapping[str, FloatArray], seed: int, parts: int = PARTS
) -> list[dict[str, Any]]:
    """Cut at the quantiles of `sizes` (n,) and average `values` (n,) within each slice.

    Returns:
        `{"from", "to", "n", "metrics": {name: {"mean", "low", "high"}}}` for each slice, both bounds included.
        Slices have about the same number of rows; many equal sizes make fewer slices.

    >>> [(part["from"], part["to"], part["n"]) for part in sliced(np.arange(10), {}, seed=0, parts=3)]
    [(0, 3, 4), (4, 6, 3), (7, 9, 3)]
    """
    cuts = np.quantile(sizes, np.arange(1, parts) / parts, method="inverted_cdf")
    group = np.searchsorted(np.unique(cuts), sizes)
    rows = []
    for part in np.unique(group):
        inside = group == part
        rows.append(
            {
                "from": int(sizes[inside].min()),
                "to": int(sizes[inside].max()),
                "n": int(inside.sum()),
                "metrics": intervals({name: value[inside] for name, value in values.items()}, seed),
            }
        )
    return rows


def popularity_profile(items: npt.NDArray[np.integer], counts: IntArray, is_item: npt.NDArray[np.bool_]) -> list[float]:
    """The share of `items` in each tenth of the catalogue, most popular tenth first.

    `items` are input ids of any shape, without those that are `IGNORED`. `counts` are the known interactions of every
    input id and `is_item` marks items, (vocab_size,) each.

    >>> popularity_profile(np.array([1, 1, 2, IGNORED]), np.arange(11), np.arange(11) > 0)[-2:]
    [0.3333333333333333, 0.6666666666666666]
    """
    order = np.flatnonzero(is_item)[np.argsort(-counts[is_item], kind="stable")]
    tenth = np.zeros(len(counts), dtype=np.int64)
    tenth[order] = np.arange(len(order)) * POPULARITY_TENTHS // len(order)
    totals = np.bincount(tenth[items[items != IGNORED]], minlength=POPULARITY_TENTHS)
    return (totals / max(totals.sum(), 1)).tolist()


def _headline(ranks: Ragged, k: int) -> dict[str, FloatArray]:
    values = metrics_per_user(ranks, [k])
    return {name: values[name] for name in (f"hit_rate@{k}", f"ndcg@{k}", "mrr")}
