"""Counts of the items that follow each item within a window: a Markov chain over several steps.

The chain is a baseline of the evaluation, and fills the model's transition memory.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..model.extensions_bert4rec import STEPS, TIME_BIN
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from .ragged import IntArray, Ragged, Rows, labels_of, offsets_of, require_times, run_lengths

PAIRS_AT_ONCE = 1 << 27  # in memory, at least 8 bytes each
MAX_TIME_BINS = 256  # 128 years
POWER = 0.7  # of an item's count, by which its transitions are divided; below 1, popular items keep more weight


def damped_transitions(train: Rows, vocab_size: int, steps: int = STEPS, power: float = POWER) -> sparse.csr_array:
    """T[a, b] / count(a)^`power` for items b that may be labels, (vocab_size, vocab_size).

    T[a, b] = Σ 1/d over pairs in which b follows a at distance d ≤ `steps`.
    """
    blocks = _damped_blocks(train, vocab_size, None, steps=steps, power=power)
    return sparse.csr_array(sparse.vstack([table for _, table in blocks]))


def _pairs(
    histories: Ragged, columns: IntArray, items: tuple[int, int], bits: int, offsets: Sequence[int]
) -> Iterator[IntArray]:
    """For each of `offsets`, pairs of an item and the column of the label at that distance, as one integer.

    The item, one from `items[0]` to `items[1]` (exclusive) and counted from there, is in the bits above `bits`.
    """
    values, weights = histories.values, histories.columns.get("label_weights")
    positions = np.flatnonzero((values >= items[0]) & (values < items[1]))
    rows = (values[positions] - items[0]) << bits
    bounds = histories.offsets[:-1], histories.offsets[1:]
    starts, stops = (np.repeat(bound, histories.lengths)[positions] for bound in bounds)
    for offset in offsets:
        labels = positions + offset
        chosen = (labels >= starts) & (labels < stops)
        if weights is not None:
            chosen[chosen] = weights[labels[chosen]] > 0
        yield rows[chosen] | columns[labels[chosen]]


def _pair_counts(pairs: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    """Counts of pairs of a row and a column, one integer each: sorting those is several times as fast as scipy.

    `pairs` is sorted in place.
    """
    bits = shape[1].bit_length()
    pairs.sort()
    counts = run_lengths(pairs)
    distinct = pairs[offsets_of(counts)[:-1]]
    starts = offsets_of(np.bincount(distinct >> bits, minlength=shape[0]))
    distinct &= (1 << bits) - 1
    # 32 bits take half the memory, if they suffice.
    index = np.int32 if max(shape[1], len(distinct)) <= np.iinfo(np.int32).max else np.int64
    values = counts.astype(np.float64), distinct.astype(index), starts.astype(index)
    return sparse.csr_array(values, shape=shape)


def label_counts(train: Rows, vocab_size: int) -> IntArray:
    """`item_counts` of the interactions that may be labels."""
    return item_counts(train.map(labels_of), vocab_size)


def item_counts(train: Rows, vocab_size: int) -> IntArray:
    """Training interactions of every input id, (vocab_size,); ValueError for an id outside the vocabulary."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for block in train.blocks():
        block_counts = np.bincount(block.values, minlength=vocab_size)
        if len(block_counts) > vocab_size:
            raise ValueError(f"input id {block.values.max()} is outside the vocabulary of {vocab_size}")
        counts += block_counts
    return counts


