"""Peak memory and time of a training step with a large catalogue, and the quality of the sampled softmax.

    python -m benchmarks.large_catalogue

Four losses are compared on the same batches: logits at all positions, dense logits at masked positions, chunked logits
at masked positions, and sampled softmax. Each is measured in its own process. Where logits at all positions do not fit
into memory, their size is estimated: logits and their gradient, 4 bytes each. Quality is measured on walks along a
cyclic chain of a few items scattered over the catalogue: each loss trains for the same number of steps, then predicts
the last item of new walks.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from tqdm import tqdm

from benchmarks.measure import benchmark_parser, cpu_load, peak_megabytes, ratio_row, row, run_in_process, write_result
from benchmarks.models import FIRST_ITEM_ID, MASK_ID, Batch, untrained_model
from benchmarks.peers.common import timed
from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.data.random_streams import NegativeSampler
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import ranks_from_scores
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.training_forward import training_forward_installed

MASK_PROBABILITY = 0.2
QUALITY_BATCH, QUALITY_LENGTH, QUALITY_WALKS = 16, 20, 200  # training batch and test walks of the quality rows
ALL_POSITIONS, DENSE, CHUNKED, SAMPLED = "all_positions", "dense", "chunked", "sampled"
LOSSES = {
    ALL_POSITIONS: "logits at all positions",
    DENSE: "dense logits",
    CHUNKED: "chunked logits",
    SAMPLED: "sampled softmax",
}
LOGIT_COPIES = 4  # copies of the logits that forward and backward hold at once, at most


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=2)
    parser.add_argument("--items", type=int, nargs="+", default=[60_000, 1_000_000], help="catalogue sizes")
    parser.add_argument("--hidden_size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32, help="rows per step")
    parser.add_argument("--length", type=int, default=50, help="items per row")
    parser.add_argument("--negatives", type=int, default=4096, help="negatives of the sampled softmax")
    parser.add_argument("--steps", type=int, default=200, help="training steps before quality is measured")
    parser.add_argument("--chain", type=int, default=100, help="items in the chain that walks follow")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    rows = [line for items in arguments.items for loss in LOSSES for line in step_rows(arguments, items, loss)]
    for loss in (CHUNKED, SAMPLED):
        ndcg = quality(arguments, arguments.items[-1], loss)
        rows.append(row(f"{arguments.items[-1]:,} items, NDCG@10, {LOSSES[loss]}", "", [ndcg]))
    write_result(arguments, "large_catalogue", rows, load)


def step_rows(arguments: Namespace, items: int, loss: str) -> list[dict[str, Any]]:
    """Step time and peak memory of one loss; chunked and sampled losses also relative to the full logits."""
    full_logits = arguments.batch * arguments.length * (items + FIRST_ITEM_ID) * 4 / 1e6  # float32, all positions
    if loss == ALL_POSITIONS and LOGIT_COPIES * full_logits > psutil.virtual_memory().available / 1e6:
        return [row(f"{items:,} items, estimated memory, {LOSSES[loss]}", "MB", [2 * full_logits])]
    measurements = [run_in_process(measure_step, arguments, items, loss) for _ in range(arguments.repeats)]
    seconds = [measurement["seconds"] for measurement in measurements]
    peaks = [measurement["megabytes"] for measurement in measurements]
    rows = [row(f"{items:,} items, step time, {LOSSES[loss]}", "s", seconds)]
    rows.append(row(f"{items:,} items, peak memory, {LOSSES[loss]}", "MB", peaks))
    if loss in (CHUNKED, SAMPLED):
        ratio = f"{items:,} items, peak memory / (batch × length × catalogue) buffer, {LOSSES[loss]}"
        rows.append(ratio_row(ratio, peaks, [full_logits] * len(peaks), at_most=1))
    return rows


def measure_step(arguments: Namespace, items: int, loss: str) -> dict[str, Any]:
    """Seconds of a step, and peak memory of forward and backward above weights, gradients and optimizer state."""
    training_forward.MAX_DENSE_LOGITS = sys.maxsize if loss in (ALL_POSITIONS, DENSE) else 0
    model, optimizer = model_and_optimizer(arguments, items, loss)
    batch = next(training_batches(arguments, items, loss))
    with forward_of(model, loss):
        step(model, optimizer, batch)  # allocates gradients and optimizer state
        optimizer.zero_grad(set_to_none=False)
        megabytes = peak_megabytes(lambda: model(**batch).loss.backward())
        seconds = timed(lambda: step(model, optimizer, batch))
    return {"seconds": seconds, "megabytes": megabytes}


def forward_of(model: Bert4RecForMaskedLM, loss: str) -> AbstractContextManager[None]:
    """The trainer's forward; the model's own for logits at all positions."""
    return nullcontext() if loss == ALL_POSITIONS else training_forward_installed(model)


def quality(arguments: Namespace, items: int, loss: str) -> float:
    """Full-catalogue NDCG@10 of the last item of new walks after `steps` training steps."""
    arguments = Namespace(**{**vars(arguments), "batch": QUALITY_BATCH, "length": QUALITY_LENGTH})
    model, optimizer = model_and_optimizer(arguments, items, loss)
    batches = training_batches(arguments, items, loss)
    with forward_of(model, loss):
        for _ in tqdm(range(arguments.steps), desc=f"{items:,} items, {LOSSES[loss]}", disable=None):
            step(model, optimizer, next(batches))
    arguments.batch = QUALITY_WALKS
    walks = draw_walks(arguments, items, np.random.default_rng(1))
    inputs, targets = walks.clone(), walks[:, -1:]
    inputs[:, -1] = MASK_ID
    with torch.no_grad():
        scores = model.eval().next_item_logits(inputs, torch.ones_like(inputs))
    return metrics_from_ranks(ranks_from_scores(scores, targets, inputs, range(FIRST_ITEM_ID)).numpy())["ndcg@10"]


def model_and_optimizer(
    arguments: Namespace, items: int, loss: str
) -> tuple[Bert4RecForMaskedLM, torch.optim.Optimizer]:
    """An untrained model for this loss, and its optimizer."""
    model = untrained_model(
        items + FIRST_ITEM_ID,
        arguments.hidden_size,
        arguments.length,
        initializer_range=0.2,  # with 0.02, a few hundred steps do not get beyond popularity
        sparse_prediction=loss != ALL_POSITIONS,
    ).train()
    return model, torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0, fused=True)


def step(model: Bert4RecForMaskedLM, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Forward, backward, update; gradients stay allocated."""
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def training_batches(arguments: Namespace, items: int, loss: str) -> Iterator[Batch]:
    """An endless stream of masked walks, with negatives for the sampled softmax."""
    generator, index = np.random.default_rng(0), 0
    counts = np.zeros(items + FIRST_ITEM_ID, dtype=np.int64)
    counts[chain_ids(arguments, items)] = 100
    sampler = NegativeSampler(counts, arguments.negatives, FIRST_ITEM_ID)
    while True:
        walks = draw_walks(arguments, items, generator)
        masked = torch.from_numpy(generator.random(walks.shape) < MASK_PROBABILITY)
        batch = {"input_ids": walks.masked_fill(masked, MASK_ID), "labels": walks.masked_fill(~masked, -100)}
        if loss == SAMPLED:
            ids, log_count = sampler.draw(0, index)
            batch |= {"negatives": torch.from_numpy(ids), "negatives_log_count": torch.from_numpy(log_count)}
        index += 1
        yield batch


def chain_ids(arguments: Namespace, items: int) -> npt.NDArray[np.int64]:
    """Input ids of the chain in order, scattered over the catalogue, (chain,)."""
    return FIRST_ITEM_ID + np.random.default_rng(2).permutation(items)[: arguments.chain]


def draw_walks(arguments: Namespace, items: int, generator: np.random.Generator) -> torch.Tensor:
    """Walks along the chain from random starts, (batch, length)."""
    chain = chain_ids(arguments, items)
    starts = generator.integers(0, len(chain), (arguments.batch, 1))
    return torch.from_numpy(chain[(starts + np.arange(arguments.length)) % len(chain)])


if __name__ == "__main__":
    main()
