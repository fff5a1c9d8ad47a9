"""Quality by length of the history and by popularity of the held-out item."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.ragged import IntArray
from .bootstrap import intervals
from .metrics import FloatArray

PARTS = 5  # slices with about the same number of users (or targets) each
POPULARITY_TENTHS = 10


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
    return [
        {
            "from": int(sizes[inside].min()),
            "to": int(sizes[inside].max()),
            "n": int(inside.sum()),
            "metrics": intervals({name: value[inside] for name, value in values.items()}, seed),
        }
        for inside in (group == part for part in np.unique(group))
    ]


def popularity_profile(occurrences: IntArray, counts: IntArray) -> list[float]:
    """The share of the occurrences in each tenth of the catalogue, most popular tenth first.

    `occurrences` and `counts`, the known interactions, are of every item, (items,) each.

    >>> popularity_profile(np.bincount([0, 0, 1], minlength=10), np.arange(10))[-2:]
    [0.3333333333333333, 0.6666666666666666]
    """
    tenth = np.arange(len(counts)) * POPULARITY_TENTHS // len(counts)
    order = np.argsort(-counts, kind="stable")
    totals = np.bincount(tenth, weights=occurrences[order], minlength=POPULARITY_TENTHS)
    return (totals / max(totals.sum(), 1)).tolist()
