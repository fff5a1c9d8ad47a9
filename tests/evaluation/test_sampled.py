"""Sampled negatives: unseen, distinct, seeded, and drawn in proportion to their weights."""

import numpy as np
import pytest

from hf_bert4rec.data.collators import IGNORED
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.task import sample_negatives

SPECIAL = [0, 1, 2]


def sample(n_users: int, weights: np.ndarray, n: int, **options) -> np.ndarray:
    seen, targets = Ragged.from_lists([[5, 6]] * n_users), Ragged.from_lists([[4]] * n_users)
    return sample_negatives(weights, seen, targets, SPECIAL, n, **options)


def test_negatives_are_distinct_unseen_items() -> None:
    drawn = sample(50, np.ones(30), 20)
    assert not np.isin(drawn, [0, 1, 2, 4, 5, 6]).any()
    assert all(len(set(row)) == 20 for row in drawn.tolist())


def test_the_seed_decides_and_the_batch_does_not() -> None:
    first = sample(50, np.ones(30), 8, seed=3)
    assert (first == sample(50, np.ones(30), 8, seed=3, batch_size=7)).all()
    assert (first != sample(50, np.ones(30), 8, seed=4)).any()


def test_popular_items_are_drawn_in_proportion() -> None:
    weights = np.array([50, 50, 50, 1, 50, 50, 50, 2, 5])  # items 3, 7 and 8 can be drawn
    counts = np.bincount(sample(8000, weights, 1).ravel(), minlength=9)
    np.testing.assert_allclose(counts[[3, 7, 8]] / 8000, [1 / 8, 2 / 8, 5 / 8], atol=0.02)
    assert counts.sum() == counts[[3, 7, 8]].sum()


def test_items_without_interactions_are_never_drawn_and_a_shortage_is_padded() -> None:
    weights = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])  # 4, 5, 6 are barred, which leaves 7 and 8
    assert sample(3, weights, 4).tolist() == [sorted(row) for row in sample(3, weights, 4).tolist()]
    assert {tuple(sorted(row)) for row in sample(3, weights, 4).tolist()} == {(IGNORED, IGNORED, 7, 8)}


def test_more_negatives_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="28 negatives per user from 27 items"):
        sample(1, np.ones(30), 28)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_invalid_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weights of sampled negatives must be finite and 0 or more"):
        sample(1, np.array([*np.ones(29), weight]), 8)
