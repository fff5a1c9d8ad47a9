"""RePlay as a contender: its BERT4Rec, trained and asked by Lightning as its example does."""

from __future__ import annotations

import itertools
import time
from argparse import Namespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import Callback, Trainer
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from replay.models.nn.sequential.callbacks import PandasPredictionCallback
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from torch.utils.data import DataLoader, Subset

from benchmarks.peers.common import Clock, Examined, answer

ITEMS = "item_id_seq"
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def train(settings: Namespace) -> dict[str, Any]:
    """Tokens a second at the sizes that all contenders have."""
    clock = Clock(settings.seconds)
    precision = "bf16-mixed" if settings.precision == "bfloat16" else "32-true"
    fit(settings, _Count(clock), precision=precision, max_epochs=1000)
    return clock.result()


def quality(settings: Namespace) -> dict[str, Any]:
    """Scores of every user at the end of every epoch, at the settings of RePlay's own example."""
    torch.manual_seed(0)
    sizes = {"width": 300, "layers": 2, "heads": 4, "length": 100, "batch": 512, "dropout": 0.5, "mask": 0.15}
    settings = Namespace(**{**vars(settings), **sizes})
    examining = _Examine(settings)
    fit(settings, examining, max_epochs=1000)
    return {"seconds": examining.examined.seconds}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Users a second of a prediction, ten items, seen ones left out, by an untrained model."""
    data = sequences(settings)
    model = model_of(settings, data)
    best = PandasPredictionCallback(10, "user_id", "item_id", postprocessors=[RemoveSeenItems(data)])
    asked = Subset(Bert4RecPredictionDataset(data, settings.length), range(min(settings.users, len(data))))
    trainer = Trainer(callbacks=[best], devices=1, inference_mode=True, **QUIET)
    start = time.perf_counter()
    trainer.predict(model, DataLoader(asked, batch_size=settings.batch), return_predictions=False)
    found = best.get_result()
    seconds = time.perf_counter() - start
    return {"users_per_second": found["user_id"].nunique() / seconds, "users": len(asked)}


def sequences(settings: Namespace) -> PandasSequentialDataset:
    """All histories, items counted from 0."""
    data = np.load(settings.data)
    items, offsets = data["values"] - settings.first_item, data["offsets"]
    feature = TensorFeatureInfo(
        name=ITEMS,
        is_seq=True,
        cardinality=settings.vocab_size - settings.first_item,
        feature_type=FeatureType.CATEGORICAL,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
        feature_hint=FeatureHint.ITEM_ID,
        embedding_dim=settings.width,
    )
    rows = [items[start:stop] for start, stop in itertools.pairwise(offsets)]
    frame = pd.DataFrame({"user_id": np.arange(len(rows)), ITEMS: rows})
    return PandasSequentialDataset(TensorSchema(feature), "user_id", ITEMS, frame)


def model_of(settings: Namespace, data: PandasSequentialDataset) -> Bert4Rec:
    """A fresh model."""
    return Bert4Rec(
        data.schema,
        block_count=settings.layers,
        head_count=settings.heads,
        hidden_size=settings.width,
        max_seq_len=settings.length,
        dropout_rate=settings.dropout,
        optimizer_factory=FatOptimizerFactory(learning_rate=0.001),
    )


def fit(settings: Namespace, callback: Callback, **limits: Any) -> None:
    """Train until the callback or the limits end it."""
    data = sequences(settings)
    rows = Bert4RecTrainingDataset(data, settings.length, mask_prob=settings.mask)
    loader = DataLoader(rows, batch_size=settings.batch, shuffle=True)
    if isinstance(callback, _Examine):
        callback.asked = DataLoader(Bert4RecPredictionDataset(data, settings.length), batch_size=settings.batch)
    Trainer(callbacks=[callback], devices=1, **QUIET, **limits).fit(model_of(settings, data), loader)


class _Count(Callback):
    """Tells the clock the tokens of every batch, and ends training when the time is over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.clock.batch_done(int(batch["pad_mask"].sum()))


class _Examine(Callback):
    """Hands the scores of every user over at the end of every epoch, and stops where that is asked for."""

    asked: DataLoader[Any]

    def __init__(self, settings: Namespace) -> None:
        self.settings, self.examined = settings, Examined(settings)

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.examined.start()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.examined.late()

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        trainer.should_stop = not self.examined.go_on(lambda: self.scores(module))
        module.train()

    def scores(self, module: Bert4Rec) -> tuple[Any, Any]:
        """Scores (users, items) in the order of users, and the item of every column."""
        module.eval()
        with torch.inference_mode():
            scores = [module.predict(module.transfer_batch_to_device(batch, module.device, 0)) for batch in self.asked]
        items = np.arange(self.settings.first_item, self.settings.vocab_size)
        return torch.cat(scores).float().cpu().numpy(), items


if __name__ == "__main__":
    actions = {"train": train, "quality": quality, "evaluation": evaluation}
    answer(actions, ("replay-rec", "torch", "lightning"))
