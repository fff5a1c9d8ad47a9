"""Scorers to compare with: random, popularity, a windowed Markov chain, item-kNN and EASE.

Each is fitted on training histories (input ids, oldest first) and maps a batch of histories to scores (batch,
vocab_size). None uses the held-out items; the ranking excludes seen items and special tokens.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..data.ragged import IntArray, Ragged, Rows
from ..data.taste import common_users, inverse_gram
from ..data.transitions import POWER, STEPS, damped_transitions, label_counts
from .ranking import Scorer

TASTE_NEIGHBOURS = 1000
TASTE_SHRINKAGE = 20.0  # users
MAX_EASE_ITEMS = 20_000
# item-kNN compares the larger of these numbers of items and pairs of items in each pass over the histories.
KNN_BLOCK, KNN_PAIRS = 1024, 1 << 26


def fit_baselines(known: Rows, vocab_size: int, seed: int = 0, **knn_options: Any) -> dict[str, Scorer]:
    """Every baseline, fitted on `known`: all interactions that precede the targets (input ids, oldest first).

    With leave-one-out these are the training and validation items for the test targets, as in published figures.
    """
    return {
        "random": RandomScorer(vocab_size, seed),
        "popularity": PopularityScorer(known, vocab_size),
        "markov": MarkovScorer(known, vocab_size),
        "item_knn": ItemKnnScorer(known, vocab_size, **knn_options),
    }


def fit_taste_baselines(likes: Rows, vocab_size: int, seed: int = 0) -> dict[str, Scorer]:
    """Every baseline for histories of a few titles in any order, fitted on likes, or on all interactions.

    item-kNN has shrinkage and more neighbours than for the next item: both rank better from few items. EASE inverts a
    matrix of the catalogue's size, and is left out beyond `MAX_EASE_ITEMS`.
    """
    baselines = fit_baselines(likes, vocab_size, seed, neighbours=TASTE_NEIGHBOURS, shrinkage=TASTE_SHRINKAGE)
    if vocab_size <= MAX_EASE_ITEMS:
        baselines["ease"] = EaseScorer(likes, vocab_size)
    return baselines


class RandomScorer:
    """Uniform scores, a pure function of (seed, history), so that batches of any size agree."""

    def __init__(self, vocab_size: int, seed: int = 0) -> None:
        self.vocab_size = vocab_size
        self.seed = seed

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32, each row from its history's own generator."""
        scores = np.empty((len(histories), self.vocab_size), dtype=np.float32)
        for row, history in zip(scores, histories, strict=True):
            generator = np.random.default_rng([self.seed, zlib.crc32(history.tobytes())])
            generator.random(out=row, dtype=np.float32)
        return torch.from_numpy(scores)


class PopularityScorer:
    """How often each item may be a label in the training histories, the same for every user."""

    def __init__(self, train: Rows, vocab_size: int) -> None:
        self.scores = torch.from_numpy(label_counts(train, vocab_size).astype(np.float32))

    def __call__(self, histories: Ragged) -> torch.Tensor:
        return self.scores.expand(len(histories), -1)


class MarkovScorer:
    """Item-to-item transitions within a window, weighted by 1/distance.

    T[a, b] = Σ 1/d over all training pairs in which b follows a at a distance d ≤ `steps`. With a_d the item at
    distance d from the end of the history, score(b) = Σ_{d ≤ steps} 1/d · T[a_d, b] / count(a_d)^`power`.
    At power 1 a row of T is close to a probability; below 1, popular earlier items keep more weight.
    """

    def __init__(self, train: Rows, vocab_size: int, steps: int = STEPS, power: float = POWER) -> None:
        self.steps = steps
        self.transitions = damped_transitions(train, vocab_size, steps, power)

    def __call__(self, histories: Ragged) -> torch.Tensor:
        distances = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.values))
        recent = distances <= self.steps
        weights = _user_item_matrix(histories.where(recent), 1 / distances[recent], self.transitions.shape[0])
        return torch.from_numpy((weights @ self.transitions).toarray().astype(np.float32))


