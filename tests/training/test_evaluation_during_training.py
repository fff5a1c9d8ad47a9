"""Evaluation by the trainer: several data sets, any batch size, and a rule for the best checkpoint."""

from __future__ import annotations

import pytest

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.training.trainer import Bert4RecTrainingArguments
from tests.training.test_trainer import ITEMS, make_trainer


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})


def test_the_best_checkpoint_is_that_of_one_data_set_of_several(tokenizer, tmp_path):
    trainer = make_trainer(tokenizer, tmp_path, num_train_epochs=2, metric_for_best_model="late_ndcg@10")
    users = trainer.eval_dataset
    halves = [(0, 48), (48, 96)]
    early, late = (NextItemDataset(users.histories.rows(*half), users.targets.rows(*half)) for half in halves)
    trainer.eval_dataset = {"early": early, "late": late}
    trainer.train()
    logged = [entry["eval_late_ndcg@10"] for entry in trainer.state.log_history if "eval_late_ndcg@10" in entry]
    assert trainer.state.best_metric == max(logged)
    assert trainer.evaluate(late)["eval_ndcg@10"] == pytest.approx(max(logged))


def test_the_batch_size_of_evaluation_changes_no_metric(tokenizer, tmp_path):
    trainer = make_trainer(tokenizer, tmp_path)
    expected = trainer.evaluate()
    trainer.args.per_device_eval_batch_size = 1
    actual = trainer.evaluate()
    names = ["eval_ndcg@10", "eval_hit_rate@5", "eval_mrr"]
    assert [actual[name] for name in names] == [expected[name] for name in names]


@pytest.mark.parametrize("metric", ["late_loss", "lndcg@10"])
def test_another_metric_is_refused(tmp_path, metric):
    with pytest.raises(ValueError, match=f"metric_for_best_model is one of .*; not {metric}"):
        Bert4RecTrainingArguments(str(tmp_path), metric_for_best_model=metric)
