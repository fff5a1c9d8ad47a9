"""Throughput of a Cloze step: four optimizations, the cost of `previous_item`, the share of the machine's peak matmul.

    python -m benchmarks.training_step

Rows are synthetic in the shape of MovieLens 1M, cut to length 200 and batched by length as in training. The baseline
alternates with models that use `nn.Dropout`, multiply by torch's linear layers, compute the last layer at all positions
instead of the masked ones, or get the position's own item only. Each measurement runs in its own process, since the
malloc setting applies to a process.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.data import ITEMS, USERS, synthetic_lengths
from benchmarks.measure import benchmark_parser, cpu_load, ratio_row, row, run_in_process, write_result
from benchmarks.models import LAYERS, Batch, Step, step_of, untrained_model
from benchmarks.peers.common import timed
from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.windows import TrainingWindows, WindowSampler
from hf_bert4rec.training.hardware import bf16_is_fast, disable_malloc_trim, training_attention
from hf_bert4rec.training.training_forward import labelled_targets

DROPOUT = 0.2
# Options of `training_step` by the text of their rows.
VARIANTS: dict[str, dict[str, bool]] = {
    "": {},
    ", nn.Dropout": {"fast_dropout": False},
    ", last layer at all positions": {"labelled_only": False},
    ", own item only": {"previous_item": False},
    ", nn.Linear": {"convolved": False},
}
NO_TRIM, DEFAULT_MALLOC = "no_trim", "default"


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=3)
    add_size_options(parser, steps=8)
    parser.add_argument("--matmul_size", type=int, default=2048, help="size of the square peak matmul")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    rows = [line for size in arguments.hidden_sizes for line in result_rows(size, measure_all(arguments, size))]
    write_result(arguments, "training_step", rows, load)


def add_size_options(parser: Any, steps: int) -> None:
    """The options that `training_step` and `step_profile` share."""
    parser.add_argument("--hidden_sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--length", type=int, default=200, help="window of the model")
    parser.add_argument("--batch", type=int, default=128, help="rows per step")
    parser.add_argument("--steps", type=int, default=steps, help="steps per measurement")
    parser.add_argument("--users", type=int, default=USERS, help="number of synthetic histories")


def measure_all(arguments: Namespace, hidden_size: int) -> dict[str, list[dict[str, Any]]]:
    """Every measurement at one hidden size by malloc setting, interleaved."""
    measurements: dict[str, list[dict[str, Any]]] = {NO_TRIM: [], DEFAULT_MALLOC: []}
    for repeat in range(arguments.repeats):
        for malloc in list(measurements)[:: 1 if repeat % 2 == 0 else -1]:
            measurements[malloc].append(run_in_process(measure, arguments, hidden_size, malloc))
    return measurements


def result_rows(hidden_size: int, measurements: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Throughput and speed-up of every variant, and the share of peak matmul."""
    label = f"hidden size {hidden_size}"
    columns = {name: [result[name] for result in measurements[NO_TRIM]] for name in measurements[NO_TRIM][0]}
    for name, variant in ((", default malloc", ""), (", nn.Dropout and default malloc", ", nn.Dropout")):
        columns[name] = [result[variant] for result in measurements[DEFAULT_MALLOC]]
    throughputs = [*VARIANTS, ", default malloc", ", nn.Dropout and default malloc"]
    ratios = {
        "speed-up of FastDropout over nn.Dropout": ("", ", nn.Dropout"),
        "speed-up of convolutions over nn.Linear": ("", ", nn.Linear"),
        "speed-up of the last layer at masked positions only": ("", ", last layer at all positions"),
        "slow-down by the previous item": (", own item only", ""),
        "speed-up of malloc without trimming": ("", ", default malloc"),
    }
    units = {"peak matmul": "GFLOP/s", "share of peak matmul": "%", "padding": "%"}
    return [
        *(row(f"{label}, throughput{name}", "tokens/s", columns[name]) for name in throughputs),
        *(ratio_row(f"{label}, {name}", columns[ours], columns[other]) for name, (ours, other) in ratios.items()),
        *(row(f"{label}, {name}", unit, columns[name]) for name, unit in units.items()),
    ]


