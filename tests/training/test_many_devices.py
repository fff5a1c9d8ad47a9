"""Launcher configurations, and distributed evaluation that counts every user once."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.model.modeling_bert4rec import Bert4RecLayer
from tests.processes import run_python
from tests.training.two_processes import LAUNCHER, USERS, ranks

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "training" / "accelerate").glob("*.yaml"))


def test_configurations_exist_for_gpus_and_machines():
    assert [path.name for path in CONFIGS] == ["fsdp.yaml", "gpus.yaml", "machines.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))
    sharded = path.name == "fsdp.yaml"
    assert config.distributed_type == (DistributedType.FSDP if sharded else DistributedType.MULTI_GPU)
    assert config.num_processes % config.num_machines == 0
    assert (config.num_machines > 1) == (path.name == "machines.yaml")
    if sharded:
        assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == Bert4RecLayer.__name__
        assert Bert4RecLayer.__name__ in Bert4RecForMaskedLM._no_split_modules


def launch(script: str, folder: Path, *arguments: str) -> None:
    """Run a script of this folder in two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run_python(
        *LAUNCHER[1:], str(Path(__file__).with_name(script)), str(folder), *arguments, env=environment, cwd=folder
    )


@pytest.mark.slow
def test_sharded_weights_are_trained_and_evaluated_like_unsharded_ones(tmp_path):
    for how in ("sharded", "unsharded"):
        launch("sharded.py", tmp_path, how)
    sharded, unsharded = (load_file(tmp_path / f"{how}.safetensors") for how in ("sharded", "unsharded"))
    assert unsharded["ndcg"] > 0
    torch.testing.assert_close(sharded, unsharded)


@pytest.mark.slow
def test_every_user_is_ranked_once_by_two_processes(tmp_path):
    launch("two_processes.py", tmp_path)
    gathered, single = np.load(tmp_path / "ranks-of-2.npy"), ranks(tmp_path)
    assert gathered.shape == single.shape == (USERS,)  # 31 users in batches of 4: the last batches are uneven
    assert len(set(single.tolist())) > 1
    np.testing.assert_array_equal(gathered, single)
