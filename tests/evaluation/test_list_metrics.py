"""Metrics of recommendation lists against plain loops, and edge cases."""

import itertools
import math

import numpy as np
import pytest

from hf_bert4rec.data.collators import IGNORED
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation import list_metrics as lm

N_USERS, VOCAB, K = 25, 40, 6


@pytest.fixture
def world():
    """Random lists (some short), targets, seen items and genres; item 3 has no genre."""
    rng = np.random.default_rng(0)
    genres = rng.random((VOCAB, 5)) < 0.3
    genres[:4] = False
    shuffled = np.stack([rng.permutation(np.arange(3, VOCAB)) for _ in range(N_USERS)])
    lists = shuffled[:, 5 : 5 + K].copy()
    lists[0, 4:] = IGNORED
    seen = Ragged.from_lists([row[20 : 22 + user % 7] for user, row in enumerate(shuffled)])
    targets = Ragged.from_lists([row[: 1 + user % 4] for user, row in enumerate(shuffled)])
    return lists, targets, seen, genres


def similarity(genres: np.ndarray, first: int, second: int) -> float:
    a, b = set(np.flatnonzero(genres[first])), set(np.flatnonzero(genres[second]))
    return len(a & b) / len(a | b) if a | b else 0.0


def relevance(genres: np.ndarray, item: int, targets: np.ndarray) -> float:
    return sum(similarity(genres, item, t) for t in targets) / len(targets)


def test_genre_metrics_equal_plain_loops(world) -> None:
    lists, targets, seen, genres = world
    ours = lm.genre_metrics_per_user(lists, targets, seen, genres, [K], chunk=7)
    for user in range(N_USERS):
        gains = [relevance(genres, i, targets[user]) if i != IGNORED else 0.0 for i in lists[user]]
        unseen = [i for i in range(3, VOCAB) if i not in seen[user]]
        best = sorted((relevance(genres, i, targets[user]) for i in unseen), reverse=True)[:K]
        dcg, ideal = (sum(g / math.log2(2 + index) for index, g in enumerate(gs)) for gs in (gains, best))
        assert ours[f"genre_precision@{K}"][user] == pytest.approx(sum(g > 0 for g in gains) / K)
        assert ours[f"genre_ndcg@{K}"][user] == pytest.approx(dcg / ideal)
        listed = [i for i in lists[user] if i != IGNORED]
        distances = [1 - similarity(genres, a, b) for a, b in itertools.combinations(listed, 2)]
        assert ours[f"intra_list_diversity@{K}"][user] == pytest.approx(np.mean(distances))


def test_a_target_without_genres_is_undefined_and_not_zero() -> None:
    genres = np.array([[False], [True]])
    relevant = lm.genre_relevance(Ragged.from_lists([[0], [1]]), genres)
    lists, no_relevant = np.array([[1], [1]]), Ragged.from_lists([[], []])
    assert np.isnan(lm.genre_precision(lists, relevant)).tolist() == [True, False]
    assert np.isnan(lm.genre_ndcg(lists, relevant, no_relevant)).tolist() == [True, False]


def test_coverage_and_gini_at_their_edges() -> None:
    everything = np.arange(10).reshape(5, 2)
    assert lm.coverage(everything, 10) == 1.0
    assert lm.gini(everything, 10) == pytest.approx(0.0)
    assert lm.gini(np.zeros((5, 1), dtype=np.int64), 10) == pytest.approx(0.9)
    nothing = np.full((5, 2), IGNORED)
    assert lm.coverage(nothing, 10) == 0.0
    assert math.isnan(lm.gini(nothing, 10))


def test_gini_equals_mean_absolute_difference() -> None:
    lists = np.random.default_rng(1).geometric(0.2, (30, 3)).clip(max=15)
    counts = np.bincount(lists.ravel(), minlength=16).astype(float)
    differences = np.abs(counts[:, None] - counts[None, :]).sum()
    assert lm.gini(lists, 16) == pytest.approx(differences / (2 * 16 * counts.sum()))


def test_novelty_leaves_padding_out() -> None:
    counts = np.array([100, 0, 4, 16])
    lists = np.array([[2, 3], [3, IGNORED], [IGNORED, IGNORED], [1, 1]])
    np.testing.assert_array_equal(lm.novelty(lists, counts, n_users=16), [1, 0, np.nan, 4])
