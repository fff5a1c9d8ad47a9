"""cornac: `TransformerRec` with a BERT backbone and masked items."""

import contextlib
from argparse import Namespace
from typing import Any

import numpy as np
from cornac.data import SequentialDataset
from cornac.models import TransformerRec
from cornac.models.transformer_rec.objectives import MLMObjective

from benchmarks.peers.common import ThroughputMeter, TimeUp, metered, read_histories, run_action


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput; the loss is sampled, cornac's default."""
    if settings.precision == "bfloat16":
        raise ValueError("TransformerRec has no option for bfloat16")
    user, item = read_histories(settings)
    rows = zip(user.tolist(), user.tolist(), item.tolist(), np.arange(len(user)).tolist(), strict=True)
    data = SequentialDataset.build(list(rows), fmt="USIT")
    model = TransformerRec(
        backbone="bert",
        objective="mlm",
        embedding_dim=settings.width,
        num_blocks=settings.layers,
        num_heads=settings.heads,
        max_len=settings.length,
        batch_size=settings.batch,
        dropout=settings.dropout,
        mask_prob=settings.mask,
        n_epochs=1000,
        seed=0,
    )
    meter = ThroughputMeter(settings.seconds)

    def count_tokens(objective: Any, network: Any, rows: Any, *rest: Any) -> int:
        return int((np.asarray(rows) != objective.pad_idx).sum())

    MLMObjective.compute_loss = metered(meter, MLMObjective.compute_loss, count_tokens)
    with contextlib.suppress(TimeUp):
        model.fit(data)
    return meter.result()


if __name__ == "__main__":
    run_action({"train": train}, ("cornac", "torch", "transformers"))
