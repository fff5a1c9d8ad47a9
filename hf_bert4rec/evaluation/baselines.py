"""Scorers to compare with: random, popularity, a windowed Markov chain and item-kNN.

Each is fitted on training histories (input ids, oldest first) and maps a batch of histories to scores (batch,
vocab_size). None uses the held-out items; the ranking excludes seen items and special tokens.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from ..data.ragged import Ragged
from ..data.transitions import POWER, STEPS, damped_transitions, item_counts
from .ranking import Scorer


def fit_baselines(known: Ragged, vocab_size: int, seed: int = 0) -> dict[str, Scorer]:
    """Every baseline, fitted on `known`: all interactions that precede the targets (input ids, oldest first).

    With leave-one-out these are the training and validation items for the test targets, as in published figures of
    these baselines.
    """
    return {
        "random": RandomScorer(vocab_size, seed),
        "popularity": PopularityScorer(known, vocab_size),
        "markov": MarkovScorer(known, vocab_size),
        "item_knn": ItemKnnScorer(known, vocab_size),
    }


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
    """How often each item occurs in the training histories, the same for every user."""

    def __init__(self, train: Ragged, vocab_size: int) -> None:
        self.scores = torch.from_numpy(item_counts(train, vocab_size).astype(np.float32))

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32: training interactions."""
        return self.scores.expand(len(histories), -1)


class MarkovScorer:
    """Item-to-item transitions within a window, weighted by 1/distance.

    T[a, b] = Σ 1/d over all training pairs in which b follows a at a distance d ≤ `steps`. With a_d the item at
    distance d from the end of the history, score(b) = Σ_{d ≤ steps} 1/d · T[a_d, b] / count(a_d)^`power`.
    At power 1 a row of T is close to a probability; below 1, popular earlier items keep more weight.
    """

    def __init__(self, train: Ragged, vocab_size: int, steps: int = STEPS, power: float = POWER) -> None:
        self.steps = steps
        self.transitions = damped_transitions(train, vocab_size, steps, power)

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32."""
        distances = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.values))
        recent = distances <= self.steps
        weights = _user_item_matrix(histories.where(recent), 1 / distances[recent], self.transitions.shape[0])
        return torch.from_numpy((weights @ self.transitions).toarray().astype(np.float32))


class ItemKnnScorer:
    """Items of the same users: cosine similarity over the user-item matrix, limited to the nearest neighbours.

    s(a, b) = |users of a and b| / √(|users of a| · |users of b|); each item a keeps its `neighbours` most
    similar items; score(b) = Σ_{a in history} s(a, b) (Sarwar et al., 2001).
    """

    def __init__(self, train: Ragged, vocab_size: int, neighbours: int = 100, block: int = 1024) -> None:
        matrix = _user_item_matrix(train, np.ones(len(train.values), dtype=np.float32), vocab_size)
        matrix.data[:] = 1  # an item counts once per user
        norms = np.sqrt(np.maximum(matrix.sum(0), 1))
        unit = sparse.csc_array(matrix @ sparse.diags_array(1 / norms))  # columns of length 1
        blocks = [
            _nearest(unit[:, start : start + block], unit, start, neighbours) for start in range(0, vocab_size, block)
        ]
        self.similarities = sparse.csr_array(sparse.vstack(blocks))

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32."""
        ones = np.ones(len(histories.values), dtype=np.float32)
        weights = _user_item_matrix(histories, ones, self.similarities.shape[0])
        return torch.from_numpy((weights @ self.similarities).toarray().astype(np.float32))


def _user_item_matrix(histories: Ragged, weights: npt.NDArray[np.floating], vocab_size: int) -> sparse.csr_array:
    """Weights (total,) of the items of histories, (histories, vocab_size); those of a repeated item add up."""
    shape = len(histories), vocab_size
    matrix = sparse.csr_array((weights, histories.values, histories.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    return matrix


def _nearest(block: sparse.csc_array, unit: sparse.csc_array, first: int, neighbours: int) -> sparse.csr_array:
    """The `neighbours` largest cosines in each row of block'·unit, without an item's cosine with itself."""
    cosines = (block.T @ unit).toarray()  # (block, vocab_size), dense for one block at a time
    rows = np.arange(cosines.shape[0])
    cosines[rows, first + rows] = 0
    if neighbours < cosines.shape[1]:
        weakest = np.partition(cosines, -neighbours, axis=1)[:, -neighbours, None]
        cosines[cosines < weakest] = 0
    return sparse.csr_array(cosines)
