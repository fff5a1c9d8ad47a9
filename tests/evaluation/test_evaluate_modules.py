"""The `evaluate` modules load from a folder, take batches, and say what the metrics say."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest

from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.modules import path

RANKS = np.random.default_rng(0).integers(1, 30, 50)


@pytest.mark.parametrize(("name", "options"), [("hit_rate", {"k": 5}), ("ndcg", {"k": 5}), ("mrr", {})])
def test_a_module_fed_in_batches_equals_the_metric(name: str, options: dict[str, int], tmp_path) -> None:
    module = evaluate.load(path(name), cache_dir=str(tmp_path))
    for start in range(0, len(RANKS), 20):
        module.add_batch(ranks=RANKS[start : start + 20])
    ((key, value),) = module.compute(**options).items()
    assert value == pytest.approx(metrics_from_ranks(RANKS, ks=[5])[key], abs=1e-12)


def test_several_targets_a_user(tmp_path) -> None:
    module = evaluate.load(path("ndcg"), cache_dir=str(tmp_path))
    assert module.compute(ranks=[[1, 2], [3]], k=10) == {"ndcg@10": 0.75}


def test_an_unknown_module_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="no evaluate module called 'map'; there are hit_rate, mrr, ndcg"):
        path("map")
