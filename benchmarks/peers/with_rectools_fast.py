"""The fast transformers of RecTools: `UniSRecModel`, trained by its `fit` with Lightning; their loader.

`UniSRecModel` is the only one of them with a training loop. It predicts the next item at every position, and its items
are a projection of embeddings that are not trained.
"""

import contextlib
import time
from argparse import Namespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from rectools.fast_transformers import UniSRecLightning, UniSRecModel, build_sequences

from benchmarks.peers.common import ThroughputMeter, TimeUp, metered, process_megabytes, read_histories, run_action

PAD = 0
WINDOW = 200  # of the loader's sequences


def train(settings: Namespace) -> dict[str, Any]:
    """Training throughput with the smallest projection of items, one matrix; the loss is over the full catalogue."""
    if settings.precision == "bfloat16":
        raise ValueError("UniSRecModel has no option for bfloat16")
    user, item = read_histories(settings)
    model = UniSRecModel(
        torch.randn(settings.vocab_size, settings.width),
        n_factors=settings.width,
        n_blocks=settings.layers,
        n_heads=settings.heads,
        session_max_len=settings.length,
        batch_size=settings.batch,
        dropout=settings.dropout,
        use_adaptor_ffn=False,
        ffn_type="linear_gelu",
        ffn_expansion=4,
        epochs=1000,
    )
    meter = ThroughputMeter(settings.seconds)

    def count_tokens(module: Any, batch: dict[str, Any], index: int) -> int:
        return int((batch["x"] != PAD).sum())

    UniSRecLightning.training_step = metered(meter, UniSRecLightning.training_step, count_tokens)
    with contextlib.suppress(TimeUp):
        model.fit(*map(torch.from_numpy, (user, item.astype(np.int64), np.arange(len(user)))))
    return meter.result()


def fast_sequences(settings: Namespace) -> dict[str, Any]:
    """Time and peak memory of the loader: padded training sequences of every user."""
    frame = pd.read_parquet(settings.table)
    columns = [torch.from_numpy(frame[name].to_numpy()) for name in ("user_id", "movie_id", "timestamp")]
    start = time.perf_counter()
    build_sequences(*columns, max_len=WINDOW)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": process_megabytes("VmHWM")}


if __name__ == "__main__":
    run_action({"train": train, "fast_sequences": fast_sequences}, ("rectools", "torch", "pytorch-lightning"))
