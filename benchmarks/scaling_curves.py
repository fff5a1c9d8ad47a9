"""How time and memory grow: with users, with the length of histories and with the catalogue, each doubled four times.

    python -m benchmarks.scaling_curves

Four kinds of work are measured: a training step (whose users are the rows of its batch), a full-ranking evaluation,
ratings to histories and splits, and what training does with these before its first step: the start of embeddings from
co-occurrence, and the memory of what followed what. The table has the power that each grows by, 1 being proportional,
from a straight line through the logarithms; the points themselves are in the result, and plots.py draws them.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm

from benchmarks.measure import interleaved, load_of_machine, parser, peak_megabytes, row, write_result
from benchmarks.training_step import Trained
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data import build_histories, leave_one_out
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.training.initialization import cooccurrence_embeddings, fit_transition_memory

MASK, FIRST, MASKED = 1, 3, 0.2  # input ids: padding, [MASK], unknown, then items
WIDTH, LAYERS, BATCH, TOP_K, MEMORY = 64, 2, 128, 10, 200
CORE = 2  # interactions that users and items need: few enough for the largest catalogue to be left
LEAST = 1.0  # megabytes: fewer are as good as one, the allocator's rounding is larger
Call = Callable[[], Any]


@dataclass(frozen=True)
class Sizes:
    """Of a piece of work: users, items of each one's history, items of the catalogue."""

    users: int
    length: int
    items: int


STARTS = {
    "training step": Sizes(users=16, length=25, items=3416),
    "evaluation": Sizes(users=250, length=25, items=3416),
    "data preparation": Sizes(users=10_000, length=25, items=3416),
    "start of training": Sizes(users=10_000, length=25, items=3416),
}
AXES = ("users", "length", "items")


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=3)
    options.add_argument("--doublings", type=int, default=4, help="times that each size is doubled")
    options.add_argument("--scale", type=float, default=1.0, help="share of the users to start with")
    arguments = options.parse_args(argv)
    load, rows, curves, missing = load_of_machine(), [], [], {}
    for work, axis in [(work, axis) for work in STARTS for axis in AXES]:
        curve = measured(arguments, work, axis)
        curves.append({"work": work, "axis": axis, "points": curve})
        rows.append(row(f"{work}, time against {axis}", "power", powers(curve, "seconds")))
        if any(point["megabytes"] is None for point in curve):
            missing[f"{work}, memory against {axis}"] = "the peak cannot be reset here"
        else:
            rows.append(row(f"{work}, memory against {axis}", "power", powers(curve, "megabytes")))
    write_result(arguments, "scaling_curves", rows, load, missing, curves=curves)


def measured(arguments: Namespace, work: str, axis: str) -> list[dict[str, Any]]:
    """Seconds and megabytes of every repeat at every size of one axis, the others as they start."""
    start = STARTS[work]
    start = replace(start, users=max(2, round(start.users * arguments.scale)))
    points = []
    for doubling in tqdm(range(arguments.doublings + 1), desc=f"{work}, {axis}", disable=None):
        size = getattr(start, axis) * 2**doubling
        call = PREPARE[work](replace(start, **{axis: size}))
        seconds = interleaved({"": call}, arguments.repeats)[""]
        peaks = [peak for _ in range(arguments.repeats) if (peak := peak_megabytes(call)) is not None]
        points.append({"size": size, "seconds": seconds, "megabytes": peaks or None})
    return points


def powers(curve: list[dict[str, Any]], what: str) -> list[float]:
    """The slope of a straight line through the logarithms, of every repeat."""
    sizes = np.log([point["size"] for point in curve])
    repeats = np.log(np.maximum([point[what] for point in curve], LEAST if what == "megabytes" else 0.0)).T
    return [float(np.polyfit(sizes, values, 1)[0]) for values in repeats]


def training_step(sizes: Sizes) -> Call:
    """Forward, backward and update on one batch of rows without padding."""
    generator = torch.Generator().manual_seed(0)
    model = fresh_model(sizes).train()
    trained = Trained(model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True))
    items = torch.randint(FIRST, sizes.items + FIRST, (sizes.users, sizes.length), generator=generator)
    masked = torch.rand(items.shape, generator=generator) < MASKED
    masked[:, 0] = True
    batch = {
        "input_ids": items.masked_fill(masked, MASK),
        "attention_mask": torch.ones_like(items),
        "labels": items.masked_fill(~masked, -100),
    }
    return lambda: trained.step(batch)


def evaluation(sizes: Sizes) -> Call:
    """The rank of a held-out item of every user, and the ten best."""
    generator = np.random.default_rng(0)
    model = fresh_model(sizes).eval()
    histories = np.stack([generator.permutation(sizes.items)[: sizes.length + 1] for _ in range(sizes.users)]) + FIRST
    seen = Ragged(histories[:, :-1].ravel(), offsets_of(np.full(sizes.users, sizes.length)))
    targets = Ragged(histories[:, -1], offsets_of(np.ones(sizes.users, np.int64)))

    def scorer(asked: Ragged) -> torch.Tensor:
        rows = torch.from_numpy(asked.values).view(len(asked), -1)
        rows = torch.cat([rows[:, 1:], torch.full((len(asked), 1), MASK)], dim=1)
        with torch.inference_mode():
            return model.next_item_logits(rows, torch.ones_like(rows))

    vocab_size, special = sizes.items + FIRST, range(FIRST)
    return lambda: rank_targets(
        scorer, seen, targets, vocab_size=vocab_size, special_ids=special, top_k=TOP_K, batch_size=BATCH
    )


def data_preparation(sizes: Sizes) -> Call:
    """Ratings to histories and leave-one-out."""
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(sizes.users), sizes.length)
    pairs = np.unique(user * sizes.items + generator.integers(0, sizes.items, len(user)))
    times = generator.integers(800_000_000, 1_600_000_000, len(pairs))
    columns = {"user_id": pairs // sizes.items, "movie_id": pairs % sizes.items, "timestamp": times}
    ratings = Dataset.from_dict(columns)
    return lambda: leave_one_out(build_histories(ratings, min_interactions=CORE))


def start_of_training(sizes: Sizes) -> Call:
    """Embeddings from co-occurrence, and a memory, of histories in which every item is as frequent as another."""
    generator = np.random.default_rng(0)
    items = generator.integers(FIRST, sizes.items + FIRST, sizes.users * sizes.length)
    histories = Ragged(items, offsets_of(np.full(sizes.users, sizes.length)))
    model = fresh_model(sizes, memory_size=MEMORY)

    def call() -> None:
        cooccurrence_embeddings(histories, sizes.items + FIRST, WIDTH, model.config.initializer_range, seed=0)
        fit_transition_memory(model, histories)

    return call


PREPARE: dict[str, Callable[[Sizes], Call]] = {
    "training step": training_step,
    "evaluation": evaluation,
    "data preparation": data_preparation,
    "start of training": start_of_training,
}


def fresh_model(sizes: Sizes, **options: Any) -> Bert4RecForMaskedLM:
    """An untrained model for these sizes."""
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=sizes.items + FIRST,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        max_position_embeddings=sizes.length,
        attention_probs_dropout_prob=0.0,
        pre_layer_norm=True,
        rotary_positions=True,
        **options,
    )
    return Bert4RecForMaskedLM(config)


if __name__ == "__main__":
    main()
