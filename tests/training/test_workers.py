"""Batches and weights do not depend on how long data loader workers live, nor on how they are started."""

from __future__ import annotations

import pytest
import torch
from torch import multiprocessing

from hf_bert4rec import Bert4RecTokenizer
from tests.training.test_trainer import ITEMS, make_trainer

QUIET = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 3}
PERSISTENT = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})


@pytest.fixture
def spawn():
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method("fork", force=True)


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def trained(tokenizer, folder, **options) -> dict[str, torch.Tensor]:
    trainer = make_trainer(tokenizer, folder, **{**QUIET, **options})
    trainer.train()
    return weights(trainer)


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_persistent_workers_mask_by_the_epoch(tokenizer, tmp_path):
    plain = make_trainer(tokenizer, tmp_path).get_train_dataloader()
    persistent = make_trainer(tokenizer, tmp_path, **PERSISTENT).get_train_dataloader()
    for epoch in (0, 1, 0):
        labels = []
        for loader in (plain, persistent):
            loader.set_epoch(epoch)
            labels.append(torch.cat([batch["labels"] for batch in loader]))
        assert torch.equal(*labels)


@pytest.mark.slow
def test_persistent_workers_do_not_change_the_weights(tokenizer, tmp_path):
    assert_equal(trained(tokenizer, tmp_path, **PERSISTENT), trained(tokenizer, tmp_path))


@pytest.mark.slow
def test_spawned_workers_do_not_change_the_weights(tokenizer, tmp_path, spawn):
    assert_equal(trained(tokenizer, tmp_path, **PERSISTENT), trained(tokenizer, tmp_path))


def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(tokenizer, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 8, "save_total_limit": None, **PERSISTENT}  # 6 steps an epoch
    uninterrupted = trained(tokenizer, tmp_path, **options)
    resumed = make_trainer(tokenizer, tmp_path, **{**QUIET, **options})
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert_equal(weights(resumed), uninterrupted)
