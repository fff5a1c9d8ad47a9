"""Tokens a second of a training step, what three of its parts bring, and its share of the machine's matrix products.

    python -m benchmarks.training_step

Rows are made up in the shape of MovieLens 1M, cut to length 200 and batched by length as in training. Each measurement
is a process of its own, as the allocator is told once whether to keep freed memory; within it the step takes turns with
one whose dropout is torch's own, and with one whose last layer works out every place and not the masked ones alone.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from benchmarks.histories import ITEMS, USERS, made_up_lengths
from benchmarks.measure import in_process, load_of_machine, parser, ratio_row, row, write_result
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.hardware import bf16_is_fast, disable_malloc_trim, training_attention
from hf_bert4rec.training.trainer import WindowSampler
from hf_bert4rec.training.training_forward import (
    LABEL_COUNT_MULTIPLE,
    labelled_positions,
    training_forward_installed,
)

LAYERS, DROPOUT = 2, 0.2
KINDS = AS_IT_IS, PLAIN_DROPOUT, EVERY_PLACE = "as it is", "nn.Dropout", "last layer at every place"
SIZES = ("widths", "length", "batch", "steps", "users", "products")
Batch = dict[str, torch.Tensor]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=3)
    options.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    options.add_argument("--length", type=int, default=200, help="the model's window")
    options.add_argument("--batch", type=int, default=128, help="rows in a step")
    options.add_argument("--steps", type=int, default=8, help="steps in a measurement")
    options.add_argument("--users", type=int, default=USERS, help="histories to make up")
    options.add_argument("--products", type=int, default=2048, help="width of the matrices of the machine's peak")
    options.add_argument("--measure", choices=["kept", "given back"], help="one measurement, in this process")
    arguments = options.parse_args(argv)
    if arguments.measure:
        keep = arguments.measure == "kept" and disable_malloc_trim()
        print(json.dumps({**measure(arguments), "kept": keep}))
        return
    load = load_of_machine()
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for width in arguments.widths:
        found = measurements(arguments, width)
        rows += rows_of(width, found)
        if not all(taken["kept"] for taken in found["kept"]):
            missing[f"width {width}, freed memory kept"] = "the allocator cannot be told; the rows above are without"
    del arguments.measure
    write_result(arguments, "training_step", rows, load, missing)


def measurements(arguments: Namespace, width: int) -> dict[str, list[dict[str, Any]]]:
    """Every measurement at one width, taken in turns."""
    sizes = [part for name in SIZES[1:] for part in (f"--{name}", getattr(arguments, name))]
    found: dict[str, list[dict[str, Any]]] = {"kept": [], "given back": []}
    for repeat in range(arguments.repeats):
        for memory in list(found)[:: 1 if repeat % 2 == 0 else -1]:
            found[memory].append(in_process(__file__, ["--widths", width, *sizes, "--measure", memory]))
    return found


def rows_of(width: int, found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Speeds, what memory and dropout bring, and the share of the peak, of one width."""
    ours, theirs, every = ([taken[kind] for taken in found["kept"]] for kind in KINDS)
    returned, neither, _ = ([taken[kind] for taken in found["given back"]] for kind in KINDS)
    name = f"width {width}"
    return [
        row(f"{name}, training step", "tokens/s", ours),
        row(f"{name}, with nn.Dropout", "tokens/s", theirs),
        row(f"{name}, last layer at every place", "tokens/s", every),
        row(f"{name}, freed memory given back", "tokens/s", returned),
        row(f"{name}, with nn.Dropout and memory given back", "tokens/s", neither),
        ratio_row(f"{name}, FastDropout : nn.Dropout", ours, theirs),
        ratio_row(f"{name}, last layer at masked places : at every place", ours, every),
        ratio_row(f"{name}, freed memory kept : given back", ours, returned),
        row(f"{name}, matrix products' peak", "GFLOP/s", [taken["peak"] for taken in found["kept"]]),
        row(f"{name}, share of that peak", "%", [taken["share"] for taken in found["kept"]]),
        row(f"{name}, padding", "%", [taken["padding"] for taken in found["kept"]]),
    ]


