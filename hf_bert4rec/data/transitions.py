"""Counts of the items that follow each item within a window: a Markov chain over several steps.

The chain is a baseline of the evaluation, and fills the model's transition memory.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..model.extensions_bert4rec import STEPS, TIME_BIN
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .ragged import IntArray, Ragged, offsets_of, require_times, run_lengths

MAX_TIME_BINS = 256  # 128 years
POWER = 0.7  # of an item's count, by which its transitions are divided; below 1, popular items keep more weight


def damped_transitions(
    train: Ragged,
    vocab_size: int,
    steps: int = STEPS,
    power: float = POWER,
    time_bins: IntArray | None = None,
    backward: float = 0.0,
) -> sparse.csr_array:
    """T[a, b] / count(a)^`power`, of the shape of `windowed_transitions`."""
    damping = sparse.diags_array(np.maximum(item_counts(train, vocab_size), 1) ** -power)
    return sparse.csr_array(damping @ windowed_transitions(train, vocab_size, steps, time_bins, backward))


def windowed_transitions(
    train: Ragged, vocab_size: int, steps: int, time_bins: IntArray | None = None, backward: float = 0.0
) -> sparse.csr_array:
    """T[a, b] = Σ 1/d over pairs in which b follows a at distance d ≤ `steps`, (vocab_size, vocab_size).

    Pairs in which b precedes a add `backward` / d. With `time_bins`, a number from 0 for every interaction, b has a
    column in each: b + vocab_size * time_bin.
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
        if backward:
            counts = _pair_counts(train.values[distance:][same_user], columns[:-distance][same_user], shape)
            counts.data *= backward / distance
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


def fit_transition_memory(model: Bert4RecForMaskedLM, train: Ragged, backward: float = 0.0) -> None:
    """Fill the model's memory with the `config.memory_size` strongest transitions of every item of the histories.

    Transitions in the opposite direction count `backward`. In a `time_aware` model the same transition in another
    half-year is a separate entry.

    Raises:
        ValueError: the model has no memory, or is `time_aware` and the histories have no times.
    """
    memory, vocab_size = model.memory, model.config.vocab_size
    if memory is None:
        raise ValueError("memory_size is 0: the model has no memory; create it with, for example, memory_size=200")
    bins, bin_index = None, None
    if memory.time_bins is not None:
        bins, bin_index = _time_bins(require_times(train).times)
    table = damped_transitions(train, vocab_size, time_bins=bin_index, backward=backward)
    table.sort_indices()
    columns = np.zeros(memory.next_items.shape, dtype=table.indices.dtype)
    weights = np.zeros(memory.weights.shape, dtype=np.float32)
    for row, (start, stop) in enumerate(pairwise(table.indptr)):
        order = _largest(table.data[start:stop], model.config.memory_size)
        columns[row, : len(order)] = table.indices[start:stop][order]
        weights[row, : len(order)] = table.data[start:stop][order]
    memory.weights.copy_(torch.from_numpy(weights))
    memory.next_items.copy_(torch.from_numpy(columns % vocab_size))
    if memory.time_bins is not None and bins is not None:
        memory.time_bins.copy_(torch.from_numpy(bins[columns // vocab_size]))


def _time_bins(times: IntArray) -> tuple[IntArray, IntArray]:
    """At most `MAX_TIME_BINS` half-years, and the index of each interaction's among them.

    The transitions have a column per item and half-year, so that a few outliers in time would take gigabytes. Beyond
    the bound only the latest half-years with an interaction remain, and earlier interactions count to the first.
    """
    half_years = np.floor_divide(times, int(TIME_BIN))
    first, last = int(half_years.min()), int(half_years.max())
    if last - first < MAX_TIME_BINS:
        return np.arange(first, last + 1), half_years - first
    bins, index = np.unique(half_years, return_inverse=True)
    surplus = max(len(bins) - MAX_TIME_BINS, 0)
    return bins[surplus:], np.maximum(index - surplus, 0)


def _largest(values: npt.NDArray[np.float64], number: int) -> IntArray:
    """Indices of the `number` largest values in descending order; of equal values the first comes first."""
    indices = np.arange(len(values))
    if len(values) > number:
        indices = np.flatnonzero(values >= np.partition(values, -number)[-number])
    return indices[np.argsort(-values[indices], kind="stable")][:number]