class LinearScorer:
    """score(b) = Σ_{a in history} weights[a, b], with `weights` (vocab_size, vocab_size) of a subclass."""

    weights: sparse.csr_array | npt.NDArray[np.float32]

    def __call__(self, histories: Ragged) -> torch.Tensor:
        ones = np.ones(len(histories.values), dtype=np.float32)
        scores = _user_item_matrix(histories, ones, self.weights.shape[0]) @ self.weights
        return torch.from_numpy(scores.toarray() if sparse.issparse(scores) else scores)


class ItemKnnScorer(LinearScorer):
    """Items of the same users: cosine similarity over the user-item matrix, limited to the nearest neighbours.

    s(a, b) = |users of a and b| / (√(|users of a| · |users of b|) + `shrinkage`); each item a keeps its `neighbours`
    most similar items, whose s are the weights (Sarwar et al., 2001; shrinkage as in Ferrari Dacrema et al., RecSys
    2019, arXiv:1907.06902).
    """

    def __init__(self, train: Rows, vocab_size: int, neighbours: int = 100, shrinkage: float = 0.0) -> None:
        norms = np.sqrt(np.maximum(user_counts(train, vocab_size), 1))
        block = max(KNN_BLOCK, KNN_PAIRS // vocab_size)
        blocks = []
        for start in range(0, vocab_size, block):
            similarities = common_users(_binary_matrices(train, vocab_size), start, start + block)
            similarities /= np.outer(norms[start : start + block], norms) + shrinkage
            blocks.append(_nearest(similarities, start, neighbours))
        self.weights = sparse.csr_array(sparse.vstack(blocks))


class EaseScorer(LinearScorer):
    """EASE: a linear autoencoder whose weights have a closed form (Steck, WWW 2019, arXiv:1905.03375).

    The weights B minimise ‖X - XB‖² + `regularization` ‖B‖² with a diagonal of 0; X is the binary user-item matrix.
    """

    def __init__(self, train: Rows, vocab_size: int, regularization: float = 500.0) -> None:
        inverse = inverse_gram(lambda: _binary_matrices(train, vocab_size), vocab_size, regularization)
        self.weights = inverse / -np.diag(inverse)
        np.fill_diagonal(self.weights, 0)


def user_counts(histories: Rows, vocab_size: int) -> IntArray:
    """Users with every input id in their history, however often, (vocab_size,)."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for matrix in _binary_matrices(histories, vocab_size):
        counts += np.bincount(matrix.indices, minlength=vocab_size)
    return counts


def _user_item_matrix(histories: Ragged, weights: npt.NDArray[np.floating], vocab_size: int) -> sparse.csr_array:
    """Weights (total,) of the items of histories, (histories, vocab_size); those of a repeated item add up."""
    shape = len(histories), vocab_size
    matrix = sparse.csr_array((weights, histories.values, histories.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    return matrix


def _binary_matrices(histories: Rows, vocab_size: int) -> Iterator[sparse.csr_array]:
    """1 where an item is in a history, however often, (users, vocab_size) of some of the users each."""
    for block in histories.blocks():
        matrix = _user_item_matrix(block, np.ones(len(block.values), dtype=np.float32), vocab_size)
        matrix.data[:] = 1
        yield matrix


def _nearest(similarities: npt.NDArray[np.float32], start: int, neighbours: int) -> sparse.csr_array:
    """The largest similarities of items from `start` on with all others, (items, vocab_size)."""
    rows = np.arange(len(similarities))
    similarities[rows, start + rows] = 0
    if neighbours < similarities.shape[1]:
        weakest = np.partition(similarities, -neighbours, axis=1)[:, -neighbours, None]
        similarities[similarities < weakest] = 0
    return sparse.csr_array(similarities)