@dataclass
class Trained:
    """A model with what a step of training needs."""

    model: Bert4RecForMaskedLM
    optimizer: torch.optim.Optimizer
    fast_dropout: bool = True
    labelled_only: bool = True

    def step(self, batch: Batch) -> None:
        """Forward, backward, clip, update, as the recipes do."""
        with training_forward_installed(self.model, self.fast_dropout), self._positions():
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
                loss = self.model(**batch).loss
            loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _positions(self) -> AbstractContextManager[Any]:
        """All positions through the last layer, unless the labelled ones only."""
        if self.labelled_only:
            return nullcontext()
        return mock.patch.object(training_forward, "supports_query_positions", return_value=False)


def measure(arguments: Namespace) -> dict[str, Any]:
    """Tokens a second of every kind of step, the peak, and the share of it, in this process."""
    width = arguments.widths[0]
    batches = made_up_batches(arguments)
    kinds = {
        AS_IT_IS: trained(width, arguments.length),
        PLAIN_DROPOUT: trained(width, arguments.length, fast_dropout=False),
        EVERY_PLACE: trained(width, arguments.length, labelled_only=False),
    }
    seconds = dict.fromkeys(kinds, 0.0)
    peaks = [peak(arguments.products)]
    for number, batch in enumerate([batches[0], *batches]):
        for name in list(kinds)[:: 1 if number % 2 else -1]:
            taken = clocked(partial(kinds[name].step, batch))
            seconds[name] += taken if number else 0.0  # the first step warms up
    peaks.append(peak(arguments.products))
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    places = sum(batch["input_ids"].numel() for batch in batches)
    done = sum(products(batch, width) for batch in batches) / seconds[AS_IT_IS] / 1e9
    return {
        **{name: tokens / taken for name, taken in seconds.items()},
        "peak": max(peaks),
        "share": 100 * done / max(peaks),
        "padding": 100 * (1 - tokens / places),
    }


def trained(width: int, length: int, **options: bool) -> Trained:
    """A fresh model in the recipes' form."""
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=ITEMS + 4,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=length,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=0.0,
        pre_layer_norm=True,
        rotary_positions=True,
    )
    model = Bert4RecForMaskedLM(config).train()
    model.set_attn_implementation(training_attention(length, bf16_is_fast()))
    return Trained(model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), **options)


def made_up_batches(arguments: Namespace) -> list[Batch]:
    """Masked batches of histories as long and as uneven as MovieLens 1M's, short and long ones alike."""
    return list(drawn(arguments))


def drawn(arguments: Namespace) -> Iterator[Batch]:
    """Those batches, each drawn and masked when it is asked for."""
    generator = np.random.default_rng(0)
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})
    lengths = made_up_lengths(generator, arguments.users)
    histories = [generator.integers(tokenizer.first_item_id, len(tokenizer), length) for length in lengths]
    windows = TrainingWindows(Ragged.from_lists(histories), arguments.length)
    order = list(WindowSampler(windows, 0, arguments.batch))
    starts = range(0, max(1, len(order) - arguments.batch + 1), arguments.batch)
    chosen = generator.choice(starts, arguments.steps, replace=arguments.steps > len(starts))
    collate = DataCollatorForMaskedItems(tokenizer)
    return (collate([windows[index] for index in order[start : start + arguments.batch]]) for start in chosen)


def products(batch: Batch, width: int) -> float:
    """Operations of the matrix products of a step, with what sizes are rounded up by; backward costs two forwards.

    The last layer makes keys and values of every place, and all else of the labelled ones.
    """
    rows, length = batch["input_ids"].shape
    queries = labelled_positions(batch["labels"], LABEL_COUNT_MULTIPLE)
    places, labelled = queries.positions.numel(), len(queries.indices)
    square = 2 * width**2  # of a projection, for a place; the feed-forward is eight of them
    layer = rows * length * (12 * square + 4 * length * width)  # 4 projections; attention
    last = 2 * rows * length * square + places * (2 * square + 4 * length * width) + labelled * 8 * square
    head = labelled * (square + 2 * width * (ITEMS + 4))
    return 3.0 * ((LAYERS - 1) * layer + last + head)


def peak(size: int, repeats: int = 5) -> float:
    """The best GFLOP/s of a square matrix product, in the precision that training takes."""
    left = torch.randn(size, size, dtype=torch.bfloat16 if bf16_is_fast() else torch.float32)
    return 2 * size**3 / min(clocked(lambda: left @ left) for _ in range(repeats + 1)) / 1e9


def clocked(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
