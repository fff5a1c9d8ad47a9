"""Training steps: throughput, share of the device's peak, memory, and where the time goes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch._dynamo.utils import counters
from torch.autograd import DeviceType
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertForMaskedLM

from benchmarks.gpu.data import Vocabulary, collator, random_rows
from benchmarks.gpu.sizes import Sizes, device, heads, peak_megabytes, synchronize, timed
from benchmarks.measure import row
from benchmarks.models import LAYERS, Batch, Step, plain_step, untrained_model
from hf_bert4rec.training.training_forward import QUERY_ATTENTION, TrainingCollator, training_forward_installed

DROPOUT = 0.2
BATCHES = 4  # different batches, which take turns
WARM_UP = 2 * BATCHES  # steps before the clock starts
# Dense bfloat16 operations per second by the makers' data sheets, by a part of the GPU's name.
PEAKS = {"H100 80GB": 989e12, "H100 PCIe": 756e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
MFU_TARGETS = {128: 10, 512: 30}  # %
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
TOP_KERNELS = 15


def training(sizes: Sizes, name: str, *, causal: bool, width: int, batch: int, **options: Any) -> dict[str, Any]:
    """Tokens per second of a training step with batches on the device, its share of the peak, and its memory.

    `options` are those of `our_step`; with `padded`, rows have the lengths of MovieLens 1M instead of the window's.
    """
    batches = our_batches(sizes, causal, batch, options.pop("padded", False), options.get("attention", "sdpa"))
    with our_step(sizes, causal, width, **options) as step:
        seconds = time_steps(sizes, step, batches)
    operations = np.mean([our_operations(each, width, sizes.items, causal) for each in batches])
    target = MFU_TARGETS.get(width) if batch == max(sizes.batches) and options.keys() <= {"compiled"} else None
    result: dict[str, Any] = {"rows": step_rows(name, batches, seconds, float(operations), target)}
    if options.get("compiled"):
        result["compiler"] = {kind: dict(counters[kind]) for kind in ("stats", "graph_break", "inductor")}
    return result


def bert(sizes: Sizes, name: str, *, width: int, batch: int) -> dict[str, Any]:
    """The same for transformers' `BertForMaskedLM` of the same sizes, which computes the logits of all positions."""
    batches = masked_batches(sizes, collator(Vocabulary(sizes.items), causal=False), batch)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(Vocabulary(sizes.items)),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads(width),
        max_position_embeddings=sizes.length,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config).to(device()).train()
    seconds = time_steps(sizes, plain_step(model, model, bf16=True), batches)
    positions = batch * sizes.length
    layers = LAYERS * layer_operations(positions, width, sizes.length)
    operations = 3 * (layers + head_operations(positions, width, sizes.items))
    return {"rows": step_rows(name, batches, seconds, operations)}


def profiled(sizes: Sizes, name: str, *, causal: bool, width: int, batch: int, steps: int = 10) -> dict[str, Any]:
    """Time per step, how much of it the device computes, and its longest kernels."""
    batches = our_batches(sizes, causal, batch)
    activities = [ProfilerActivity.CPU]
    if device().type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with our_step(sizes, causal, width) as step:
        seconds = float(np.median(time_steps(sizes, step, batches)))
        with profile(activities=activities) as profiler:
            for each in itertools.islice(itertools.cycle(batches), steps):
                step(each)
            synchronize()
    events = [event for event in profiler.key_averages() if not getattr(event, "is_user_annotation", False)]
    # An operator's kernels are events of their own, and counted in the operator's event as well.
    kernels = [event for event in events if event.device_type != DeviceType.CPU]
    device_times = {event.key: event.self_device_time_total / steps / 1e3 for event in kernels}
    host_times = {event.key: event.self_cpu_time_total / steps / 1e3 for event in events}
    busy = sum(device_times.values())
    rows = [row(f"{name}, step", "ms", [1e3 * seconds]), row(f"{name}, kernels of a step", "ms", [busy])]
    return {"rows": rows, "kernels": longest(device_times), "host": longest(host_times)}


def longest(milliseconds: dict[str, float]) -> dict[str, float]:
    """The longest entries, in milliseconds per step."""
    ordered = sorted(milliseconds.items(), key=lambda entry: -entry[1])[:TOP_KERNELS]
    return {name[:120]: round(value, 4) for name, value in ordered if value > 0}


def our_batches(
    sizes: Sizes, causal: bool, batch: int, padded: bool = False, attention: str = "sdpa"
) -> list[dict[str, Any]]:
    """Different batches of random histories, as the trainer's loader makes them, on the device."""
    vocabulary = Vocabulary(sizes.items)
    sparse = not causal and attention in QUERY_ATTENTION
    return masked_batches(sizes, TrainingCollator(collator(vocabulary, causal), sparse, len(vocabulary)), batch, padded)


def masked_batches(sizes: Sizes, collate: Any, batch: int, padded: bool = False) -> list[dict[str, Any]]:
    """The same for any collator."""
    generator = np.random.default_rng(0)
    batches = [collate(random_rows(generator, sizes, batch, padded)) for _ in range(BATCHES)]
    return [send_to_device(each, device()) for each in batches]


