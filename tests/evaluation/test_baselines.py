"""Baselines against their formulas on small data, and against known figures where the real data exist."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.evaluation import baselines
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import rank_targets

SPECIAL = [0, 1, 2]
VOCAB = 14


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(baselines, "KNN_BLOCK", 5)
    monkeypatch.setattr(baselines, "KNN_PAIRS", 1)


@pytest.fixture
def train() -> Ragged:
    rng = np.random.default_rng(0)
    return Ragged.from_lists([rng.permutation(np.arange(3, VOCAB))[: rng.integers(1, 11)] for _ in range(30)])


HISTORIES = Ragged.from_lists([[3, 4, 5, 6, 7], [], [9]])


def user_items(train: Ragged) -> np.ndarray:
    matrix = np.zeros((len(train), VOCAB))
    for user, row in enumerate(train):
        matrix[user, row] = 1
    return matrix


def test_popularity_counts_training_interactions(train: Ragged) -> None:
    scores = baselines.PopularityScorer(train, VOCAB)(HISTORIES)
    assert scores.shape == (3, VOCAB)
    assert scores[1].tolist() == [float((train.values == item).sum()) for item in range(VOCAB)]


@pytest.mark.parametrize(("steps", "power"), [(3, 0.7), (10, 1.0), (1, 0.0)])
def test_markov_equals_its_formula(train: Ragged, steps: int, power: float) -> None:
    transitions, counts = np.zeros((VOCAB, VOCAB)), np.zeros(VOCAB)
    for row in train:
        for position, earlier in enumerate(row):
            counts[earlier] += 1
            for distance in range(1, min(steps, len(row) - 1 - position) + 1):
                transitions[earlier, row[position + distance]] += 1 / distance
    expected = np.zeros((3, VOCAB))
    for user, history in enumerate(HISTORIES):
        for distance, earlier in enumerate(history[::-1][:steps], start=1):
            expected[user] += transitions[earlier] / distance / max(counts[earlier], 1) ** power
    scores = baselines.MarkovScorer(train, VOCAB, steps, power)(HISTORIES)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("neighbours", [3, 100])
def test_item_knn_equals_its_formula(train: Ragged, neighbours: int) -> None:
    matrix = user_items(train)
    norms = np.sqrt(np.maximum(matrix.sum(0), 1))
    cosines = (matrix.T @ matrix) / norms / norms[:, None]
    np.fill_diagonal(cosines, 0)
    for row in cosines:
        row[row < np.sort(row)[-min(neighbours, VOCAB)]] = 0
    expected = np.stack([cosines[history].sum(0) for history in HISTORIES])
    scores = baselines.ItemKnnScorer(train, VOCAB, neighbours)(HISTORIES)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_shrinkage_lowers_the_cosine_of_rare_items(train: Ragged) -> None:
    """|users of both| / (√(|users of a| · |users of b|) + 20)."""
    matrix = user_items(train)
    counts = matrix.T @ matrix
    users = np.maximum(np.diag(counts), 1)
    expected = counts / (np.sqrt(np.outer(users, users)) + 20)
    np.fill_diagonal(expected, 0)
    scorer = baselines.ItemKnnScorer(train, VOCAB, neighbours=VOCAB, shrinkage=20.0)
    np.testing.assert_allclose(scorer.weights.toarray(), expected, rtol=1e-5, atol=1e-7)


def test_item_knn_agrees_with_implicit(train: Ragged) -> None:
    """The library counts an item as its own neighbour, so it keeps one more."""
    neighbours = pytest.importorskip("implicit.nearest_neighbours", reason="pip install implicit")
    library = neighbours.CosineRecommender(K=VOCAB, num_threads=1)
    library.fit(sparse.csr_matrix(user_items(train)), show_progress=False)
    expected = library.similarity.toarray()
    np.fill_diagonal(expected, 0)
    ours = baselines.ItemKnnScorer(train, VOCAB, neighbours=VOCAB).weights.toarray()
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_ease_is_a_ridge_regression_of_every_item_on_the_others(train: Ragged) -> None:
    matrix, ridge = user_items(train), 5.0
    weights = np.zeros((VOCAB, VOCAB))
    for item in range(VOCAB):
        others = np.delete(np.arange(VOCAB), item)
        inputs = np.concatenate([matrix[:, others], np.sqrt(ridge) * np.eye(VOCAB - 1)])
        outputs = np.concatenate([matrix[:, item], np.zeros(VOCAB - 1)])
        weights[others, item] = np.linalg.lstsq(inputs, outputs)[0]
    scores = baselines.EaseScorer(train, VOCAB, regularization=ridge)(HISTORIES)
    expected = np.stack([weights[history].sum(0) for history in HISTORIES])
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_baselines_of_new_users(train: Ragged, monkeypatch) -> None:
    names = ["random", "popularity", "markov", "item_knn", "ease"]
    monkeypatch.setattr(baselines, "MAX_EASE_ITEMS", VOCAB)
    assert list(baselines.fit_taste_baselines(train, VOCAB)) == names
    monkeypatch.setattr(baselines, "MAX_EASE_ITEMS", VOCAB - 1)
    assert list(baselines.fit_taste_baselines(train, VOCAB)) == names[:-1]


def test_random_depends_on_seed_and_history_and_not_on_the_batch() -> None:
    scorer = baselines.RandomScorer(VOCAB, seed=1)
    batched = scorer(HISTORIES)
    assert torch.equal(batched[2:], scorer(HISTORIES.rows(2, 3)))
    assert not torch.equal(batched[0], batched[2])
    assert not torch.equal(batched, baselines.RandomScorer(VOCAB, seed=2)(HISTORIES))


def test_an_input_id_outside_the_vocabulary_is_named(train: Ragged) -> None:
    with pytest.raises(ValueError, match="input id 13 is outside the vocabulary of 13"):
        baselines.PopularityScorer(train, 13)


@pytest.mark.slow
def test_real_figures_on_the_published_sequence_file() -> None:
    """NDCG@10 0.1602 (Markov) and 0.0178 (popularity) on ml-1m.txt, fitted on all but the test item."""
    path = Path(os.environ.get("HF_BERT4REC_DATA", "")) / "ml-1m" / "ml-1m.txt"
    if not path.is_file():
        pytest.skip("set HF_BERT4REC_DATA to a folder that holds ml-1m/ml-1m.txt")
    users, items = np.loadtxt(path, dtype=np.int64).T
    offsets = offsets_of(np.unique(users, return_counts=True)[1])
    is_last = np.isin(np.arange(len(items)), offsets[1:] - 1)
    input_ids = items + len(SPECIAL) - 1  # the file counts items from 1
    history = Ragged(input_ids[~is_last], offsets - np.arange(len(offsets)))
    targets = Ragged(input_ids[is_last], np.arange(len(offsets)))
    vocab_size = int(input_ids.max()) + 1
    for scorer, expected in (
        (baselines.MarkovScorer(history, vocab_size), 0.1602),
        (baselines.PopularityScorer(history, vocab_size), 0.0178),
    ):
        ranking = rank_targets(scorer, history, targets, vocab_size=vocab_size, special_ids=SPECIAL)
        assert metrics_from_ranks(ranking.ranks)["ndcg@10"] == pytest.approx(expected, abs=1e-4)
