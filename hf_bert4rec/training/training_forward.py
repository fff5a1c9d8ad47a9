"""What the trainer installs in a model for the time of training: a forward that gives the loss only, and fast dropout.

The loss and its gradients are those of `Bert4RecForMaskedLM.forward`, from less work: the last layer and the logits are
computed at the labelled positions only, and the logits of a large catalogue in chunks or for a sample of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.modeling_outputs import MaskedLMOutput

from ..model.modeling_bert4rec import Bert4RecForMaskedLM, QueryPositions
from .dropout import FastDropout
from .losses import chunked_cross_entropy, sampled_softmax_loss, weighted_cross_entropy

MAX_DENSE_LOGITS = 1 << 18  # positions of a batch × items; larger batches are computed in chunks
# oneDNN builds a bfloat16 kernel per shape, a fifth of a step; rounding sizes up keeps the number of shapes low.
QUERY_LENGTH_MULTIPLE, LABEL_COUNT_MULTIPLE = 8, 256


@contextmanager
def training_forward_installed(model: Any, fast_dropout: bool = True) -> Iterator[None]:
    """Within the block `model`, or the model that an adapter wraps, trains by `training_forward` and `FastDropout`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.forward = MethodType(training_forward, base)
    children = [(parent, *child) for parent in base.modules() for child in parent.named_children()]
    dropouts = [entry for entry in children if fast_dropout and type(entry[-1]) is nn.Dropout]
    for parent, name, dropout in dropouts:
        setattr(parent, name, FastDropout(dropout.p).train(dropout.training))
    try:
        yield
    finally:
        for parent, name, dropout in dropouts:
            setattr(parent, name, dropout)
        for name in ("forward", "_original_forward"):  # accelerate wraps the one and keeps it as the other
            base.__dict__.pop(name, None)


def training_forward(
    self: Bert4RecForMaskedLM,
    *args: Any,
    labels: torch.Tensor | None = None,
    negatives: torch.Tensor | None = None,
    negatives_log_count: torch.Tensor | None = None,
    label_weights: torch.Tensor | None = None,
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
        num_items_in_batch: divisor of the sum of losses; by default the number of labelled positions, or the sum of
            their weights.
        is_causal, inputs: those of `Bert4RecModel.forward`.
    """
    if labels is None or not self.training:
        return Bert4RecForMaskedLM.forward(self, *args, labels=labels, is_causal=is_causal, **inputs)
    if type(self.decoder) is not nn.Linear:  # an adapter's or quantised layer: only its own forward is right
        negatives, chunked = None, False
    else:
        chunked = negatives is None and labels.numel() * self.config.vocab_size > MAX_DENSE_LOGITS
    sparse = supports_query_positions(self) and not is_causal
    targets = labelled_targets(labels, label_weights, sparse, LABEL_COUNT_MULTIPLE if chunked else 1)
    outputs = self.bert4rec(
        *args, query_positions=targets.query_positions, is_causal=is_causal, return_dict=True, **inputs
    )
    hidden_states = outputs.last_hidden_state
    if targets.query_positions is None:
        hidden_states = hidden_states.flatten(0, 1)[targets.indices]
    states = self.head(hidden_states)  # (labelled or more, hidden)
    labels, weights = targets.labels, targets.weights
    if negatives is not None:
        loss = sampled_softmax_loss(
            states, self.decoder, labels, negatives, negatives_log_count, num_items_in_batch, weights
        )
    elif chunked:
        compiled = torch.compiler.is_compiling()
        loss = chunked_cross_entropy(states, self.decoder, labels, num_items_in_batch, weights, compiled)
    elif weights is not None:
        loss = weighted_cross_entropy(self.decoder(states), labels, weights, num_items_in_batch)
    else:
        logits = self.decoder(states)
        loss = self.loss_function(
            logits, labels, vocab_size=self.config.vocab_size, num_items_in_batch=num_items_in_batch
        )
    return MaskedLMOutput(loss=loss)


class LabelledTargets(NamedTuple):
    """The labelled positions of a batch.

    query_positions: for the last layer, None to compute it at all positions. indices: (labelled or more,) indices of
    its output, padded with 0. labels: (labelled,) `input_ids`. weights: (labelled,) or None.
    """

    query_positions: QueryPositions | None
    indices: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None


@torch.compiler.disable  # sizes depend on the labels
def labelled_targets(
    labels: torch.Tensor, label_weights: torch.Tensor | None, sparse: bool, multiple: int
) -> LabelledTargets:
    """The targets of labels (batch, seq) and their weights; with `sparse`, the last layer is limited to them."""
    labelled = labels != -100
    query_positions = labelled_positions(labels, multiple) if sparse else None
    indices = query_positions.indices if query_positions else label_indices(labelled, multiple)
    weights = None if label_weights is None else label_weights[labelled]
    return LabelledTargets(query_positions, indices, labels[labelled], weights)


def supports_query_positions(model: Bert4RecForMaskedLM) -> bool:
    """Whether the last layer can be limited to labelled positions.

    Not in a causal model, where each attends to others, nor by attention kernels that need as many queries as keys.
    """
    return not model.config.causal and model.config._attn_implementation in ("sdpa", "eager")


def labelled_positions(labels: torch.Tensor, multiple: int = 1) -> QueryPositions:
    """The labelled positions of labels (batch, seq), row by row, padded to a `multiple` of outputs."""
    labelled = labels != -100
    queries = int(labelled.sum(-1).amax().clamp(min=1))
    queries = min(-(-queries // QUERY_LENGTH_MULTIPLE) * QUERY_LENGTH_MULTIPLE, labels.shape[1])
    positions = labelled.byte().argsort(dim=-1, descending=True, stable=True)[:, :queries]  # labelled ones first
    return QueryPositions(positions, label_indices(labelled.gather(1, positions), multiple))


def label_indices(labelled: torch.Tensor, multiple: int) -> torch.Tensor:
    """Flat indices of the labelled positions, padded with 0 to a `multiple` of them."""
    indices = labelled.flatten().nonzero()[:, 0]
    return nn.functional.pad(indices, (0, -len(indices) % multiple))
