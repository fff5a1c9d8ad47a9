"""The launcher's configurations, and evaluation that is shared out: every user counts once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

from tests.two_processes import LAUNCHER, USERS, ranks

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "training" / "accelerate").glob("*.yaml"))


def test_there_are_configurations_for_gpus_and_machines():
    assert [path.name for path in CONFIGS] == ["gpus.yaml", "machines.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))
    assert config.distributed_type == DistributedType.MULTI_GPU
    assert config.num_processes % config.num_machines == 0
    assert (config.num_machines > 1) == (path.name == "machines.yaml")


@pytest.mark.slow
def test_every_user_is_ranked_once_by_two_processes(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*LAUNCHER, str(ROOT / "tests" / "two_processes.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together = np.load(tmp_path / "ranks-of-2.npy")
    alone = ranks(tmp_path)
    assert together.shape == alone.shape == (USERS,)  # 31 users in batches of 4: the last batches are uneven
    assert len(set(alone.tolist())) > 1
    np.testing.assert_array_equal(together, alone)
