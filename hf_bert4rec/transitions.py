"""Which item followed which in training histories: a Markov chain over a window, and a model's memory filled by it.

Nothing is learned here. A chain of 10 steps is hard to beat on MovieLens, and what it knows of rare pairs a network of
some hundred dimensions does not: see `memory_bert4rec.py`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from .data.ragged import IntArray, Ragged, offsets_of, with_times
from .data.sorting import run_lengths
from .memory_bert4rec import ERA, STEPS
from .modeling_bert4rec import Bert4RecForMaskedLM

POWER = 0.7  # of an earlier item's count, which its transitions are divided by: below 1, popular ones keep more say


def damped_transitions(
    train: Ragged, vocab_size: int, steps: int = STEPS, power: float = POWER, eras: IntArray | None = None
) -> sparse.csr_array:
    """T[a, b] / count(a)^`power`, of the shape of `windowed_transitions`."""
    damping = sparse.diags_array(np.maximum(item_counts(train, vocab_size), 1) ** -power)
    return sparse.csr_array(damping @ windowed_transitions(train, vocab_size, steps, eras))


def windowed_transitions(train: Ragged, vocab_size: int, steps: int, eras: IntArray | None = None) -> sparse.csr_array:
    """T[a, b] = Σ 1/d over pairs in which b follows a at distance d ≤ `steps`, (vocab_size, vocab_size).

    With `eras`, a number from 0 for every interaction, b has a column in each: b + vocab_size * era.
    """
    columns = train.values if eras is None else train.values + vocab_size * eras
    shape = vocab_size, vocab_size * (1 if eras is None else int(eras.max(initial=0)) + 1)
    total = sparse.csr_array(shape, dtype=np.float64)
    users = train.row_ids
    for distance in range(1, steps + 1):
        same_user = users[:-distance] == users[distance:]
        counts = _pair_counts(train.values[:-distance][same_user], columns[distance:][same_user], shape)
        counts.data /= distance
        total += counts
    return total


def _pair_counts(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    """How often each pair of a row and a column is there. Sorted as one number each, several times as fast as scipy."""
    bits = shape[1].bit_length()
    pairs = rows << bits
    pairs |= columns
    pairs.sort()
    counts = run_lengths(pairs)
    distinct = pairs[offsets_of(counts)[:-1]]
    starts = offsets_of(np.bincount(distinct >> bits, minlength=shape[0]))
    distinct &= (1 << bits) - 1
    # Half the memory where 32 bits will do.
    index = np.int32 if max(shape[1], len(distinct)) <= np.iinfo(np.int32).max else np.int64
    values = counts.astype(np.float64), distinct.astype(index), starts.astype(index)
    return sparse.csr_array(values, shape=shape)


def item_counts(train: Ragged, vocab_size: int) -> IntArray:
    """Training interactions of every input id, (vocab_size,).

    Raises:
        ValueError: An input id lies outside the vocabulary.
    """
    counts = np.bincount(train.values, minlength=vocab_size)
    if len(counts) > vocab_size:
        raise ValueError(f"input id {train.values.max()} lies outside the vocabulary of {vocab_size}")
    return counts


def fill_memory(model: Bert4RecForMaskedLM, train: Ragged) -> None:
    """Have the model remember the strongest `config.memory_size` transitions of every item of training histories.

    Of a model that knows times, a transition of another half-year is another one.

    Raises:
        ValueError: the model has no memory, or knows times and the histories have none.
    """
    memory, vocab_size = model.memory, model.config.vocab_size
    if memory is None:
        raise ValueError("memory_size is 0: the model was made without a memory; make one with, say, memory_size=200")
    eras, first = None, 0
    if memory.eras is not None:
        eras = np.floor_divide(with_times(train).times, int(ERA))
        first = int(eras.min())
    table = damped_transitions(train, vocab_size, eras=None if eras is None else eras - first)
    table.sort_indices()
    columns = np.zeros(memory.followers.shape, dtype=table.indices.dtype)
    strengths = np.zeros(memory.strengths.shape, dtype=np.float32)
    for row, (start, stop) in enumerate(pairwise(table.indptr)):
        order = _strongest(table.data[start:stop], model.config.memory_size)
        columns[row, : len(order)] = table.indices[start:stop][order]
        strengths[row, : len(order)] = table.data[start:stop][order]
    memory.strengths.copy_(torch.from_numpy(strengths))
    memory.followers.copy_(torch.from_numpy(columns % vocab_size))
    if memory.eras is not None:
        memory.eras.copy_(torch.from_numpy(columns // vocab_size + first))


def _strongest(values: npt.NDArray[np.float64], number: int) -> IntArray:
    """Places of the `number` largest values, or of all, in falling order; of equal ones the first comes first."""
    places = np.arange(len(values))
    if len(values) > number:
        places = np.flatnonzero(values >= np.partition(values, -number)[-number])
    return places[np.argsort(-values[places], kind="stable")][:number]


def set_span(model: Bert4RecForMaskedLM, train: Ragged) -> None:
    """Tell a model that knows times from when to when its training histories go.

    Raises:
        ValueError: it knows no times, or the histories have none.
    """
    if model.bert4rec.times is None:
        raise ValueError("time_aware is false: the model takes no times; make one with time_aware=True, causal=True")
    seconds = with_times(train).times
    model.bert4rec.times.span.copy_(torch.tensor([int(seconds.min()), int(seconds.max())]))
