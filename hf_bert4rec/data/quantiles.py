"""Quantiles of more numbers than fit in memory."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .ragged import Numbers

DIGIT_BITS = 16
SIGN = np.uint64(1 << 63)


def value_at_quantile(arrays: Callable[[], Iterable[Numbers]], quantile: float) -> Any:
    """The number at `quantile` of all numbers in ascending order, so that no cut depends on rounding.

    `arrays` gives the same arrays at every call. Several are read by radix selection, a pass for every digit.
    """
    lengths = [len(numbers) for numbers in arrays()]
    if not sum(lengths):
        raise ValueError("No interaction is before the cut: all timestamps are the same, or there are none")
    position = int(quantile * sum(lengths))
    first = next(iter(arrays()))
    if len(lengths) == 1:  # several times as fast, in memory for a copy
        return np.partition(first, position)[position].item()
    prefix = 0  # the digits that are known
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS):
        counts = np.zeros(1 << DIGIT_BITS, dtype=np.int64)
        for numbers in arrays():
            leading = _ordered_bits(numbers) >> np.uint64(shift)
            matching = leading[leading >> np.uint64(DIGIT_BITS) == prefix]
            counts += np.bincount((matching % len(counts)).astype(np.int64), minlength=len(counts))
        digit = int(np.searchsorted(np.cumsum(counts), position, side="right"))
        position -= int(counts[:digit].sum())
        prefix = prefix << DIGIT_BITS | digit
    return _number(np.uint64(prefix), first.dtype)


def _ordered_bits(numbers: Numbers) -> npt.NDArray[np.uint64]:
    """The bits of numbers as integers that have the order of the numbers."""
    bits = numbers.view(np.uint64)
    return np.where(bits >> np.uint64(63), ~bits, bits | SIGN) if numbers.dtype.kind == "f" else bits ^ SIGN


def _number(ordered: np.uint64, dtype: npt.DTypeLike) -> Any:
    """The number with these `_ordered_bits`."""
    bits = ordered ^ SIGN if ordered & SIGN or np.dtype(dtype).kind == "i" else ~ordered
    return bits.view(dtype).item()
