"""Where the time of a training step goes: the share of every kind of operation, forward and backward together.

    python -m benchmarks.step_profile

The steps are those of training_step.py, as told by torch's profiler; data is what drawing and masking a batch takes
beside them.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence

from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import load_of_machine, parser, row, write_result
from benchmarks.training_step import USERS, Trained, drawn, trained
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.training.hardware import disable_malloc_trim

ATTENTION = "attention, its products left out"
# What an operation's name has in it, the first group that fits; the rest is "other".
GROUPS = {
    ATTENTION: ("scaled_dot_product", "flash_attention"),
    "loss": ("softmax", "cross_entropy", "nll_loss"),
    "layer norm": ("layer_norm", "LayerNorm"),
    "optimizer and clipping": ("adam", "Optimizer", "_norm", "clamp"),
    "matrix products": ("aten::mm", "addmm", "bmm", "matmul", "linear", "Addmm", "Mm"),
    "activation": ("gelu", "Gelu"),
    "random numbers of dropout": ("random_", "bernoulli", "dropout", "aten::ge"),
    "embedding and gathering": ("embedding", "index", "gather", "scatter"),
    "copies and fills": ("copy", "fill", "zero", "aten::cat", "clone", "aten::to", "empty"),
    "sums and products, element by element": ("aten::mul", "aten::add", "aten::sum", "aten::neg", "aten::where", "div"),
}


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=3)
    options.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    options.add_argument("--length", type=int, default=200, help="the model's window")
    options.add_argument("--batch", type=int, default=128, help="rows in a step")
    options.add_argument("--steps", type=int, default=4, help="steps in a measurement")
    options.add_argument("--users", type=int, default=USERS, help="histories to make up")
    arguments = options.parse_args(argv)
    load, rows = load_of_machine(), []
    disable_malloc_trim()
    for width in arguments.widths:
        found = [shares(arguments, trained(width, arguments.length)) for _ in range(arguments.repeats)]
        names = sorted(found[0], key=lambda name: -found[0][name])
        rows += [row(f"width {width}, {name}", "%", [taken.get(name, 0.0) for taken in found]) for name in names]
    write_result(arguments, "step_profile", rows, load)


def shares(arguments: Namespace, model: Trained) -> dict[str, float]:
    """The share of every group in the time of some steps, in per cent."""
    waiting = drawn(arguments)
    start = time.perf_counter()
    batches = list(waiting)
    data = time.perf_counter() - start
    model.step(batches[0])
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        for batch in batches:
            model.step(batch)
    seconds = dict.fromkeys([*GROUPS, "other"], 0.0)
    for event in profiled.key_averages(group_by_input_shape=True):
        seconds[group_of(event.key, len(event.input_shapes[0]) if event.input_shapes else 0)] += (
            event.self_cpu_time_total / 1e6
        )
    seconds["data"] = data
    whole = sum(seconds.values())
    return {name: 100 * taken / whole for name, taken in seconds.items()}


def group_of(name: str, dimensions: int = 0) -> str:
    """The group of an operation, told so many dimensions of its first input.

    >>> group_of("aten::addmm"), group_of("aten::native_layer_norm"), group_of("aten::linalg_vector_norm")
    ('matrix products', 'layer norm', 'optimizer and clipping')
    """
    if dimensions == 4 and "softmax" in name:  # (batch, heads, seq, seq); the loss has two
        return ATTENTION
    for group, parts in GROUPS.items():
        if any(part in name for part in parts):
            return group
    return "other"


if __name__ == "__main__":
    main()
