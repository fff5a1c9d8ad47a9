"""Splits of prepared histories as numbers: how many items of each history a part has. See `splits.py` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ragged import IntArray
from ..splits import require, temporal_parts

ABSENT = -1  # length of a history in a part without its user
IN_MEMORY = 1 << 22  # numbers that are sorted at once to find a quantile
BINS = 1 << 12
Values = Callable[[], Iterator[npt.NDArray[Any]]]  # the same arrays at every call


@dataclass(frozen=True)
class SplitLengths:
    """The first items of every history that are in a part, (users,) each; `ABSENT` where the user is not in the part.

    In validation and test the next `targets` items are the targets. `cuts` are the times at which a temporal split cuts
    for validation and test.
    """

    train: IntArray
    validation: IntArray
    test: IntArray
    targets: int = 1
    cuts: tuple[Any, Any] | None = None
    target_column: str = "target"  # "targets" if they are lists

    def users(self, part: str) -> IntArray:
        """The users of a part, in ascending order."""
        return np.flatnonzero(getattr(self, part) != ABSENT)

    def scattered(self, mask: npt.NDArray[np.bool_]) -> SplitLengths:
        """The same for more users, of whom these are the ones with a true `mask`."""

        def scatter(lengths: IntArray) -> IntArray:
            scattered = np.full(len(mask), ABSENT)
            scattered[mask] = lengths
            return scattered

        train, validation, test = map(scatter, (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)


def split_at_ends(lengths: IntArray, options: Mapping[str, Any]) -> SplitLengths:
    """`leave_one_out` or `last_n` of histories of these lengths (users,).

    Raises:
        ValueError: no history is long enough.
    """
    n, purpose, column = 1, "of leave-one-out", "target"
    if options["split"] == "last-n":
        n, column = options["targets"], "targets"
        if n < 1:
            raise ValueError(f"n must be 1 or more targets per user, not {n}")
        purpose = f"that {n} targets per user need: use a smaller n"
    split = require(
        lengths >= 2 * n + 1, f"None of {len(lengths):,} histories has the {2 * n + 1} interactions {purpose}"
    )
    train = np.where(split, lengths - 2 * n, lengths)
    validation, test = np.where(split, train, ABSENT), np.where(split, lengths - n, ABSENT)
    return SplitLengths(train, validation, test, n, target_column=column)


def split_in_time(
    lengths: IntArray, quantile: float, cuts: tuple[Any, Any], count_before: Callable[[Any], IntArray]
) -> SplitLengths:
    """`global_temporal_split` at the cuts of validation and test.

    Args:
        lengths: of the histories, (users,).
        count_before: the interactions of every history before a time, (users,).

    Raises:
        ValueError: a part is empty.
    """
    trained, validated = count_before(cuts[0]), count_before(cuts[1])
    last = validated - 1, lengths - 1
    train, validation, test = temporal_parts((trained, validated), last, quantile, cuts)
    return SplitLengths(
        train=np.where(train, trained, ABSENT),
        validation=np.where(validation, last[0], ABSENT),
        test=np.where(test, last[1], ABSENT),
        cuts=cuts,
    )


def temporal_cuts(times: Values, quantile: float) -> tuple[Any, Any]:
    """The times at which `global_temporal_split` cuts for validation and test.

    Raises:
        ValueError: no interaction is before a cut.
    """
    test_cut = _quantile(times, quantile)

    def earlier() -> Iterator[npt.NDArray[Any]]:
        return (values[values < test_cut] for values in times())

    return _quantile(earlier, quantile), test_cut


def _quantile(arrays: Values, quantile: float) -> Any:
    total = sum(map(len, arrays()))
    if not total:
        raise ValueError("No interaction is before the cut: all timestamps are the same, or there are none")
    return kth_smallest(arrays, int(quantile * total))


def kth_smallest(arrays: Values, k: int) -> Any:
    """The number at position `k` of all numbers in ascending order, in bounded memory.

    Numbers are counted in bins between two bounds, which narrow down to the bin of position `k`, until few enough
    numbers remain to sort them.
    """
    low, high = _extremes(arrays())
    below = 0  # numbers before `low`
    while low < high:
        edges = np.linspace(low, high, BINS + 1)[1:-1]
        counts = np.zeros(BINS, dtype=np.int64)
        for values in arrays():
            counts += np.bincount(np.searchsorted(edges, _between(values, low, high), side="right"), minlength=BINS)
        bin_of_k = int(np.searchsorted(np.cumsum(counts), k - below, side="right"))
        inner = partial(_bin, arrays, low, high, edges, bin_of_k)
        bounds = _extremes(inner())
        if counts.sum() <= IN_MEMORY or bounds == (low, high):
            candidates = np.concatenate([_between(values, low, high) for values in arrays()])
            return np.partition(candidates, k - below)[k - below].item()
        below += int(counts[:bin_of_k].sum())
        low, high = bounds
    return low


def _between(values: npt.NDArray[Any], low: Any, high: Any) -> npt.NDArray[Any]:
    return values[(values >= low) & (values <= high)]


def _bin(arrays: Values, low: Any, high: Any, edges: npt.NDArray[Any], number: int) -> Iterator[npt.NDArray[Any]]:
    for values in arrays():
        inside = _between(values, low, high)
        yield inside[np.searchsorted(edges, inside, side="right") == number]


def _extremes(arrays: Iterable[npt.NDArray[Any]]) -> tuple[Any, Any]:
    extremes = [(values.min(), values.max()) for values in arrays if len(values)]
    return min(low for low, _ in extremes).item(), max(high for _, high in extremes).item()
