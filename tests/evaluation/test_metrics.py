"""Rank metrics against trec_eval (through ir-measures), and edge cases."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation import metrics

KS = (1, 5, 10, 20)


def random_ranks(n_targets: int, seed: int = 0, n_users: int = 200, n_items: int = 60) -> Ragged:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, n_targets + 1, n_users)
    return Ragged.from_lists([rng.permutation(n_items)[:size] + 1 for size in sizes])


def trec_values(ranks: Ragged, measure: ir_measures.Measure, n_items: int = 60) -> np.ndarray:
    """Per-user values of the independent library: item r is the one at rank r."""
    qrels = {f"{user:05}": {str(rank): 1 for rank in row} for user, row in enumerate(ranks)}
    run = {user: {str(item): float(-item) for item in range(1, n_items + 1)} for user in qrels}
    values = {value.query_id: value.value for value in ir_measures.iter_calc([measure], qrels, run)}
    return np.array([values[user] for user in qrels])


@pytest.mark.parametrize("n_targets", [1, 12])
@pytest.mark.parametrize("k", KS)
def test_metrics_agree_with_an_independent_library(n_targets: int, k: int) -> None:
    ranks = random_ranks(n_targets)
    ours = metrics.metrics_per_user(ranks, [k])
    for name, measure in (
        (f"hit_rate@{k}", Success @ k),
        (f"ndcg@{k}", nDCG @ k),
        (f"recall@{k}", R @ k),
        (f"precision@{k}", P @ k),
        (f"map@{k}", AP @ k),
        ("mrr", RR),
    ):
        np.testing.assert_allclose(ours[name], trec_values(ranks, measure), rtol=0, atol=1e-9, err_msg=name)


def test_padded_arrays_and_rows_are_the_same() -> None:
    padded = np.array([[3, 1, 0], [7, 0, 0]])
    rows = Ragged.from_lists([[3, 1], [7]])
    assert metrics.metrics_from_ranks(padded) == metrics.metrics_from_ranks(rows)
    assert metrics.metrics_from_ranks(np.array([4, 9])) == metrics.metrics_from_ranks(np.array([[4], [9]]))


def test_one_target_gives_the_headline_and_several_give_all() -> None:
    assert set(metrics.metrics_from_ranks(np.array([1, 2]), ks=[10])) == {"hit_rate@10", "ndcg@10", "mrr"}
    several = metrics.metrics_from_ranks(np.array([[1, 2], [3, 0]]), ks=[10])
    assert {"recall@10", "precision@10", "map@10"} <= set(several)


@pytest.mark.parametrize("n_targets", [1, 5])
def test_metrics_are_one_for_the_first_rank_and_zero_for_the_last(n_targets: int) -> None:
    best = np.tile(np.arange(1, n_targets + 1), (4, 1))
    perfect = metrics.metrics_per_user(best, [n_targets])
    assert all((value == 1.0).all() for value in perfect.values()), perfect
    last = metrics.metrics_per_user(np.full((4, n_targets), 1000), [20])
    assert all((value == 0).all() for name, value in last.items() if name != "mrr")


def test_tied_targets_never_gain_more_than_untied_ones() -> None:
    tied, untied = np.array([[2, 2]]), np.array([[1, 2]])
    for name, value in metrics.metrics_per_user(tied, [1, 2, 5]).items():
        assert value <= metrics.metrics_per_user(untied, [1, 2, 5])[name], name


def test_bad_ranks_are_named() -> None:
    with pytest.raises(ValueError, match="no ranks"):
        metrics.metrics_from_ranks(np.empty((0, 1), dtype=np.int64))
    with pytest.raises(ValueError, match=r"1 users have no target .*row 1"):
        metrics.metrics_from_ranks(np.array([[1], [0]]))
    with pytest.raises(ValueError, match="a rank is -3"):
        metrics.metrics_from_ranks(np.array([-3]))
    with pytest.raises(ValueError, match=r"a rank is 2\.5; ranks are integers"):
        metrics.metrics_from_ranks(np.array([1.0, 2.5]))
    for k in (0, 1.5):
        with pytest.raises(ValueError, match=f"k={k}: the length of a list is an integer of at least 1"):
            metrics.precision(np.array([1]), k=k)
    with pytest.raises(ValueError, match="k=0"):
        metrics.metrics_from_ranks(np.array([1]), ks=[0])
