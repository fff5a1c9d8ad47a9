"""A run starts, resumes with its original options, and refuses others."""

from __future__ import annotations

import json

import pytest

from hf_bert4rec.training.arguments import MaskingArguments, ModelArguments
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.fit import OPTIONS_FILE, run
from tests.stress.workloads import tiny_trainer

OPTIONS = {"learning_rate": 1e-3, "mlm_probability": 0.3, "seed": 42, "num_train_epochs": 1}


def test_a_resumed_run_needs_the_options_of_its_start(tmp_path):
    run(tiny_trainer(tmp_path, epochs=1), OPTIONS)
    assert json.loads((tmp_path / OPTIONS_FILE).read_text()) == OPTIONS
    changed = {**OPTIONS, "learning_rate": 5e-4, "seed": 1}
    with pytest.raises(ValueError, match=r"learning_rate is 0.0005 and was 0.001; seed is 1 and was 42. Resume with"):
        run(tiny_trainer(tmp_path, epochs=2, resume_from_checkpoint="last"), changed)
    longer = tiny_trainer(tmp_path, epochs=2, resume_from_checkpoint="last")
    run(longer, {**OPTIONS, "num_train_epochs": 2})
    assert longer.state.global_step == 8  # 32 rows in batches of 8, twice


def test_a_new_run_replaces_the_checkpoints_and_options_of_an_earlier_one(tmp_path):
    run(tiny_trainer(tmp_path, epochs=2), OPTIONS)
    run(tiny_trainer(tmp_path, epochs=1), {**OPTIONS, "seed": 1})
    assert not (tmp_path / "checkpoint-8").exists()
    assert json.loads((tmp_path / OPTIONS_FILE).read_text())["seed"] == 1


def test_resuming_needs_a_checkpoint(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no complete checkpoint in .*: start without --resume_from_checkpoint"
    ):
        run(tiny_trainer(tmp_path, resume_from_checkpoint="last"), OPTIONS)


def test_the_causal_task_is_for_models_that_are_not_causal():
    with pytest.raises(ValueError, match=r"causal_prob=0\.5 with causal=true"):
        build_trainer(None, ModelArguments(causal=True), MaskingArguments(causal_prob=0.5), None)
