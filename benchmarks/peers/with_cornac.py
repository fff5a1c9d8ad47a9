"""cornac as a contender: its `TransformerRec` with a BERT backbone and masked items."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from typing import Any

import numpy as np
from cornac.data import SequentialDataset
from cornac.models import TransformerRec
from cornac.models.transformer_rec.objectives import MLMObjective

from benchmarks.peers.common import Clock, TimeOver, answer, counted, histories_of


def train(settings: Namespace) -> dict[str, Any]:
    """Tokens a second at the sizes that all contenders have; its loss is over a sample of items, as by default.

    Raises:
        ValueError: bfloat16 is asked for, which it does not offer.
    """
    if settings.precision == "bfloat16":
        raise ValueError("TransformerRec has no option for bfloat16")
    user, item = histories_of(settings)
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
    clock = Clock(settings.seconds)

    def tokens(objective: Any, network: Any, rows: Any, *rest: Any) -> int:
        return int((np.asarray(rows) != objective.pad_idx).sum())

    MLMObjective.compute_loss = counted(clock, MLMObjective.compute_loss, tokens)
    with contextlib.suppress(TimeOver):
        model.fit(data)
    return clock.result()


if __name__ == "__main__":
    answer({"train": train}, ("cornac", "torch", "transformers"))