@contextmanager
def our_step(
    sizes: Sizes, causal: bool, width: int, compiled: bool = False, attention: str = "sdpa", kernel: str = ""
) -> Iterator[Step]:
    """A step of this package as the trainer makes it.

    Args:
        compiled: as Trainer's `torch_compile`.
        attention: transformers' name of the implementation.
        kernel: the only kernel that sdpa may use; see `KERNELS`.
    """
    options = {"num_attention_heads": heads(width), "hidden_dropout_prob": DROPOUT, "causal": causal}
    model = untrained_model(len(Vocabulary(sizes.items)), width, sizes.length, **options).to(device()).train()
    model.set_attn_implementation(attention)
    call = torch.compile(model, backend=sizes.compiler) if compiled else model
    limit: AbstractContextManager[Any] = sdpa_kernel(KERNELS[kernel]) if kernel else nullcontext()
    with training_forward_installed(model), limit:
        yield plain_step(model, call, bf16=True)


def time_steps(sizes: Sizes, step: Step, batches: Sequence[Batch]) -> list[float]:
    """Seconds per step in every repeat."""
    turns = itertools.cycle(batches)
    for each in itertools.islice(turns, WARM_UP):
        step(each)
    once = timed(lambda: step(next(turns)))
    # Complete rounds of the batches, so that every repeat has the same work.
    rounds = max(1, round(sizes.seconds / once / len(batches)))

    def run() -> None:
        for each in [*batches] * rounds:
            step(each)

    return [timed(run) / rounds / len(batches) for _ in range(sizes.repeats)]


def step_rows(
    name: str, batches: Sequence[Batch], seconds: Sequence[float], operations: float, target: int | None = None
) -> list[dict[str, Any]]:
    """Throughput without padding, the share of the peak, and peak memory where it is known."""
    tokens = float(np.mean([int(count_tokens(batch)) for batch in batches]))
    peak, origin = peak_operations()
    limit = {} if target is None else {"at_least": target}
    rows = [
        row(f"{name}, throughput", "tokens/s", [tokens / taken for taken in seconds]),
        row(f"{name}, MFU ({origin})", "%", [100 * operations / taken / peak for taken in seconds], **limit),
    ]
    megabytes = peak_megabytes()
    return rows if megabytes is None else [*rows, row(f"{name}, peak memory", "MB", [megabytes])]


def count_tokens(batch: dict[str, Any]) -> torch.Tensor:
    """Items and [MASK]s of a batch, without padding, on its device."""
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"])).sum()


def our_operations(batch: Batch, width: int, items: int, causal: bool) -> float:
    """Operations of the matrix products that a step of this package needs; backward costs two forwards.

    In a masked model, the last layer needs keys and values of all positions and the rest at the labelled ones. In a
    causal one, half of the attention is needed.
    """
    positions, length = batch["input_ids"].numel(), batch["input_ids"].shape[1]
    labelled = int((batch["labels"] != -100).sum())
    if causal:
        layers = LAYERS * layer_operations(positions, width, length / 2)
    else:
        last = positions * 4 * width**2 + layer_operations(labelled, width, length) - labelled * 4 * width**2
        layers = (LAYERS - 1) * layer_operations(positions, width, length) + last
    return 3 * (layers + head_operations(labelled, width, items))


def layer_operations(positions: int, width: int, length: float) -> float:
    """Of a layer's forward pass: projections, feed-forward network, and attention to `length` positions."""
    return positions * (24 * width**2 + 4 * length * width)


def head_operations(positions: int, width: int, items: int) -> float:
    """Of the forward pass from hidden states to logits."""
    return positions * (2 * width**2 + 2 * width * len(Vocabulary(items)))


def machine(sizes: Sizes, name: str) -> dict[str, Any]:
    """Operations per second of a large matrix product, and bytes per second of a large copy."""
    megabytes = 4 * sizes.matmul**2 / 1e6
    source = torch.randn(sizes.matmul, sizes.matmul, device=device())
    target = torch.empty_like(source)
    taken = median_seconds(lambda: target.copy_(source))
    return {
        "rows": [
            row(f"{name}, bfloat16 matrix product", "TFLOP/s", [measured_peak(sizes.matmul) / 1e12]),
            row(f"{name}, copy, read and written", "GB/s", [2 * megabytes / 1e3 / taken]),
        ],
        "versions": {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()},
    }


def peak_operations() -> tuple[float, str]:
    """Operations per second of the device in bfloat16, and where the number is from."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    for part, peak in PEAKS.items():
        if part in name:
            return peak, "data sheet"
    return measured_peak(2048), "measured peak"


@cache
def measured_peak(size: int) -> float:
    """Operations per second of a square product in bfloat16."""
    left, right = (torch.randn(size, size, device=device(), dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / median_seconds(lambda: left @ right)


def median_seconds(call: Callable[[], Any], repeats: int = 10) -> float:
    """Median duration of a call on the device, after three warm-up calls."""
    return float(np.median([timed(call) for _ in range(3 + repeats)][3:]))
