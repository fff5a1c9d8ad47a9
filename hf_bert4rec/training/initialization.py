"""Initial item embeddings from co-occurrence, and the model's parts that are counted from the training data.

Embeddings are a truncated SVD of the positive pointwise mutual information of items within a few steps of each other
(Levy and Goldberg, NeurIPS 2014; Levy et al., TACL 2015 for the smoothing by powers). From random embeddings a model
first learns popularity and stays there for many epochs; from these it does not.
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
from ..model.extensions_bert4rec import TIME_BIN
from ..model.modeling_bert4rec import Bert4RecForMaskedLM

STEPS = 5
CONTEXT_POWER = 0.75
DENSE_SVD_FACTOR = 4  # catalogues of up to this many times the rank get a dense SVD
EXACT_SVD_ITEMS = 20_000  # larger catalogues are factorised approximately, in a tenth of the time
ROUNDS, OVERSAMPLING = 4, 16  # iterations of the approximation, and its extra vectors
COLUMNS = 32  # of a product at a time, which a cache holds for every item
MAX_TIME_BINS = 256  # 128 years

FloatArray = npt.NDArray[np.floating]


def cooccurrence_embeddings(
    histories: Ragged, vocab_size: int, hidden_size: int, std: float, seed: int
) -> torch.Tensor:
    """Embeddings (vocab_size, hidden_size) from a truncated SVD of the PPMI matrix, scaled to a standard deviation.

    Rows of items without a neighbour and of special tokens are zero: keep the random initialisation of those.
    """
    association = positive_mutual_information(histories, vocab_size)
    rank = min(hidden_size, vocab_size - 1)
    left, values = _singular_vectors(association, rank, seed)
    # The sign of a singular vector is arbitrary and depends on the solver's number of threads: fix it.
    left = left * np.sign(np.take_along_axis(left, np.abs(left).argmax(0)[None], 0))
    order = np.argsort(-values)
    embeddings = np.zeros((vocab_size, hidden_size))
    embeddings[:, :rank] = left[:, order] * np.sqrt(values[order])
    present = association.sum(1) > 0
    embeddings[~present] = 0  # the solver leaves rounding errors there
    embeddings[present] *= std / embeddings[present].std()
    return torch.from_numpy(embeddings).float()


def _singular_vectors(table: sparse.csr_array, rank: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Left singular vectors (items, rank) and values (rank,) of a square table, the largest in any order."""
    if table.shape[0] <= DENSE_SVD_FACTOR * rank:
        # `svds` would want more vectors than a small matrix has, and draws the rest without a seed.
        left, values, _ = np.linalg.svd(table.toarray())
        return left[:, :rank], values[:rank]
    generator = np.random.default_rng(seed)
    if table.shape[0] <= EXACT_SVD_ITEMS:
        left, values, _ = svds(table, k=rank, v0=generator.standard_normal(table.shape[0]))
        return left, values
    return _approximate_vectors(table.astype(np.float32), rank, generator)


def _approximate_vectors(
    table: sparse.csr_array, rank: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """`_singular_vectors` by randomized subspace iteration (Halko et al., SIAM Review 2011, algorithm 4.4)."""
    right = generator.standard_normal((table.shape[0], rank + OVERSAMPLING), dtype=np.float32)
    for _ in tqdm(range(ROUNDS), desc="initial embeddings", unit="round", disable=None):
        left = np.linalg.qr(_product(table, right))[0]
        right = np.linalg.qr(_product(table.T, left))[0]
    left = np.linalg.qr(_product(table, right))[0]
    within = _product(table.T, left)  # (items, rank + OVERSAMPLING)
    squares, rotation = np.linalg.eigh(within.T @ within)  # in ascending order
    return left @ rotation[:, -rank:], np.sqrt(np.maximum(squares[-rank:], 0))


def _product(table: sparse.sparray, vectors: FloatArray) -> FloatArray:
    """`table @ vectors` (items, n), a few columns at a time: three times as fast for 60,000 items as all at once."""
    starts = range(0, vectors.shape[1], COLUMNS)
    parts = [table @ np.ascontiguousarray(vectors[:, start : start + COLUMNS]) for start in starts]
    return np.concatenate(parts, axis=1)


def positive_mutual_information(histories: Ragged, vocab_size: int) -> sparse.csr_array:
    """PPMI (vocab_size, vocab_size) of items within `STEPS` of each other, pairs weighted by 1/distance."""
    transitions = windowed_transitions(histories, vocab_size, STEPS)
    table = sparse.csr_array(transitions + transitions.T)
    if table.diagonal().any():  # an item that is repeated says nothing of its likeness to others
        table = sparse.csr_array(table - sparse.diags_array(table.diagonal()))
    totals: npt.NDArray[np.float64] = np.asarray(table.sum(0), dtype=np.float64)
    context = totals**CONTEXT_POWER
    information = table.data  # in place: for a large catalogue these are gigabytes
    information *= context.sum()
    information /= np.repeat(totals, np.diff(table.indptr))
    information /= context[table.indices]
    np.log(information, out=information)
    np.maximum(information, 0, out=information)
    table.eliminate_zeros()
    return table


def fit_transition_memory(model: Bert4RecForMaskedLM, train: Ragged) -> None:
    """Fill the model's memory with the `config.memory_size` strongest transitions of every item of the histories.

    In a `time_aware` model the same transition in another half-year is a separate entry.

    Raises:
        ValueError: the model has no memory, or is `time_aware` and the histories have no times.
    """
    memory, vocab_size = model.memory, model.config.vocab_size
    if memory is None:
        raise ValueError("memory_size is 0: the model has no memory; create it with, for example, memory_size=200")
    bins, bin_index = None, None
    if memory.time_bins is not None:
        bins, bin_index = _time_bins(require_times(train).times)
    table = damped_transitions(train, vocab_size, time_bins=bin_index)
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


def fit_time_span(model: Bert4RecForMaskedLM, train: Ragged) -> None:
    """Set the first and the last second of the training histories, between which dates are embedded.

    Raises:
        ValueError: the model is not `time_aware`, or the histories have no times.
    """
    time_embeddings = model.bert4rec.time_embeddings
    if time_embeddings is None:
        raise ValueError("time_aware is false: create the model with time_aware=True")
    seconds = require_times(train).times
    time_embeddings.span.copy_(torch.tensor([int(seconds.min()), int(seconds.max())]))
