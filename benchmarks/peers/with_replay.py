"""RePlay: BERT4Rec, trained and evaluated with Lightning as in RePlay's example."""

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

from benchmarks.peers.common import QualityMonitor, ThroughputMeter, run_action

ITEMS = "item_id_seq"
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput."""
    meter = _MeterCallback(settings.seconds)
    precision = "bf16-mixed" if settings.precision == "bfloat16" else "32-true"
    fit(settings, meter, precision=precision, max_epochs=1000)
    return meter.result()


def quality(settings: Namespace) -> dict[str, Any]:
    """Sends the scores of every user after each epoch, with the settings of RePlay's example."""
    torch.manual_seed(0)
    sizes = {"width": 300, "layers": 2, "heads": 4, "length": 100, "batch": 512, "dropout": 0.5, "mask": 0.15}
    settings = Namespace(**{**vars(settings), **sizes})
    callback = _QualityCallback(settings)
    fit(settings, callback, max_epochs=1000)
    return {"seconds": callback.seconds}


def evaluation(settings: Namespace) -> dict[str, Any]:
    """Throughput of prediction with 10 items and seen items excluded, of an untrained model."""
    data = sequences(settings)
    model = build_model(settings, data)
    top_items = PandasPredictionCallback(10, "user_id", "item_id", postprocessors=[RemoveSeenItems(data)])
    queries = Subset(Bert4RecPredictionDataset(data, settings.length), range(min(settings.users, len(data))))
    trainer = Trainer(callbacks=[top_items], devices=1, inference_mode=True, **QUIET)
    start = time.perf_counter()
    trainer.predict(model, DataLoader(queries, batch_size=settings.batch), return_predictions=False)
    recommendations = top_items.get_result()
    seconds = time.perf_counter() - start
    return {"users_per_second": recommendations["user_id"].nunique() / seconds, "users": len(queries)}


def sequences(settings: Namespace) -> PandasSequentialDataset:
    """All histories, with item indices from 0."""
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


def build_model(settings: Namespace, data: PandasSequentialDataset) -> Bert4Rec:
    """An untrained model."""
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
    """Train until the callback or the limits of the Lightning trainer stop it."""
    data = sequences(settings)
    rows = Bert4RecTrainingDataset(data, settings.length, mask_prob=settings.mask)
    loader = DataLoader(rows, batch_size=settings.batch, shuffle=True)
    if isinstance(callback, _QualityCallback):
        callback.queries = DataLoader(Bert4RecPredictionDataset(data, settings.length), batch_size=settings.batch)
    Trainer(callbacks=[callback], devices=1, **QUIET, **limits).fit(build_model(settings, data), loader)


class _MeterCallback(ThroughputMeter, Callback):
    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = self.batch_done(int(batch["pad_mask"].sum()))


class _QualityCallback(QualityMonitor, Callback):
    queries: DataLoader[Any]

    def scores(self, module: Bert4Rec) -> tuple[Any, Any]:
        module.eval()
        with torch.inference_mode():
            scores = [
                module.predict(module.transfer_batch_to_device(batch, module.device, 0)) for batch in self.queries
            ]
        items = np.arange(self.settings.first_item, self.settings.vocab_size)
        return torch.cat(scores).float().cpu().numpy(), items


if __name__ == "__main__":
    actions = {"train": train, "quality": quality, "evaluation": evaluation}
    run_action(actions, ("replay-rec", "torch", "lightning"))
