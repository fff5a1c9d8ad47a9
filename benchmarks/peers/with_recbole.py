"""RecBole: BERT4Rec with RecBole's trainer, which makes one row of every prefix of a history."""

import contextlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import BERT4Rec
from recbole.trainer import Trainer
from recbole.utils import init_seed

from benchmarks.peers.common import ThroughputMeter, TimeUp, metered, read_histories, run_action

PAD = 0


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput; the tokens of every prefix count."""
    config = Config(model="BERT4Rec", dataset="histories", config_dict=config_dict(settings))
    init_seed(0, True)
    data = create_dataset(config)
    training, _, _ = data_preparation(config, data)
    model = BERT4Rec(config, training.dataset).to(config["device"])
    meter = ThroughputMeter(settings.seconds)
    loss = metered(meter, model.calculate_loss, lambda batch: int((batch[model.MASK_ITEM_SEQ] != PAD).sum()))
    model.calculate_loss = loss
    with contextlib.suppress(TimeUp):
        Trainer(config, model).fit(training, saved=False)
    return meter.result()


def config_dict(settings: Namespace) -> dict[str, Any]:
    """RecBole's names of the settings; writes the interactions in its file format."""
    folder = Path(settings.scratch) / "histories"
    folder.mkdir()
    user, item = read_histories(settings)
    head = "user_id:token\titem_id:token\ttimestamp:float"
    table = np.stack([user, item, np.arange(len(user))], axis=1)
    np.savetxt(folder / "histories.inter", table, "%d", "\t", header=head, comments="")
    return {
        "data_path": settings.scratch,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": settings.length,
        "hidden_size": settings.width,
        "inner_size": 4 * settings.width,
        "n_layers": settings.layers,
        "n_heads": settings.heads,
        "hidden_dropout_prob": settings.dropout,
        "attn_dropout_prob": settings.dropout,
        "mask_ratio": settings.mask,
        "train_neg_sample_args": None,
        "train_batch_size": settings.batch,
        "epochs": 1000,
        "enable_amp": settings.precision == "bfloat16",
        "checkpoint_dir": settings.scratch,
        "show_progress": False,
        "state": "WARNING",
    }


if __name__ == "__main__":
    run_action({"train": train}, ("recbole", "torch"))
