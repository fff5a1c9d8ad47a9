"""A start for item embeddings: which items stand near each other in histories.

Positive pointwise mutual information of items within a few steps, factorised (Levy and Goldberg, NeurIPS 2014; Levy et
al., TACL 2015 for the smoothing by powers). From random embeddings a model first learns popularity and stays there for
many epochs; from these it does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import svds

from .data.ragged import Ragged

STEPS = 5
CONTEXT_POWER = 0.75
SMALL = 4  # times the width: catalogues up to here are factorised whole


def cooccurrence_embeddings(
    histories: Ragged, vocab_size: int, hidden_size: int, std: float, seed: int
) -> torch.Tensor:
    """Embeddings (vocab_size, hidden_size) from a truncated SVD of the PPMI matrix, scaled to a standard deviation.

    Rows of items without a neighbour, special tokens among them, are zero: leave those as they were initialised.
    """
    association = positive_mutual_information(histories, vocab_size)
    rank = min(hidden_size, vocab_size - 1)
    if vocab_size <= SMALL * hidden_size:
        # Of a small matrix the solver wants more vectors than there are, and draws the rest without a seed.
        left, values, _ = np.linalg.svd(association.toarray())
        left, values = left[:, :rank], values[:rank]
    else:
        start = np.random.default_rng(seed).standard_normal(vocab_size)  # of the solver; fixed for repeatability
        left, values, _ = svds(association, k=rank, v0=start)
    # A singular vector is as good with its sign turned, and a solver on another number of threads may turn it.
    left = left * np.sign(np.take_along_axis(left, np.abs(left).argmax(0)[None], 0))
    order = np.argsort(-values)
    embeddings = np.zeros((vocab_size, hidden_size))
    embeddings[:, :rank] = left[:, order] * np.sqrt(values[order])
    present = association.sum(1) > 0
    embeddings[~present] = 0  # the solver leaves rounding there
    embeddings[present] *= std / embeddings[present].std()
    return torch.from_numpy(embeddings).float()


def positive_mutual_information(histories: Ragged, vocab_size: int) -> sparse.csr_array:
    """PPMI (vocab_size, vocab_size) of items within `STEPS` of each other, nearer pairs weighing 1/distance more."""
    counts = sparse.csr_array((vocab_size, vocab_size))
    row_ids = histories.row_ids
    for distance in range(1, STEPS + 1):
        same = row_ids[distance:] == row_ids[:-distance]
        pairs = histories.values[:-distance][same], histories.values[distance:][same]
        weights = np.full(len(pairs[0]), 1 / distance)
        counts = counts + sparse.csr_array((weights, pairs), shape=(vocab_size, vocab_size))
    table = sparse.coo_array(counts + counts.T)
    totals: npt.NDArray[np.float64] = np.asarray(table.sum(0), dtype=np.float64)
    context = totals**CONTEXT_POWER
    row, column = table.coords
    information = np.log(table.data * context.sum() / (totals[row] * context[column]))
    kept = information > 0
    return sparse.csr_array((information[kept], (row[kept], column[kept])), shape=(vocab_size, vocab_size))