def measure(arguments: Namespace, hidden_size: int, malloc: str) -> dict[str, Any]:
    """Tokens per second of every variant, peak matmul, the baseline's share of it, and padding, in this process."""
    if malloc == NO_TRIM:
        disable_malloc_trim()
    batches = list(masked_batches(arguments))
    variants = {name: training_step(hidden_size, arguments.length, **options) for name, options in VARIANTS.items()}
    peaks = [peak_gflops(arguments.matmul_size)]
    seconds = time_steps(variants, batches)
    peaks.append(peak_gflops(arguments.matmul_size))
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    positions = sum(batch["input_ids"].numel() for batch in batches)
    gflops = sum(matmul_operations(batch, hidden_size) for batch in batches) / seconds[""] / 1e9
    return {
        **{name: tokens / taken for name, taken in seconds.items()},
        "peak matmul": max(peaks),
        "share of peak matmul": 100 * gflops / max(peaks),
        "padding": 100 * (1 - tokens / positions),
    }


def time_steps(variants: dict[str, Step], batches: list[Batch]) -> dict[str, float]:
    """Seconds of every variant for all batches, alternating batch by batch after one warm-up step each."""
    for step in variants.values():
        step(batches[0])
    seconds = dict.fromkeys(variants, 0.0)
    for index, batch in enumerate(batches):
        for name in list(variants)[:: 1 if index % 2 else -1]:
            seconds[name] += timed(partial(variants[name], batch))
    return seconds


def training_step(hidden_size: int, length: int, previous_item: bool = True, **options: bool) -> Step:
    """A step of an untrained model over a MovieLens 1M-sized catalogue."""
    config = {"num_attention_heads": max(1, hidden_size // 32), "hidden_dropout_prob": DROPOUT}
    model = untrained_model(ITEMS + 4, hidden_size, length, previous_item=previous_item, **config)
    model.set_attn_implementation(training_attention(length, bf16_is_fast()))
    return step_of(model, **options)


def masked_batches(arguments: Namespace) -> Iterator[Batch]:
    """Masked batches of synthetic histories with MovieLens 1M's lengths, sampled over all lengths, made lazily."""
    generator = np.random.default_rng(0)
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})
    lengths = synthetic_lengths(generator, arguments.users)
    histories = [generator.integers(tokenizer.first_item_id, len(tokenizer), length) for length in lengths]
    windows = TrainingWindows(Ragged.from_lists(histories), arguments.length)
    order = list(WindowSampler(windows, 0, arguments.batch))
    starts = range(0, max(1, len(order) - arguments.batch + 1), arguments.batch)
    sampled = generator.choice(starts, arguments.steps, replace=arguments.steps > len(starts))
    collate = DataCollatorForMaskedItems(tokenizer)
    return (collate([windows[index] for index in order[start : start + arguments.batch]]) for start in sampled)


def matmul_operations(batch: Batch, hidden_size: int) -> float:
    """Floating-point operations of a step's matrix products, with padding; backward costs two forwards.

    The last layer computes keys and values of all positions, and everything else of the labelled ones.
    """
    rows, length = batch["input_ids"].shape
    targets = labelled_targets(batch["labels"], None, sparse=True, vocab_size=ITEMS)
    assert targets.positions is not None
    positions, labels = targets.positions.numel(), len(targets.indices)
    projection = 2 * hidden_size**2  # per position; the feed-forward network is eight of them
    attention = 4 * length * hidden_size
    layer = rows * length * (12 * projection + attention)
    last_layer = 2 * rows * length * projection + positions * (2 * projection + attention) + labels * 8 * projection
    head = labels * (projection + 2 * hidden_size * (ITEMS + 4))
    return 3.0 * ((LAYERS - 1) * layer + last_layer + head)


def peak_gflops(size: int, repeats: int = 5) -> float:
    """The highest GFLOP/s of a square matrix product in the training precision."""
    matrix = torch.randn(size, size, dtype=torch.bfloat16 if bf16_is_fast() else torch.float32)
    return 2 * size**3 / min(timed(lambda: matrix @ matrix) for _ in range(repeats + 1)) / 1e9


if __name__ == "__main__":
    main()
