"""Integer codes of ids, and the stable order of rows by them.

Numpy sorts plain integers ten times as fast as `argsort` finds an order, but not stably. So the keys and, in the lowest
bits, the row are packed into one integer each. Polars' `arg_sort_by` takes over five times as long for 25 million rows.
"""

import numpy as np
import polars as pl

from .ragged import Array, IntArray, offsets_of, run_lengths

_BITS = 64  # of a packed integer: ML-32M needs all of them, the smaller releases 63
_TOO_LARGE = 2**63


def codes_of(ids: pl.Series) -> IntArray:
    """Integers from 0 in the order of the ids, shape (rows,), each below four times the number of rows."""
    if ids.dtype.is_integer():
        low, high = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
        if high - low < 4 * len(ids) and high < _TOO_LARGE:
            return ids.to_numpy().astype(np.int64) - low
    # Only the few distinct ids are ranked.
    encoded = ids.to_arrow().dictionary_encode()
    ranks = pl.Series(encoded.dictionary).rank("dense").to_numpy().astype(np.int64) - 1
    return ranks[encoded.indices.to_numpy()]


def stable_order(codes: IntArray, times: Array | None = None) -> IntArray:
    """Row numbers in the order of (code, time, row), shape (rows,), for `codes` of `codes_of`."""
    if not (codes[1:] >= codes[:-1]).all():
        by_code = _sort_packed(codes, np.arange(len(codes)))
        if by_code is not None and times is not None:
            by_code = by_code[stable_order(codes[by_code], times[by_code])]
        order = by_code
    elif times is None or not len(codes):
        order = np.arange(len(codes))
    else:
        order = _order_in_runs(codes, times)
    if order is not None:
        return order
    keys = pl.DataFrame([codes] if times is None else [codes, times])
    return keys.select(pl.arg_sort_by(keys.columns, maintain_order=True)).to_series().to_numpy().astype(np.int64)


def _order_in_runs(codes: IntArray, times: Array) -> IntArray | None:
    """`stable_order` of codes in ascending order; None if the keys need too many bits."""
    if times.dtype.kind != "i" or int(times.max()) - int(times.min()) >= _TOO_LARGE:
        return None
    lengths = run_lengths(codes)
    starts = np.repeat(offsets_of(lengths)[:-1], lengths)
    position = np.arange(len(codes))
    position -= starts  # among the rows of the same code: fewer bits than among all rows
    order = _sort_packed(codes, times - times.min(), position)
    if order is not None:
        order += starts
    return order


def _sort_packed(*keys: IntArray) -> IntArray | None:
    """The last key in the order of all keys; None if together they need more than `_BITS` bits."""
    widths = [int(key.max()).bit_length() for key in keys]
    if sum(widths) > _BITS:
        return None
    packed = keys[0].copy()
    for key, width in zip(keys[1:], widths[1:], strict=True):
        packed <<= width
        packed |= key
    packed.view(np.uint64).sort()
    packed &= (1 << widths[-1]) - 1
    return packed
