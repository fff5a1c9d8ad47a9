"""Ranks of an uneven number of users, gathered from the two processes that a launcher runs."""

import sys
from pathlib import Path

import numpy as np
from accelerate import PartialState

from tests.stress.workloads import tiny_trainer

USERS = 31
CONFIG = Path(__file__).resolve().parents[2] / "training" / "accelerate" / "gpus.yaml"
LAUNCHER = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIG), "--num_processes", "2"),
    *("--main_process_port", "0"),  # any free port: another run may use the default one
)


def ranks(folder: Path) -> np.ndarray:
    """The rank of every target of the first users, from a model with random weights."""
    trainer = tiny_trainer(folder, per_device_eval_batch_size=4)
    next_items = trainer.eval_dataset
    for name in ("histories", "targets"):
        setattr(next_items, name, getattr(next_items, name).rows(0, USERS))
    predicted = trainer.predict(next_items).predictions[:, 0]
    if trainer.is_world_process_zero():
        np.save(folder / f"ranks-of-{trainer.args.world_size}.npy", predicted)
    return predicted


if __name__ == "__main__":
    ranks(Path(sys.argv[1]))
    # Threads of the group that still run at exit sometimes abort the process.
    PartialState().destroy_process_group()
