"""The `evaluate` module loads offline from its folder, accepts batches, and returns the package's metrics."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest

from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking_metrics import PATH

RANKS = np.random.default_rng(0).integers(1, 30, 50)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return evaluate.load(PATH, cache_dir=str(tmp_path))


def test_batches_give_the_metrics_of_all_ranks(module) -> None:
    for start in range(0, len(RANKS), 20):
        module.add_batch(ranks=RANKS[start : start + 20])
    assert module.compute(ks=[5]) == metrics_from_ranks(RANKS, ks=[5])


def test_several_targets_per_user(module) -> None:
    metrics = module.compute(ranks=[[1, 2], [3]], ks=[10])
    # the second user's NDCG is 1 / log2(1 + 3) = 0.5, precision (2 + 1) / 10 over two users
    assert metrics["ndcg@10"] == 0.75
    assert metrics["precision@10"] == pytest.approx(0.15)


@pytest.mark.parametrize("ranks", [[1.5, 2.0], [float("nan"), 2.0], [[1.0], [2.25, 1.0]]])
def test_ranks_that_are_not_whole_are_refused(module, ranks) -> None:
    with pytest.raises(ValueError, match=r"a rank is (1\.5|nan|2\.25); ranks are integers"):
        module.compute(ranks=ranks)


def test_whole_float_ranks_count_as_integers(module) -> None:
    assert module.compute(ranks=[1.0, 4.0], ks=[2]) == {"hit_rate@2": 0.5, "ndcg@2": 0.5, "mrr": 0.625}
