"""Which item followed which in training histories: a Markov chain over a window, and a model's memory filled by it.

Nothing is learned here. A chain of 10 steps is hard to beat on MovieLens, and what it knows of rare pairs a network of
some hundred dimensions does not: see `memory_bert4rec.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from .data.ragged import Ragged
from .memory_bert4rec import STEPS
from .modeling_bert4rec import Bert4RecForMaskedLM

POWER = 0.7  # of an earlier item's count, which its transitions are divided by: below 1, popular ones keep more say


def damped_transitions(train: Ragged, vocab_size: int, steps: int = STEPS, power: float = POWER) -> sparse.csr_array:
    """T[a, b] / count(a)^`power`, (vocab_size, vocab_size), of `windowed_transitions`."""
    damping = sparse.diags_array(np.maximum(item_counts(train, vocab_size), 1) ** -power)
    return sparse.csr_array(damping @ windowed_transitions(train, vocab_size, steps))


def windowed_transitions(train: Ragged, vocab_size: int, steps: int) -> sparse.csr_array:
    """T[a, b] = Σ 1/d over pairs in which b follows a at distance d ≤ `steps`, (vocab_size, vocab_size)."""
    total = sparse.csr_array((vocab_size, vocab_size), dtype=np.float64)
    users = train.row_ids
    for distance in range(1, steps + 1):
        same_user = users[:-distance] == users[distance:]
        pairs = train.values[:-distance][same_user], train.values[distance:][same_user]
        weights = np.full(len(pairs[0]), 1 / distance)
        total += sparse.csr_array(sparse.coo_array((weights, pairs), shape=(vocab_size, vocab_size)))
    return total


def item_counts(train: Ragged, vocab_size: int) -> npt.NDArray[np.int64]:
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

    Raises:
        ValueError: the model has no memory.
    """
    if model.memory is None:
        raise ValueError("memory_size is 0: the model was made without a memory; make one with, say, memory_size=200")
    table = sparse.coo_array(damped_transitions(train, model.config.vocab_size))
    (rows, columns), strengths = table.coords, table.data
    order = np.lexsort((columns, -strengths, rows))  # item by item, strongest followers first
    rows, columns, strengths = rows[order], columns[order], strengths[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # among the followers of its item
    kept = place < model.config.memory_size
    with torch.no_grad():
        model.memory.strengths.zero_()
        model.memory.followers[rows[kept], place[kept]] = torch.from_numpy(columns[kept]).to(torch.int32)
        model.memory.strengths[rows[kept], place[kept]] = torch.from_numpy(strengths[kept]).float()
