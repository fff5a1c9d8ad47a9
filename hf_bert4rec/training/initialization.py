"""Initial item embeddings from co-occurrence, and the time span of the training data.

Embeddings are a truncated SVD of the positive pointwise mutual information of items within a few steps of each other
(Levy and Goldberg, NeurIPS 2014; Levy et al., TACL 2015 for the smoothing by powers). From random embeddings a model
first learns popularity and stays there for many epochs; from these it does not.
"""

import logging

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from tqdm import tqdm

from ..data.ragged import Rows, require_times, sample_rows
from ..data.transitions import damped_transitions
from ..model.modeling_bert4rec import Bert4RecForMaskedLM

logger = logging.getLogger(__name__)

STEPS = 5
MAX_INTERACTIONS = 1 << 25  # more than any MovieLens release; the matrix of more would take gigabytes
CONTEXT_POWER = 0.75
DENSE_SVD_FACTOR = 4  # catalogues of up to this many times the rank get a dense SVD
EXACT_SVD_ITEMS = 20_000  # larger catalogues are factorised approximately, in a tenth of the time
ROUNDS, OVERSAMPLING = 4, 16  # iterations of the approximation, and its extra vectors
ROWS = 1024  # of the matrix that are normalised at once
COLUMNS = 32  # of a product at a time, which a cache holds for every item

FloatArray = npt.NDArray[np.floating]


def cooccurrence_embeddings(histories: Rows, vocab_size: int, hidden_size: int, std: float, seed: int) -> torch.Tensor:
    """Embeddings (vocab_size, hidden_size) from a truncated SVD of the PPMI matrix, scaled to a standard deviation.

    Of more than `MAX_INTERACTIONS`, as many are used, of users chosen at random. Rows of items without a neighbour and
    of special tokens are zero: keep the random initialisation of those.
    """
    chosen = sample_rows(histories.lengths, MAX_INTERACTIONS, seed)
    if len(chosen) < len(histories):
        logger.info("initial embeddings from %d of %d users", len(chosen), len(histories))
        histories = histories.take(chosen)
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


def positive_mutual_information(histories: Rows, vocab_size: int) -> sparse.csr_array:
    """PPMI (vocab_size, vocab_size) of items within `STEPS` of each other, pairs weighted by 1/distance."""
    transitions = damped_transitions(histories.without("label_weights"), vocab_size, STEPS, power=0.0)
    table = sparse.csr_array(transitions + transitions.T)
    del transitions
    if table.diagonal().any():  # repeats of an item do not make it similar to others
        table = sparse.csr_array(table - sparse.diags_array(table.diagonal()))
    totals: npt.NDArray[np.float64] = np.asarray(table.sum(0), dtype=np.float64)
    context = totals**CONTEXT_POWER
    total = context.sum()
    lengths = np.diff(table.indptr)
    for first in range(0, vocab_size, ROWS):  # in place and in chunks: for a large catalogue these are gigabytes
        rows = slice(table.indptr[first], table.indptr[min(first + ROWS, vocab_size)])
        information = table.data[rows]
        information *= total
        information /= np.repeat(totals[first : first + ROWS], lengths[first : first + ROWS])
        information /= context[table.indices[rows]]
        np.log(information, out=information)
        np.maximum(information, 0, out=information)
    table.eliminate_zeros()
    return table


def fit_time_span(model: Bert4RecForMaskedLM, train: Rows) -> None:
    """Set the first and the last second of the training histories, between which dates are embedded."""
    time_embeddings = model.bert4rec.time_embeddings
    if time_embeddings is None:
        raise ValueError("time_aware is false: create the model with time_aware=True")
    spans = [(times.min(), times.max()) for block in train.blocks() if len(times := require_times(block))]
    time_embeddings.span.copy_(torch.tensor([int(min(spans)[0]), int(max(last for _, last in spans))]))
