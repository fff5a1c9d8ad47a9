"""RecTools: BERT4Rec, trained by `fit` with Lightning; full-ranking recommendation; data preparation."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset, Interactions
from rectools.model_selection import LastNSplitter
from rectools.models import BERT4RecModel
from rectools.models.nn.transformers.data_preparator import SequenceDataset

from benchmarks.peers.common import QualityMonitor, ThroughputMeter, process_megabytes, read_histories, run_action

PAD = 0
FILTERS = ("filter_cold_users", "filter_cold_items", "filter_already_seen")


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput."""
    meter = _MeterCallback(settings.seconds)
    precision = "bf16-mixed" if settings.precision == "bfloat16" else "32-true"
    fit(settings, model_options(settings), meter, max_epochs=1000, precision=precision)
    return meter.result()


def quality(settings: Namespace) -> dict[str, Any]:
    """Sends the scores of every user after each epoch, with the settings of RecTools' published BERT4Rec."""
    torch.manual_seed(0)
    options = {"n_factors": 256, "n_blocks": 2, "n_heads": 4, "session_max_len": 100, "mask_prob": 0.15}
    callback = _QualityCallback(settings)
    fit(settings, {**options, "batch_size": 128, "lr": 0.001}, callback, max_epochs=1000)
    return {"seconds": callback.seconds}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Throughput of `recommend` with 10 items and seen items excluded, of a model trained for one step."""
    options = {**model_options(settings), "batch_size": 2}  # logits at all positions of larger batches take gigabytes
    model, data = fit(settings, options, Callback(), max_steps=1)
    model.recommend_batch_size = settings.batch
    users = np.arange(settings.users)
    start = time.perf_counter()
    recommendations = model.recommend(users, data, k=10, filter_viewed=True)
    seconds = time.perf_counter() - start
    return {"users_per_second": recommendations[Columns.User].nunique() / seconds, "users": len(users)}


def construct(settings: Namespace) -> dict[str, Any]:
    """Time and peak memory of `Dataset.construct` on a table of ratings."""
    return time_preparation(settings, Dataset.construct)


def splits(settings: Namespace) -> dict[str, Any]:
    """Time and peak memory from ratings to leave-one-out splits and the sequences that RecTools' models train on."""

    def split(frame: pd.DataFrame) -> Any:
        splitter = LastNSplitter(1, n_splits=2, **dict.fromkeys(FILTERS, False))
        folds = list(splitter.split(Interactions(frame)))
        return SequenceDataset.from_interactions(Dataset.construct(frame.iloc[folds[0][0]]).interactions.df)

    return time_preparation(settings, split)


def time_preparation(settings: Namespace, call: Callable[[pd.DataFrame], Any]) -> dict[str, Any]:
    """Seconds of a call on a table of ratings with RecTools' column names, and peak memory of the process."""
    frame = pd.read_parquet(settings.table)
    names = {"user_id": Columns.User, "movie_id": Columns.Item, "timestamp": Columns.Datetime}
    frame = frame.rename(columns=names).assign(**{Columns.Weight: 1.0})
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    start = time.perf_counter()
    call(frame)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": process_megabytes("VmHWM")}


def model_options(settings: Namespace) -> dict[str, Any]:
    """RecTools' names of the settings."""
    return {
        "n_factors": settings.width,
        "n_blocks": settings.layers,
        "n_heads": settings.heads,
        "session_max_len": settings.length,
        "batch_size": settings.batch,
        "dropout_rate": settings.dropout,
        "mask_prob": settings.mask,
    }


def fit(
    settings: Namespace, options: dict[str, Any], callback: Callback, **limits: Any
) -> tuple[BERT4RecModel, Dataset]:
    """Train until the callback or the limits of the Lightning trainer stop it."""
    user, item = read_histories(settings)
    columns = {Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: np.arange(len(user))}
    data = Dataset.construct(pd.DataFrame(columns))

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(callbacks=[callback], enable_checkpointing=False, devices=1, **quiet, **limits)

    model = BERT4RecModel(**options, get_trainer_func=trainer)
    if isinstance(callback, _QualityCallback):
        callback.model, callback.data = model, data
    model.fit(data)
    return model, data


class _SharedCallback(Callback):
    """A callback that `fit` does not copy along with the trainer."""

    def __deepcopy__(self, memory: Any) -> _SharedCallback:
        return self


class _MeterCallback(ThroughputMeter, _SharedCallback):
    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.batch_done(int((batch["x"] != PAD).sum()))


class _QualityCallback(QualityMonitor, _SharedCallback):
    model: BERT4RecModel
    data: Dataset

    def scores(self, module: Any) -> tuple[Any, Any]:
        prepare = self.model.data_preparator
        users = self.data.user_id_map.external_ids
        queries = prepare.transform_dataset_u2i(self.data, users)
        loader = prepare.get_dataloader_recommend(queries, 256)
        user, item = self.model.lightning_model._get_user_item_embeddings(loader, None)
        items = prepare.get_known_items_sorted_internal_ids()
        order = np.argsort(queries.user_id_map.external_ids.astype(np.int64))
        scores = (user @ item.cpu().T).float().numpy()[order][:, items]
        return scores, prepare.item_id_map.convert_to_external(items).astype(np.int64)


if __name__ == "__main__":
    training = {"train": train, "quality": quality, "evaluation": evaluation}
    preparation = {"construct": construct, "splits": splits}
    run_action({**training, **preparation}, ("rectools", "torch", "pytorch-lightning"))
