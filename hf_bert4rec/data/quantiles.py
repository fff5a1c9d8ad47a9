"""Quantiles of more numbers than fit in memory."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .ragged import Numbers

MAX_NUMBERS = 1 << 23  # in memory


def value_at_quantile(arrays: Callable[[], Iterable[Numbers]], quantile: float) -> Any:
    """The number at `quantile` of all numbers in ascending order, so that no cut depends on rounding.

    `arrays` gives the same arrays at every call. The range of the number is halved until its numbers fit in memory.
    """
    bounds = [(len(numbers), numbers.min().item(), numbers.max().item()) for numbers in arrays() if len(numbers)]
    if not bounds:
        raise ValueError("No interaction is before the cut: all timestamps are the same, or there are none")
    counts, lows, highs = zip(*bounds, strict=True)
    count, low, high = sum(counts), min(lows), max(highs)
    position = int(quantile * count)  # among the numbers from `low` to `high`, which are `count`
    while count > MAX_NUMBERS and low < high:
        middle = low + (high - low) // 2
        below = sum(int(((numbers >= low) & (numbers <= middle)).sum()) for numbers in arrays())
        if position < below:
            high, count = middle, below
        else:
            low = min(numbers[numbers > middle].min(initial=high).item() for numbers in arrays())
            count, position = count - below, position - below
    if low == high:
        return low
    remaining = np.concatenate([numbers[(numbers >= low) & (numbers <= high)] for numbers in arrays()])
    return np.partition(remaining, position)[position].item()
