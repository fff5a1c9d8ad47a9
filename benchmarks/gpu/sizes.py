"""Sizes of the measurements: those of the table, and tiny ones to try every row on a CPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Sizes:
    """Sizes that rows are built from.

    `widths` are hidden sizes, `batches` rows per step, `examined` the width and the batch of rows that vary something
    else. The first of `recipes` is trained with every seed, the last with one. `catalogues` are numbers of
    items, with numbers of users to rank. `seconds` is the duration of one timing, `patience` a factor of all time
    limits. `compiler` is the backend of `torch.compile`.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    batches: tuple[int, ...] = (128, 1024)
    examined: tuple[tuple[int, int], ...] = ((128, 512), (512, 512))
    length: int = 200
    items: int = 3416
    users: int = 6040
    catalogues: tuple[tuple[int, int], ...] = ((3416, 12_000), (60_000, 12_000), (1_000_000, 4096))
    matmul: int = 8192
    seconds: float = 0.3
    repeats: int = 3
    trainer_steps: int = 60
    requests: int = 200
    recipes: tuple[str, ...] = ("ml-1m-quick", "ml-1m")
    recipe_options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    patience: int = 1
    compiler: str = "inductor"


FULL = Sizes()
TINY = Sizes(
    widths=(32,),
    batches=(4,),
    examined=((32, 4),),
    length=16,
    items=60,
    users=40,
    catalogues=((60, 20), (90, 20)),
    matmul=64,
    seconds=0.01,
    repeats=2,
    trainer_steps=6,
    requests=5,
    recipe_options=(
        *("--hidden_size=16", "--intermediate_size=32", "--max_position_embeddings=12", "--window_stride=12"),
        *("--num_train_epochs=1", "--memory_size=5"),
    ),
    seeds=(1,),
    patience=10,
    compiler="aot_eager",
)


def heads(width: int) -> int:
    """Attention heads at a hidden size: 64 dimensions each, and at least two heads."""
    return max(2, width // 64)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(call: Callable[[], Any]) -> float:
    """Seconds until the device has done the work of a call."""
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def peak_megabytes() -> float | None:
    """Peak memory of the device's tensors since the row began; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
