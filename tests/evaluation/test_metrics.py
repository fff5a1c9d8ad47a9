"""Rank metrics against trec_eval (through ir-measures), edge cases, and the offline module for `evaluate.load`."""

import evaluate
import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation import metrics
from hf_bert4rec.evaluation.ranking_metrics import PATH

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
        metrics.metrics_from_ranks(np.array([2, -3]))
    with pytest.raises(ValueError, match=r"a rank is 2\.5; ranks are integers"):
        metrics.metrics_from_ranks(np.array([1.0, 2.5]))
    for k in (0, 1.5):
        with pytest.raises(ValueError, match=f"k={k}: the length of a list is an integer of at least 1"):
            metrics.precision(np.array([1]), k=k)
    with pytest.raises(ValueError, match="k=0"):
        metrics.metrics_from_ranks(np.array([1]), ks=[0])


RANKS = np.random.default_rng(0).integers(1, 30, 50)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return evaluate.load(PATH, cache_dir=str(tmp_path))


def test_batches_give_the_metrics_of_all_ranks(module) -> None:
    for start in range(0, len(RANKS), 20):
        module.add_batch(ranks=RANKS[start : start + 20])
    assert module.compute(ks=[5]) == metrics.metrics_from_ranks(RANKS, ks=[5])


def test_several_targets_per_user(module) -> None:
    computed = module.compute(ranks=[[1, 2], [3]], ks=[10])
    # the second user's NDCG is 1 / log2(1 + 3) = 0.5, precision (2 + 1) / 10 over two users
    assert computed["ndcg@10"] == 0.75
    assert computed["precision@10"] == pytest.approx(0.15)


@pytest.mark.parametrize("ranks", [[1.5, 2.0], [float("nan"), 2.0], [[1.0], [2.25, 1.0]]])
def test_ranks_that_are_not_whole_are_refused(module, ranks) -> None:
    with pytest.raises(ValueError, match=r"a rank is (1\.5|nan|2\.25); ranks are integers"):
        module.compute(ranks=ranks)


def test_whole_float_ranks_count_as_integers(module) -> None:
    assert module.compute(ranks=[1.0, 4.0], ks=[2]) == {"hit_rate@2": 0.5, "ndcg@2": 0.5, "mrr": 0.625}
