"""A training step over a large catalogue: peak memory and time, and what sampling the catalogue costs in quality.

    python -m benchmarks.large_catalogue

Four losses take the same batches: logits at every place, at masked places all at once, at masked places in chunks, and
over a sample of the catalogue. Memory is measured in a process of its own for each; what logits at every place need
where they do not fit is computed, and named so: they and their gradient, of four bytes. For quality, users walk along a
chain of a few items that lie scattered in the catalogue, and after the same number of steps each loss is asked for the
next item of further walks.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.measure import in_process, load_of_machine, parser, peak_megabytes, ratio_row, row, write_result
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.negatives import NegativeSampler
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import ranks_from_scores
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.training_forward import training_forward_installed

MASK, FIRST = 1, 3  # input ids: padding, [MASK], unknown, then items
MASKED, LAYERS = 0.2, 2
TAUGHT, ASKED = (16, 20), 200  # rows and items of a batch where quality is measured, and walks that are asked about
LOSSES = {"at every place": "every", "all at once": "dense", "in chunks": "chunks", "sampled": "sampled"}
COPIES = 4  # of the logits that their forward and backward hold at a time, at most
SIZES = ("width", "batch", "length", "negatives", "walked")
Batch = dict[str, torch.Tensor]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=2)
    options.add_argument("--items", type=int, nargs="+", default=[60_000, 1_000_000], help="sizes of the catalogue")
    options.add_argument("--width", type=int, default=32)
    options.add_argument("--batch", type=int, default=32, help="rows in the step whose memory is measured")
    options.add_argument("--length", type=int, default=50, help="items in such a row")
    options.add_argument("--negatives", type=int, default=4096, help="items that stand for the catalogue")
    options.add_argument("--steps", type=int, default=200, help="steps of training before quality is measured")
    options.add_argument("--walked", type=int, default=100, help="items that anyone ever meets")
    options.add_argument("--measure", choices=list(LOSSES.values()), help="one step's memory, in this process")
    arguments = options.parse_args(argv)
    if arguments.measure:
        print(json.dumps(step_memory(arguments)))
        return
    load, rows, missing = load_of_machine(), [], {}
    for items in arguments.items:
        for name, loss in LOSSES.items():
            if loss == "every" and COPIES * logits_megabytes(arguments, items) > free_megabytes():
                computed = 2 * logits_megabytes(arguments, items)
                rows.append(row(f"{items:,} items, {name}, memory computed", "MB", [computed]))
                continue
            found = [measured(arguments, items, loss) for _ in range(arguments.repeats)]
            rows.append(row(f"{items:,} items, {name}, a step", "s", [taken["seconds"] for taken in found]))
            if found[0]["megabytes"] is None:
                missing[f"{items:,} items, {name}, peak memory"] = "the peak cannot be reset here"
                continue
            rows += memory_rows(arguments, items, name, [taken["megabytes"] for taken in found])
    for name in ("in chunks", "sampled"):
        reached = quality(arguments, arguments.items[-1], LOSSES[name])
        rows.append(row(f"{arguments.items[-1]:,} items, {name}, NDCG@10", "", [reached]))
    del arguments.measure
    write_result(arguments, "large_catalogue", rows, load, missing)


def memory_rows(arguments: Namespace, items: int, name: str, peaks: list[float]) -> list[dict[str, Any]]:
    """Peak memory, and for ours how it compares with the one buffer that there must not be."""
    rows = [row(f"{items:,} items, {name}, peak memory", "MB", peaks)]
    if name in ("in chunks", "sampled"):
        buffer = [logits_megabytes(arguments, items)] * len(peaks)
        label = f"{items:,} items, {name}, peak memory : a buffer of batch × length × catalogue"
        rows.append(ratio_row(label, peaks, buffer, at_most=1))
    return rows


def logits_megabytes(arguments: Namespace, items: int) -> float:
    """Logits at every place of a batch, in float32."""
    return arguments.batch * arguments.length * (items + FIRST) * 4 / 1e6


def free_megabytes() -> float:
    """Memory that is there to be taken; none where the system does not say."""
    information = Path("/proc/meminfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    return next((float(line.split()[1]) / 1e3 for line in lines if line.startswith("MemAvailable")), 0.0)


def measured(arguments: Namespace, items: int, loss: str) -> dict[str, Any]:
    """One measurement of a step, in a process of its own."""
    sizes = [part for name in SIZES for part in (f"--{name}", getattr(arguments, name))]
    return in_process(__file__, ["--items", items, *sizes, "--measure", loss])


def step_memory(arguments: Namespace) -> dict[str, Any]:
    """Seconds of a step, and the memory that forward and backward need above the weights and their gradients."""
    training_forward.MAX_DENSE_LOGITS = sys.maxsize if arguments.measure in ("every", "dense") else 0
    model, optimizer, batches = prepared(arguments, arguments.items[0], arguments.measure)
    batch = next(batches)
    with installed(model, arguments.measure):
        step(model, optimizer, batch)  # gradients and the optimizer's state are there from now on
        optimizer.zero_grad(set_to_none=False)
        megabytes = peak_megabytes(lambda: model(**batch).loss.backward())
        start = time.perf_counter()
        step(model, optimizer, batch)
        return {"seconds": time.perf_counter() - start, "megabytes": megabytes}


def installed(model: Bert4RecForMaskedLM, loss: str) -> AbstractContextManager[None]:
    """The trainer's forward, or the model's own where logits are made at every position."""
    return nullcontext() if loss == "every" else training_forward_installed(model)


def quality(arguments: Namespace, items: int, loss: str) -> float:
    """NDCG@10 of the last item of further walks, among the whole catalogue, after `steps` steps."""
    arguments = Namespace(**{**vars(arguments), "batch": TAUGHT[0], "length": TAUGHT[1]})
    model, optimizer, batches = prepared(arguments, items, loss)
    with installed(model, loss):
        for _ in tqdm(range(arguments.steps), desc=f"{items:,} items, {loss}", disable=None):
            step(model, optimizer, next(batches))
    arguments.batch = ASKED
    walks = walks_of(arguments, items, np.random.default_rng(1))
    asked, targets = walks.clone(), walks[:, -1:]
    asked[:, -1] = MASK
    with torch.no_grad():
        scores = model.eval().next_item_logits(asked, torch.ones_like(asked))
    return metrics_from_ranks(ranks_from_scores(scores, targets, asked, range(FIRST)).numpy())["ndcg@10"]


def prepared(arguments: Namespace, items: int, loss: str) -> tuple[Bert4RecForMaskedLM, torch.optim.Optimizer, Any]:
    """A fresh model, its optimizer and endless batches for that loss."""
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=items + FIRST,
        hidden_size=arguments.width,
        intermediate_size=4 * arguments.width,
        num_hidden_layers=LAYERS,
        max_position_embeddings=arguments.length,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,  # with the usual 0.02, so few steps would end on the plateau of popularity
        pre_layer_norm=True,
        rotary_positions=True,
        sparse_prediction=loss != "every",
    )
    model = Bert4RecForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0, fused=True)
    return model, optimizer, batches_of(arguments, items, loss == "sampled")


def step(model: Bert4RecForMaskedLM, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Forward, backward, update."""
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def batches_of(arguments: Namespace, items: int, sampled: bool) -> Any:
    """Masked walks without end, with negatives where the loss wants them."""
    generator, number = np.random.default_rng(0), 0
    counts = np.zeros(items + FIRST, dtype=np.int64)
    counts[met(arguments, items)] = 100
    sampler = NegativeSampler(counts, arguments.negatives, FIRST)
    while True:
        walks = walks_of(arguments, items, generator)
        masked = torch.from_numpy(generator.random(walks.shape) < MASKED)
        batch = {"input_ids": walks.masked_fill(masked, MASK), "labels": walks.masked_fill(~masked, -100)}
        if sampled:
            ids, log_count = sampler.draw(0, number)
            batch |= {"negatives": torch.from_numpy(ids), "negatives_log_count": torch.from_numpy(log_count)}
        number += 1
        yield batch


def met(arguments: Namespace, items: int) -> Any:
    """Input ids of the items that anyone meets, in the order of the one chain that they form, (walked,)."""
    return FIRST + np.random.default_rng(2).permutation(items)[: arguments.walked]


def walks_of(arguments: Namespace, items: int, generator: np.random.Generator) -> torch.Tensor:
    """A batch of walks along the chain, each from a place of chance, (batch, length)."""
    chain = met(arguments, items)
    starts = generator.integers(0, len(chain), (arguments.batch, 1))
    return torch.from_numpy(chain[(starts + np.arange(arguments.length)) % len(chain)])


if __name__ == "__main__":
    main()
