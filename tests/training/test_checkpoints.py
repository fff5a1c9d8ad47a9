"""Training never resumes from an incomplete checkpoint, nor runs pickled code of one."""

import pickle
from pathlib import Path

import pytest
import torch

from hf_bert4rec.training.checkpoints import (
    COMPLETE_FILE,
    IncompleteCheckpointError,
    check_complete,
    latest_complete,
    mark_complete,
    remove_incomplete,
)
from tests.pickles import MaliciousPickle
from tests.stress.workloads import tiny_trainer


@pytest.fixture
def trained(tmp_path) -> Path:
    """A folder with complete checkpoints of every other step up to 12."""
    tiny_trainer(tmp_path, save_total_limit=None).train()
    return tmp_path


def test_incomplete_checkpoints_are_recognised_and_removed(trained):
    assert latest_complete(trained) == trained / "checkpoint-12"
    (trained / "checkpoint-12" / "optimizer.pt").unlink()
    with pytest.raises(
        IncompleteCheckpointError, match=r"optimizer.pt is missing: the checkpoint is incomplete; resume"
    ):
        tiny_trainer(trained).train(resume_from_checkpoint=str(trained / "checkpoint-12"))
    assert latest_complete(trained) == trained / "checkpoint-10"
    weights = trained / "checkpoint-10" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IncompleteCheckpointError, match=r"has [\d,]+ bytes instead of"):
        check_complete(weights.parent)
    (trained / "checkpoint-8" / COMPLETE_FILE).write_text('{"model.safe')
    with pytest.raises(IncompleteCheckpointError, match="was not completely written"):
        check_complete(trained / "checkpoint-8")
    assert latest_complete(trained) == trained / "checkpoint-6"
    (trained / "checkpoint-12-backup").mkdir()  # a user's own
    remove_incomplete(trained)
    assert sorted(path.name for path in trained.glob("checkpoint-*")) == [
        "checkpoint-12-backup",
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]


def test_a_folder_without_checkpoints_has_no_latest_one(tmp_path):
    assert latest_complete(tmp_path) is None
    assert latest_complete(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-12").mkdir()
    (tmp_path / "checkpoint-notes").mkdir()
    assert latest_complete(tmp_path) is None


def test_the_number_of_checkpoints_is_limited_and_the_last_is_complete(tmp_path):
    trainer = tiny_trainer(tmp_path)
    trainer.train()
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert len(names) == 2
    assert Path(trainer.state.best_model_checkpoint).name in names
    assert latest_complete(tmp_path) == tmp_path / "checkpoint-12"
    assert trainer.args.save_total_limit == 2


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_states_in_a_checkpoint_are_unpickled_as_weights_only(trained, tmp_path, name):
    mark = tmp_path / "created"
    checkpoint = trained / "checkpoint-6"
    torch.save({"state": MaliciousPickle(mark)}, checkpoint / name)
    mark_complete(checkpoint)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        tiny_trainer(trained).train(resume_from_checkpoint=str(checkpoint))
    assert not mark.exists()


def test_the_pickled_arguments_of_a_checkpoint_are_never_read(trained, tmp_path):
    mark = tmp_path / "created"
    checkpoint = trained / "checkpoint-10"
    (checkpoint / "training_args.bin").write_bytes(pickle.dumps(MaliciousPickle(mark)))
    mark_complete(checkpoint)
    tiny_trainer(trained).train(resume_from_checkpoint=str(checkpoint))
    assert not mark.exists()
