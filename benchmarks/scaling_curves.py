"""Scaling exponents of time and peak memory in users, history length and catalogue size.

    python -m benchmarks.scaling_curves

Each size is doubled four times while the others stay fixed. Four workloads are measured: a training step (users are the
rows of its batch), full-ranking evaluation, data preparation (ratings to histories and splits), and initialization
(embeddings from co-occurrence, and the transition memory). Rows are the slope of a straight line through the
logarithms; 1 is proportional. The result file has all points, and `plots.py` draws them.
"""

import itertools
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm

from benchmarks.measure import benchmark_parser, cpu_load, peak_megabytes, row, time_interleaved, write_result
from benchmarks.models import FIRST_ITEM_ID, MASK_ID, step_of, untrained_model
from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.data import build_histories, leave_one_out
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.data.transitions import fit_transition_memory
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.training.initialization import cooccurrence_embeddings

HIDDEN_SIZE, BATCH, TOP_K, MEMORY_SIZE = 64, 128, 10, 200
MASK_PROBABILITY = 0.2
MIN_INTERACTIONS = 2  # low enough that no item of the largest catalogue is filtered out
MIN_MEGABYTES = 1.0  # smaller peaks are rounding errors of the allocator
Workload = Callable[[], Any]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a workload: users, items per history, items in the catalogue."""

    users: int
    length: int
    items: int


START_SIZES = {
    "training step": Sizes(users=16, length=25, items=3416),
    "evaluation": Sizes(users=250, length=25, items=3416),
    "data preparation": Sizes(users=10_000, length=25, items=3416),
    "initialization": Sizes(users=10_000, length=25, items=3416),
}
AXES = {"users": "users", "length": "history length", "items": "catalogue size"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=3)
    parser.add_argument("--doublings", type=int, default=4, help="how often each size is doubled")
    arguments = parser.parse_args(argv)
    load, rows, curves = cpu_load(), [], []
    for work, axis in itertools.product(START_SIZES, AXES):
        points = measure_curve(arguments, work, axis)
        curves.append({"work": work, "axis": axis, "points": points})
        rows.append(row(f"{work}, time vs {AXES[axis]}", "exponent", exponents(points, "seconds")))
        rows.append(row(f"{work}, peak memory vs {AXES[axis]}", "exponent", exponents(points, "megabytes")))
    write_result(arguments, "scaling_curves", rows, load, curves=curves)


def measure_curve(arguments: Namespace, work: str, axis: str) -> list[dict[str, Any]]:
    """Seconds and megabytes of every repeat at every size of one axis; the other sizes stay at their start."""
    sizes = START_SIZES[work]
    points = []
    for doubling in tqdm(range(arguments.doublings + 1), desc=f"{work}, {axis}", disable=None):
        size = getattr(sizes, axis) * 2**doubling
        call = WORKLOADS[work](replace(sizes, **{axis: size}))
        seconds = time_interleaved({"": call}, arguments.repeats)[""]
        peaks = [peak_megabytes(call) for _ in range(arguments.repeats)]
        points.append({"size": size, "seconds": seconds, "megabytes": peaks})
    return points


def exponents(points: list[dict[str, Any]], quantity: str) -> list[float]:
    """The slope of a straight line through the logarithms, one per repeat."""
    sizes = np.log([point["size"] for point in points])
    floor = MIN_MEGABYTES if quantity == "megabytes" else 0.0
    repeats = np.log(np.maximum([point[quantity] for point in points], floor)).T
    return [float(np.polyfit(sizes, values, 1)[0]) for values in repeats]


def training_step(sizes: Sizes) -> Workload:
    """Forward, backward and update on one batch of rows without padding."""
    generator = torch.Generator().manual_seed(0)
    step = step_of(model_of(sizes))
    items = torch.randint(FIRST_ITEM_ID, sizes.items + FIRST_ITEM_ID, (sizes.users, sizes.length), generator=generator)
    masked = torch.rand(items.shape, generator=generator) < MASK_PROBABILITY
    masked[:, 0] = True
    batch = {
        "input_ids": items.masked_fill(masked, MASK_ID),
        "attention_mask": torch.ones_like(items),
        "labels": items.masked_fill(~masked, -100),
    }
    return lambda: step(batch)


def evaluation(sizes: Sizes) -> Workload:
    """The rank of the held-out item and the top 10 of every user."""
    generator = np.random.default_rng(0)
    model = model_of(sizes).eval()
    histories = (
        np.stack([generator.permutation(sizes.items)[: sizes.length + 1] for _ in range(sizes.users)]) + FIRST_ITEM_ID
    )
    seen = Ragged(histories[:, :-1].ravel(), offsets_of(np.full(sizes.users, sizes.length)))
    targets = Ragged(histories[:, -1], offsets_of(np.ones(sizes.users, np.int64)))

    def scorer(batch: Ragged) -> torch.Tensor:
        rows = torch.from_numpy(batch.values).view(len(batch), -1)
        rows = torch.cat([rows[:, 1:], torch.full((len(batch), 1), MASK_ID)], dim=1)
        with torch.inference_mode():
            return model.next_item_logits(rows, torch.ones_like(rows))

    options: dict[str, Any] = {"vocab_size": sizes.items + FIRST_ITEM_ID, "special_ids": range(FIRST_ITEM_ID)}
    return partial(rank_targets, scorer, seen, targets, top_k=TOP_K, batch_size=BATCH, **options)


def data_preparation(sizes: Sizes) -> Workload:
    """Ratings to histories and leave-one-out."""
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(sizes.users), sizes.length)
    pairs = np.unique(user * sizes.items + generator.integers(0, sizes.items, len(user)))
    times = generator.integers(800_000_000, 1_600_000_000, len(pairs))
    columns = {"user_id": pairs // sizes.items, "movie_id": pairs % sizes.items, "timestamp": times}
    ratings = Dataset.from_dict(columns)
    return lambda: leave_one_out(build_histories(ratings, min_interactions=MIN_INTERACTIONS))


def initialization(sizes: Sizes) -> Workload:
    """Embeddings from co-occurrence, and the transition memory, of uniformly random histories."""
    generator = np.random.default_rng(0)
    items = generator.integers(FIRST_ITEM_ID, sizes.items + FIRST_ITEM_ID, sizes.users * sizes.length)
    histories = Ragged(items, offsets_of(np.full(sizes.users, sizes.length)))
    model = model_of(sizes, memory_size=MEMORY_SIZE)

    def call() -> None:
        cooccurrence_embeddings(
            histories, sizes.items + FIRST_ITEM_ID, HIDDEN_SIZE, model.config.initializer_range, seed=0
        )
        fit_transition_memory(model, histories)

    return call


WORKLOADS: dict[str, Callable[[Sizes], Workload]] = {
    "training step": training_step,
    "evaluation": evaluation,
    "data preparation": data_preparation,
    "initialization": initialization,
}


def model_of(sizes: Sizes, **options: Any) -> Bert4RecForMaskedLM:
    return untrained_model(sizes.items + FIRST_ITEM_ID, HIDDEN_SIZE, sizes.length, **options)


if __name__ == "__main__":
    main()
