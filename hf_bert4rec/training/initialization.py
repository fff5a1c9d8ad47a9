"""A start for item embeddings: which items stand near each other in histories.

Positive pointwise mutual information of items within a few steps, factorised (Levy and Goldberg, NeurIPS 2014; Levy et
al., TACL 2015 for the smoothing by powers). From random embeddings a model first learns popularity and stays there for
many epochs; from these it does not.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from tqdm import tqdm

from ..data.ragged import IntArray, Ragged, require_times
from ..data.transitions import damped_transitions, windowed_transitions
from ..model.memory_bert4rec import ERA
from ..model.modeling_bert4rec import Bert4RecForMaskedLM

STEPS = 5
CONTEXT_POWER = 0.75
SMALL = 4  # times the width: catalogues up to here are factorised whole
LARGE = 20_000  # items: larger ones are factorised approximately, in a tenth of the time
ROUNDS, SPARE = 4, 16  # of the approximation; vectors that it is given more than are asked for
COLUMNS = 32  # of a product at a time: as much of a vector for every item as a cache holds

FloatArray = npt.NDArray[np.floating]


def cooccurrence_embeddings(
    histories: Ragged, vocab_size: int, hidden_size: int, std: float, seed: int
) -> torch.Tensor:
    """Embeddings (vocab_size, hidden_size) from a truncated SVD of the PPMI matrix, scaled to a standard deviation.

    Rows of items without a neighbour, special tokens among them, are zero: leave those as they were initialised.
    """
    association = positive_mutual_information(histories, vocab_size)
    rank = min(hidden_size, vocab_size - 1)
    left, values = _singular_vectors(association, rank, seed)
    # A singular vector is as good with its sign turned, and a solver on another number of threads may turn it.
    left = left * np.sign(np.take_along_axis(left, np.abs(left).argmax(0)[None], 0))
    order = np.argsort(-values)
    embeddings = np.zeros((vocab_size, hidden_size))
    embeddings[:, :rank] = left[:, order] * np.sqrt(values[order])
    present = association.sum(1) > 0
    embeddings[~present] = 0  # the solver leaves rounding there
    embeddings[present] *= std / embeddings[present].std()
    return torch.from_numpy(embeddings).float()


def _singular_vectors(table: sparse.csr_array, rank: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Left vectors (items, rank) of the largest singular values (rank,) of a square table, and these, in any order."""
    if table.shape[0] <= SMALL * rank:
        # Of a small matrix the solver wants more vectors than there are, and draws the rest without a seed.
        left, values, _ = np.linalg.svd(table.toarray())
        return left[:, :rank], values[:rank]
    generator = np.random.default_rng(seed)
    if table.shape[0] <= LARGE:
        left, values, _ = svds(table, k=rank, v0=generator.standard_normal(table.shape[0]))
        return left, values
    return _approximate_vectors(table.astype(np.float32), rank, generator)


def _approximate_vectors(
    table: sparse.csr_array, rank: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The same by iterating a random subspace (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4)."""
    right = generator.standard_normal((table.shape[0], rank + SPARE), dtype=np.float32)
    for _ in tqdm(range(ROUNDS), desc="start of embeddings", unit="round", disable=None):
        left = np.linalg.qr(_product(table, right))[0]
        right = np.linalg.qr(_product(table.T, left))[0]
    left = np.linalg.qr(_product(table, right))[0]
    within = _product(table.T, left)  # (items, rank + SPARE): the table seen from the subspace
    squares, turn = np.linalg.eigh(within.T @ within)  # in rising order
    return left @ turn[:, -rank:], np.sqrt(np.maximum(squares[-rank:], 0))


def _product(table: sparse.sparray, vectors: FloatArray) -> FloatArray:
    """The product with (items, n) vectors, a few at a time: over 60,000 items three times as fast as all at once."""
    parts = [table @ np.ascontiguousarray(vectors[:, at : at + COLUMNS]) for at in range(0, vectors.shape[1], COLUMNS)]
    return np.concatenate(parts, axis=1)


def positive_mutual_information(histories: Ragged, vocab_size: int) -> sparse.csr_array:
    """PPMI (vocab_size, vocab_size) of items within `STEPS` of each other, nearer pairs weighing 1/distance more."""
    followed = windowed_transitions(histories, vocab_size, STEPS)
    table = sparse.csr_array(followed + followed.T)
    totals: npt.NDArray[np.float64] = np.asarray(table.sum(0), dtype=np.float64)
    context = totals**CONTEXT_POWER
    information = table.data  # in place, step by step: of a large catalogue these are gigabytes
    information *= context.sum()
    information /= np.repeat(totals, np.diff(table.indptr))
    information /= context[table.indices]
    np.log(information, out=information)
    np.maximum(information, 0, out=information)
    table.eliminate_zeros()
    return table


def fit_transition_memory(model: Bert4RecForMaskedLM, train: Ragged) -> None:
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
        eras = np.floor_divide(require_times(train).times, int(ERA))
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


def fit_time_span(model: Bert4RecForMaskedLM, train: Ragged) -> None:
    """Tell a model that knows times from when to when its training histories go.

    Raises:
        ValueError: it knows no times, or the histories have none.
    """
    if model.bert4rec.times is None:
        raise ValueError("time_aware is false: the model takes no times; make one with time_aware=True, causal=True")
    seconds = require_times(train).times
    model.bert4rec.times.span.copy_(torch.tensor([int(seconds.min()), int(seconds.max())]))
