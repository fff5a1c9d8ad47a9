"""Counts of the items that follow each item within a window: a Markov chain over several steps.

The chain is a baseline of the evaluation, and fills the model's transition memory.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..model.extensions_bert4rec import STEPS
from .ragged import IntArray, Ragged, offsets_of, run_lengths

POWER = 0.7  # of an item's count, by which its transitions are divided; below 1, popular items keep more weight


def damped_transitions(
    train: Ragged, vocab_size: int, steps: int = STEPS, power: float = POWER, time_bins: IntArray | None = None
) -> sparse.csr_array:
    """T[a, b] / count(a)^`power`, of the shape of `windowed_transitions`."""
    damping = sparse.diags_array(np.maximum(item_counts(train, vocab_size), 1) ** -power)
    return sparse.csr_array(damping @ windowed_transitions(train, vocab_size, steps, time_bins))


def windowed_transitions(
    train: Ragged, vocab_size: int, steps: int, time_bins: IntArray | None = None
) -> sparse.csr_array:
    """T[a, b] = Σ 1/d over pairs in which b follows a at distance d ≤ `steps`, (vocab_size, vocab_size).

    With `time_bins`, a number from 0 for every interaction, b has a column in each: b + vocab_size * time_bin.
    """
    columns = train.values if time_bins is None else train.values + vocab_size * time_bins
    shape = vocab_size, vocab_size * (1 if time_bins is None else int(time_bins.max(initial=0)) + 1)
    total = sparse.csr_array(shape, dtype=np.float64)
    users = train.row_ids
    for distance in range(1, steps + 1):
        same_user = users[:-distance] == users[distance:]
        counts = _pair_counts(train.values[:-distance][same_user], columns[distance:][same_user], shape)
        counts.data /= distance
        total += counts
    return total


def _pair_counts(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    """Counts of the pairs (row, column). Sorting each pair as one integer is several times as fast as scipy."""
    bits = shape[1].bit_length()
    pairs = rows << bits
    pairs |= columns
    pairs.sort()
    counts = run_lengths(pairs)
    distinct = pairs[offsets_of(counts)[:-1]]
    starts = offsets_of(np.bincount(distinct >> bits, minlength=shape[0]))
    distinct &= (1 << bits) - 1
    # 32 bits take half the memory, if they suffice.
    index = np.int32 if max(shape[1], len(distinct)) <= np.iinfo(np.int32).max else np.int64
    values = counts.astype(np.float64), distinct.astype(index), starts.astype(index)
    return sparse.csr_array(values, shape=shape)


def item_counts(train: Ragged, vocab_size: int) -> IntArray:
    """Training interactions of every input id, (vocab_size,).

    Raises:
        ValueError: An input id is outside the vocabulary.
    """
    counts = np.bincount(train.values, minlength=vocab_size)
    if len(counts) > vocab_size:
        raise ValueError(f"input id {train.values.max()} is outside the vocabulary of {vocab_size}")
    return counts