def fit_transition_memory(model: Bert4RecForMaskedLM, train: Rows, backward: float = 0.0) -> None:
    """Fill the model's memory with the `config.memory_size` strongest transitions of every item of the histories.

    Transitions in the opposite direction count `backward`. In a `time_aware` model the same transition in another
    half-year is a separate entry. ValueError if the model has no memory, or needs times and there are none.
    """
    memory, vocab_size = model.memory, model.config.vocab_size
    if memory is None:
        raise ValueError("memory_size is 0: the model has no memory; create it with, for example, memory_size=200")
    bins = None if memory.time_bins is None else _time_bins(train)
    columns = np.zeros(memory.next_items.shape, dtype=np.int64)
    weights = np.zeros(memory.weights.shape, dtype=np.float32)
    for first, table in _damped_blocks(train, vocab_size, bins, backward):
        for row, (start, stop) in enumerate(pairwise(table.indptr), start=first):
            order = _largest(table.data[start:stop], model.config.memory_size)
            columns[row, : len(order)] = table.indices[start:stop][order]
            weights[row, : len(order)] = table.data[start:stop][order]
    memory.weights.copy_(torch.from_numpy(weights))
    memory.next_items.copy_(torch.from_numpy(columns % vocab_size))
    if memory.time_bins is not None and bins is not None:
        memory.time_bins.copy_(torch.from_numpy(bins[columns // vocab_size]))


def _damped_blocks(
    train: Rows,
    vocab_size: int,
    bins: IntArray | None,
    backward: float = 0.0,
    steps: int = STEPS,
    power: float = POWER,
) -> Iterator[tuple[int, sparse.csr_array]]:
    """Blocks of rows of `damped_transitions`, of about `PAIRS_AT_ONCE` pairs each, with the first row's number."""
    shape = vocab_size, vocab_size * (1 if bins is None else len(bins))
    counts = item_counts(train, vocab_size)
    damping = np.maximum(counts, 1) ** -power
    # At every distance the items that follow and, if they count, those that precede.
    offsets = [sign * distance for distance in range(1, steps + 1) for sign in ([1, -1] if backward else [1])]
    block_of = np.cumsum(counts * len(offsets)) // PAIRS_AT_ONCE  # (vocab_size,)
    starts = np.unique(np.searchsorted(block_of, np.arange(block_of[-1] + 1)))
    for items in pairwise([*starts.tolist(), vocab_size]):
        parts = []
        for block in train.blocks():
            columns: IntArray = block.values
            if bins is not None:
                bin_of = np.searchsorted(bins, _half_years(require_times(block)), side="right") - 1
                columns = columns + vocab_size * np.maximum(bin_of, 0)
            parts.append(list(_pairs(block, columns, items, shape[1].bit_length(), offsets)))
        transitions = sparse.csr_array((items[1] - items[0], shape[1]), dtype=np.float64)
        for offset, *pairs in zip(offsets, *parts, strict=True):
            table = _pair_counts(np.concatenate(pairs), transitions.shape)
            table.data = table.data / offset if offset > 0 else table.data * (backward / -offset)
            transitions += table
        table = sparse.csr_array(sparse.diags_array(damping[slice(*items)]) @ transitions)
        table.sort_indices()
        yield items[0], table


def _time_bins(histories: Rows) -> IntArray:
    """The half-years of the interactions, in order, at most `MAX_TIME_BINS`.

    The transitions have a column per item and half-year, so that a few outliers in time would take gigabytes. Beyond
    the bound only the latest half-years with an interaction remain, and earlier interactions count to the first.
    """
    blocks = histories.blocks()
    present = np.unique(np.concatenate([np.unique(_half_years(require_times(block))) for block in blocks]))
    first, last = int(present[0]), int(present[-1])
    return np.arange(first, last + 1) if last - first < MAX_TIME_BINS else present[-MAX_TIME_BINS:]


def _half_years(times: IntArray) -> IntArray:
    return np.floor_divide(times, int(TIME_BIN))


def _largest(values: npt.NDArray[np.float64], number: int) -> IntArray:
    """Indices of the `number` largest values in descending order; of equal values the first comes first."""
    indices = np.arange(len(values))
    if len(values) > number:
        indices = np.flatnonzero(values >= np.partition(values, -number)[-number])
    return indices[np.argsort(-values[indices], kind="stable")][:number]
