"""RecTools as a contender: its BERT4Rec, trained by Lightning as its own `fit` does."""

from __future__ import annotations

import resource
import sys
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

from benchmarks.peers.common import Clock, Examined, answer, histories_of

PAD = 0
FILTERS = ("filter_cold_users", "filter_cold_items", "filter_already_seen")


def train(settings: Namespace) -> dict[str, Any]:
    """Tokens a second at the sizes that all contenders have."""
    clock = Clock(settings.seconds)
    precision = "bf16-mixed" if settings.precision == "bfloat16" else "32-true"
    fit(settings, sizes_of(settings), _Count(clock), max_epochs=1000, precision=precision)
    return clock.result()


def quality(settings: Namespace) -> dict[str, Any]:
    """Scores of every user at the end of every epoch, at the settings of RecTools's own published BERT4Rec."""
    torch.manual_seed(0)
    sizes = {"n_factors": 256, "n_blocks": 2, "n_heads": 4, "session_max_len": 100, "mask_prob": 0.15}
    examining = _Examine(settings)
    fit(settings, {**sizes, "batch_size": 128, "lr": 0.001}, examining, max_epochs=1000)
    return {"seconds": examining.examined.seconds}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Users a second of `recommend`, ten items, seen ones left out, by a model that has taken one step."""
    few = {**sizes_of(settings), "batch_size": 2}  # its logits at every place would need gigabytes over many items
    model, data = fit(settings, few, Callback(), max_steps=1)
    model.recommend_batch_size = settings.batch
    users = np.arange(settings.users)
    start = time.perf_counter()
    found = model.recommend(users, data, k=10, filter_viewed=True)
    seconds = time.perf_counter() - start
    return {"users_per_second": found[Columns.User].nunique() / seconds, "users": len(users)}


def construct(settings: Namespace) -> dict[str, Any]:
    """Seconds and the process's peak memory of `Dataset.construct` on a table of ratings."""
    return clocked(settings, Dataset.construct)


def splits(settings: Namespace) -> dict[str, Any]:
    """The same from ratings to leave-one-out and the histories that its transformers train on."""

    def split(frame: pd.DataFrame) -> Any:
        splitter = LastNSplitter(1, n_splits=2, **dict.fromkeys(FILTERS, False))
        folds = list(splitter.split(Interactions(frame)))
        return SequenceDataset.from_interactions(Dataset.construct(frame.iloc[folds[0][0]]).interactions.df)

    return clocked(settings, split)


def clocked(settings: Namespace, call: Callable[[pd.DataFrame], Any]) -> dict[str, Any]:
    """Seconds of a call on a table of ratings in RecTools's words, and the process's peak memory."""
    frame = pd.read_parquet(settings.table)
    names = {"user_id": Columns.User, "movie_id": Columns.Item, "timestamp": Columns.Datetime}
    frame = frame.rename(columns=names).assign(**{Columns.Weight: 1.0})
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    start = time.perf_counter()
    call(frame)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {"seconds": seconds, "peak": peak}


def sizes_of(settings: Namespace) -> dict[str, Any]:
    """The sizes that all contenders have, in RecTools's words."""
    return {
        "n_factors": settings.width,
        "n_blocks": settings.layers,
        "n_heads": settings.heads,
        "session_max_len": settings.length,
        "batch_size": settings.batch,
        "dropout_rate": settings.dropout,
        "mask_prob": settings.mask,
    }


def fit(settings: Namespace, sizes: dict[str, Any], callback: Callback, **limits: Any) -> tuple[BERT4RecModel, Dataset]:
    """Train until the callback or the limits end it."""
    user, item = histories_of(settings)
    columns = {Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: np.arange(len(user))}
    data = Dataset.construct(pd.DataFrame(columns))

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(callbacks=[callback], enable_checkpointing=False, devices=1, **quiet, **limits)

    model = BERT4RecModel(**sizes, get_trainer_func=trainer)
    if isinstance(callback, _Examine):
        callback.model, callback.data = model, data
    model.fit(data)
    return model, data


class _Callback(Callback):
    """A callback that stays itself, though `fit` copies its trainer."""

    def __deepcopy__(self, memory: Any) -> _Callback:
        return self


class _Count(_Callback):
    """Tells the clock the tokens of every batch, and ends training when the time is over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.clock.batch_done(int((batch["x"] != PAD).sum()))


class _Examine(_Callback):
    """Hands the scores of every user over at the end of every epoch, and stops where that is asked for."""

    model: BERT4RecModel
    data: Dataset

    def __init__(self, settings: Namespace) -> None:
        self.examined = Examined(settings)

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.examined.start()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.examined.late()

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        trainer.should_stop = not self.examined.go_on(self.scores)
        module.train()

    def scores(self) -> tuple[Any, Any]:
        """Scores (users, items) in the order of users, and the item of every column."""
        prepare = self.model.data_preparator
        users = self.data.user_id_map.external_ids
        asked = prepare.transform_dataset_u2i(self.data, users)
        loader = prepare.get_dataloader_recommend(asked, 256)
        user, item = self.model.lightning_model._get_user_item_embeddings(loader, None)
        items = prepare.get_known_items_sorted_internal_ids()
        order = np.argsort(asked.user_id_map.external_ids.astype(np.int64))
        scores = (user @ item.cpu().T).float().numpy()[order][:, items]
        return scores, prepare.item_id_map.convert_to_external(items).astype(np.int64)


if __name__ == "__main__":
    actions = {"train": train, "quality": quality, "evaluation": evaluation, "construct": construct, "splits": splits}
    answer(actions, ("rectools", "torch", "pytorch-lightning"))
