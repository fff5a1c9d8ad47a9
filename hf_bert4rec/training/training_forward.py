"""What the trainer installs in a model during training: a forward that returns the loss only, and fast dropout.

The loss and its gradients are those of `Bert4RecForMaskedLM.forward`, from less work: the last layer and the logits are
computed at the labelled positions only, and the logits of a large catalogue in chunks or for a sample of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.modeling_outputs import MaskedLMOutput

from ..data.collators import DataCollatorForMaskedItems
from ..model.modeling_bert4rec import Bert4RecForMaskedLM, QueryPositions
from .linear import training_linear
from .losses import chunked_cross_entropy, dense_cross_entropy, padded_logits, sampled_softmax_loss

MAX_DENSE_LOGITS = 1 << 18  # positions of a batch × items; larger batches are computed in chunks
MAX_COMPILED_LOGITS = 1 << 30  # the same for labelled positions in a model compiled for a GPU: 2 GB in bfloat16
# oneDNN builds a bfloat16 kernel per shape, a fifth of a step; rounding sizes up keeps the number of shapes low.
QUERY_LENGTH_MULTIPLE, LABEL_COUNT_MULTIPLE = 8, 256
QUERY_ATTENTION = ("sdpa", "eager")  # implementations that take fewer queries than keys


class FastDropout(nn.Dropout):
    """Dropout that draws one random number per eight elements, where torch draws one per element on one thread.

    That is a fifth of a training step on a CPU. Each element is decided by a byte, so `p` is rounded to 1/256.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or states.device.type != "cpu":
            return super().forward(states)
        threshold = min(max(round(self.p * 256), 1), 255)
        random_bytes = torch.empty(-(-states.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = random_bytes.view(torch.uint8)[: states.numel()].view(states.shape) >= threshold
        factors = keep.view(torch.int8).to(states.dtype)  # from int8: from bool takes a CPU three times as long
        return states * factors.mul_(256 / (256 - threshold))


@contextmanager
def training_forward_installed(model: Any, fast_dropout: bool = True) -> Iterator[None]:
    """In the block `model`, or the one in an adapter, has `training_forward`, `training_linear` and `FastDropout`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.forward = MethodType(training_forward, base)
    dropouts = [module for module in base.modules() if fast_dropout and type(module) is nn.Dropout]
    for dropout in dropouts:
        dropout.__class__ = FastDropout
    linears = [module for module in base.modules() if type(module) is nn.Linear]
    for linear in linears:
        linear.forward = MethodType(training_linear, linear)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for dropout in dropouts:
            dropout.__class__ = nn.Dropout
        for name in ("forward", "_original_forward"):  # accelerate wraps the one and keeps it as the other
            base.__dict__.pop(name, None)
        for linear in linears:
            del linear.forward


def training_forward(
    self: Bert4RecForMaskedLM,
    *args: Any,
    labels: torch.Tensor | None = None,
    negatives: torch.Tensor | None = None,
    negatives_log_count: torch.Tensor | None = None,
    label_weights: torch.Tensor | None = None,
    targets: dict[str, Any] | None = None,
    num_items_in_batch: torch.Tensor | int | None = None,
    is_causal: bool = False,
    **inputs: Any,
) -> MaskedLMOutput:
    """The loss of a training batch, without `logits`; `Bert4RecForMaskedLM.forward` in evaluation.

    Args:
        labels: (batch, seq) true `input_ids` at masked positions, -100 elsewhere.
        negatives: (n,) `input_ids` drawn from the catalogue, for `sampled_softmax_loss`; ignored if an adapter wraps
            the decoder.
        negatives_log_count: (n,) logarithm of how often each is expected among the n.
        label_weights: (batch, seq) factors of the losses at labelled positions; 1 by default.
        targets: the labelled positions from `TrainingCollator`; by default found here, where the host waits for a GPU.
        num_items_in_batch: divisor of the sum of losses; by default the number of labelled positions, or the sum of
            their weights.
        is_causal, inputs: those of `Bert4RecModel.forward`.
    """
    if labels is None or not self.training:
        return Bert4RecForMaskedLM.forward(self, *args, labels=labels, is_causal=is_causal, **inputs)
    if targets is None:
        sparse = supports_query_positions(self) and not is_causal
        labelled = labelled_targets(labels, label_weights, sparse, self.config.vocab_size)
    else:
        labelled = LabelledTargets(**targets)
    queries = None if labelled.positions is None else QueryPositions(labelled.positions, labelled.indices)
    outputs = self.bert4rec(*args, query_positions=queries, is_causal=is_causal, return_dict=True, **inputs)
    hidden_states = outputs.last_hidden_state
    if queries is None:
        hidden_states = hidden_states.flatten(0, 1).index_select(0, labelled.indices)
    states = self.head(hidden_states)  # (labelled or more, hidden)
    options = {"num_items_in_batch": num_items_in_batch, "weights": labelled.weights}
    if type(self.decoder) is not nn.Linear:  # an adapter's or quantised layer: only its own forward is right
        loss = dense_cross_entropy(self.decoder(states), labelled.labels, **options)
    elif negatives is not None:
        loss = sampled_softmax_loss(states, self.decoder, labelled.labels, negatives, negatives_log_count, **options)
    elif computes_all_logits(states, labels, self.config.vocab_size):
        loss = dense_cross_entropy(padded_logits(states, self.decoder), labelled.labels, **options)
    else:
        loss = chunked_cross_entropy(states, self.decoder, labelled.labels, **options)
    return MaskedLMOutput(loss=loss)


class LabelledTargets(NamedTuple):
    """The labelled positions of a batch.

    indices: (labelled or more,) indices of the last layer's output, padded with 0. labels: (labelled,) `input_ids`.
    weights: (labelled,) or None. positions: (batch, queries) of the last layer, None to compute it at all positions.
    """

    indices: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None = None
    positions: torch.Tensor | None = None


@dataclass
class TrainingCollator:
    """Adds the `targets` of the labels to batches of `masking`, and removes an `attention_mask` without padding.

    If `training_forward` computed either on a GPU, the host would wait for it. `sparse`: whether the model's last layer
    can be limited to labelled positions; see `supports_query_positions`.
    """

    masking: DataCollatorForMaskedItems
    sparse: bool
    vocab_size: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = self.masking(rows)
        if batch["attention_mask"].all():
            del batch["attention_mask"]
        sparse = self.sparse and not batch.get("is_causal", False)
        targets = labelled_targets(batch["labels"], batch.get("label_weights"), sparse, self.vocab_size)
        return {**batch, "targets": targets._asdict()}  # Trainer moves a dict to the device, but no named tuple


@torch.compiler.disable  # sizes depend on the labels
def labelled_targets(
    labels: torch.Tensor, label_weights: torch.Tensor | None, sparse: bool, vocab_size: int
) -> LabelledTargets:
    """The targets of labels (batch, seq) and their weights; with `sparse`, the last layer is limited to them."""
    multiple = LABEL_COUNT_MULTIPLE if labels.numel() * vocab_size > MAX_DENSE_LOGITS else 1
    labelled = (labels != -100).flatten().nonzero()[:, 0]  # (labelled,)
    if sparse:
        positions, indices = labelled_positions(labelled, labels.shape)
    else:
        positions, indices = None, labelled
    indices = nn.functional.pad(indices, (0, -len(indices) % multiple))
    weights = None if label_weights is None else label_weights.flatten()[labelled]
    return LabelledTargets(indices, labels.flatten()[labelled], weights, positions)


def labelled_positions(labelled: torch.Tensor, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labelled positions of every row, (batch, queries), padded with 0, and the labels' indices when these are flat.

    `labelled` (labelled,) has ascending indices into the flattened positions of a batch, whose shape is (batch, seq).
    """
    batch, length = shape
    rows, columns = labelled // length, labelled % length
    counts = rows.bincount(minlength=batch)  # (batch,)
    ranks = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]  # within its row
    queries = min(-(-max(int(counts.amax()), 1) // QUERY_LENGTH_MULTIPLE) * QUERY_LENGTH_MULTIPLE, length)
    positions = columns.new_zeros(batch, queries)
    positions[rows, ranks] = columns
    return positions, rows * queries + ranks


def computes_all_logits(states: torch.Tensor, labels: torch.Tensor, vocab_size: int) -> bool:
    """Whether the logits of labels (batch, seq) at states (labelled or more, hidden) are computed at once."""
    if torch.compiler.is_compiling() and states.device.type != "cpu":
        return len(states) * vocab_size <= MAX_COMPILED_LOGITS
    return labels.numel() * vocab_size <= MAX_DENSE_LOGITS


def supports_query_positions(model: Bert4RecForMaskedLM) -> bool:
    """Whether the last layer can be limited to labelled positions.

    Not in a causal model, where each label attends to other positions, and not with attention kernels that need as many
    queries as keys.
    """
    return not model.config.causal and model.config._attn_implementation in QUERY_ATTENTION
