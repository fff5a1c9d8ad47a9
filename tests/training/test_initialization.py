"""Embeddings from co-occurrence: items that occur together get similar embeddings."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import svds

from hf_bert4rec.data.ragged import Ragged, sample_rows
from hf_bert4rec.training import initialization as cooccurrence
from hf_bert4rec.training.initialization import CONTEXT_POWER, cooccurrence_embeddings, positive_mutual_information


def test_mutual_information_by_hand():
    # 3 and 4 are neighbours twice, 4 and 5 once; 3 and 5 stand two steps apart once.
    counts = np.zeros((6, 6))
    counts[3, 4], counts[4, 5], counts[3, 5] = 2, 1, 0.5
    counts += counts.T
    totals = counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.log(counts * (totals**CONTEXT_POWER).sum() / np.outer(totals, totals**CONTEXT_POWER))
    expected[~(expected > 0)] = 0
    actual = positive_mutual_information(Ragged.from_lists([[3, 4, 5], [4, 3]]), 6)
    np.testing.assert_allclose(actual.toarray(), expected)


def test_items_of_one_group_get_similar_embeddings():
    generator = np.random.default_rng(0)
    groups = [np.arange(3, 13), np.arange(13, 23)]
    walks = [generator.permutation(groups[user % 2])[:8] for user in range(200)]
    embeddings = cooccurrence_embeddings(Ragged.from_lists(walks), 24, 8, std=0.05, seed=0)
    assert embeddings.shape == (24, 8)
    assert not embeddings[:3].any()
    assert not embeddings[23].any()  # never seen
    present = embeddings[3:23]
    assert present.std(correction=0).item() == pytest.approx(0.05, rel=1e-4)
    similar = torch.nn.functional.normalize(present) @ torch.nn.functional.normalize(present).T
    within, across = similar[:10, :10].mean(), similar[:10, 10:].mean()
    assert within > 0.5 > 0.2 > across


def test_singular_vectors_are_not_turned_by_the_solver(monkeypatch):
    walks = Ragged.from_lists([np.random.default_rng(user).permutation(np.arange(3, 60)) for user in range(60)])
    expected = cooccurrence_embeddings(walks, 60, 8, 0.02, seed=1)

    def turned(*arguments, **options):
        left, values, right = svds(*arguments, **options)
        return -left, values, -right

    monkeypatch.setattr(cooccurrence, "svds", turned)
    assert torch.equal(cooccurrence_embeddings(walks, 60, 8, 0.02, seed=1), expected)


def test_embeddings_from_a_part_of_the_users(monkeypatch):
    walks = Ragged.from_lists([np.random.default_rng(user).permutation(np.arange(3, 60))[:9] for user in range(60)])
    chosen = sample_rows(walks.lengths, 300, seed=1)
    assert len(chosen) == 300 // 9
    expected = cooccurrence_embeddings(walks.take(chosen), 60, 8, 0.02, seed=1)
    monkeypatch.setattr(cooccurrence, "MAX_INTERACTIONS", 300)
    assert torch.equal(cooccurrence_embeddings(walks, 60, 8, 0.02, seed=1), expected)


def test_a_large_catalogue_is_factorised_almost_as_well(monkeypatch):
    walks = Ragged.from_lists([np.random.default_rng(user).permutation(np.arange(3, 400))[:40] for user in range(400)])
    exact = cooccurrence_embeddings(walks, 400, 16, 0.02, seed=1).numpy()
    monkeypatch.setattr(cooccurrence, "EXACT_SVD_ITEMS", 0)
    monkeypatch.setattr(cooccurrence, "COLUMNS", 5)
    monkeypatch.setattr(cooccurrence, "svds", None)
    actual = cooccurrence_embeddings(walks, 400, 16, 0.02, seed=1).numpy()
    assert np.array_equal(actual, cooccurrence_embeddings(walks, 400, 16, 0.02, seed=1).numpy())
    assert not actual[:3].any()
    table = positive_mutual_information(walks, 400).toarray()

    def explained(embeddings):  # of the table, by the space that the embeddings span
        basis = np.linalg.qr(embeddings)[0]
        return np.linalg.norm(basis.T @ table) ** 2

    # These walks are random: no table is harder, since no direction dominates.
    assert explained(exact) >= explained(actual) > 0.95 * explained(exact)
