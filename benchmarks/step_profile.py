"""Profile of a training step: the share of each kind of operation, forward and backward together.

    python -m benchmarks.step_profile

The steps are those of `training_step.py`, measured by torch's profiler on the CPU. "data loading" is the time to sample
and mask a batch.
"""

import time
from argparse import Namespace
from collections.abc import Sequence

from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import benchmark_parser, cpu_load, row, write_result
from benchmarks.models import Step
from benchmarks.training_step import add_size_options, masked_batches, training_step
from hf_bert4rec.training.hardware import disable_malloc_trim

ATTENTION = "attention (fused kernel or softmax)"
# Substrings of operator names; the first matching group counts, otherwise "other".
GROUPS = {
    ATTENTION: ("scaled_dot_product", "flash_attention"),
    "loss": ("softmax", "cross_entropy", "nll_loss"),
    "layer norm": ("layer_norm", "LayerNorm"),
    "optimizer and clipping": ("adam", "Optimizer", "_norm", "clamp"),
    "matmul": ("aten::mm", "addmm", "bmm", "matmul", "linear", "convolution", "Addmm", "Mm"),
    "activation": ("gelu", "Gelu"),
    "dropout": ("random_", "bernoulli", "dropout", "aten::ge"),
    "embedding and indexing": ("embedding", "index", "gather", "scatter"),
    "copies and fills": ("copy", "fill", "zero", "aten::cat", "clone", "aten::to", "empty"),
    "element-wise operations": ("aten::mul", "aten::add", "aten::sum", "aten::neg", "aten::where", "div"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=3)
    add_size_options(parser, steps=4)
    arguments = parser.parse_args(argv)
    load, rows = cpu_load(), []
    disable_malloc_trim()
    for hidden_size in arguments.hidden_sizes:
        step = training_step(hidden_size, arguments.length)
        profiles = [profile_steps(arguments, step) for _ in range(arguments.repeats)]
        groups = sorted(profiles[0], key=lambda group: -profiles[0][group])
        for group in groups:
            rows.append(row(f"hidden size {hidden_size}, {group}", "%", [shares[group] for shares in profiles]))
    write_result(arguments, "step_profile", rows, load)


def profile_steps(arguments: Namespace, step: Step) -> dict[str, float]:
    """The share of every group in the time of some steps, in percent."""
    lazy_batches = masked_batches(arguments)
    start = time.perf_counter()
    batches = list(lazy_batches)
    data_seconds = time.perf_counter() - start
    step(batches[0])
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for batch in batches:
            step(batch)
    seconds = {**dict.fromkeys([*GROUPS, "other"], 0.0), "data loading": data_seconds}
    for event in profiler.key_averages(group_by_input_shape=True):
        dimensions = len(event.input_shapes[0]) if event.input_shapes else 0
        seconds[group_of(event.key, dimensions)] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    return {group: 100 * taken / total for group, taken in seconds.items()}


def group_of(name: str, dimensions: int = 0) -> str:
    """The group of an operator, given the number of dimensions of its first input.

    >>> group_of("aten::addmm"), group_of("aten::native_layer_norm"), group_of("aten::linalg_vector_norm")
    ('matmul', 'layer norm', 'optimizer and clipping')
    """
    if dimensions == 4 and "softmax" in name:  # (batch, heads, seq, seq); the loss has two dimensions
        return ATTENTION
    for group, substrings in GROUPS.items():
        if any(substring in name for substring in substrings):
            return group
    return "other"


if __name__ == "__main__":
    main()
