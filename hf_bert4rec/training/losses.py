"""Losses over large catalogues: cross-entropy in chunks, and softmax over a sample of the catalogue."""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ..model.modeling_bert4rec import autocast_dtype
from .linear import convolution_is_faster, convolved_gradients, convolved_linear

CPU_CHUNK_LOGITS = 1 << 21  # positions × items of a chunk: 8 MB in float32, which fits a CPU's cache
GPU_CHUNK_LOGITS = 1 << 26  # elsewhere, where larger products are faster and memory is the limit
VOCABULARY_MULTIPLE = 8
MIN_CHUNK_POSITIONS = 64  # below that, accumulating the gradient of the item embeddings dominates


@torch.compiler.disable  # the number of chunks depends on the labels
def chunked_cross_entropy(
    states: torch.Tensor,
    decoder: nn.Linear,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of `decoder(states)`, whose logits are computed a chunk at a time.

    Args:
        states: (positions or more, hidden); rows beyond the last label are ignored.
        labels: (positions,) `input_ids`.
        num_items_in_batch: divisor of the sum of losses; by default the number of positions, or the sum of `weights`.
        weights: (positions,) factors of the losses.
    """
    states = states.to(autocast_dtype(states))
    weight, bias = padded_decoder(decoder, states)
    chunk_logits = CPU_CHUNK_LOGITS if states.device.type == "cpu" else GPU_CHUNK_LOGITS
    chunk_positions = max(MIN_CHUNK_POSITIONS, chunk_logits // len(weight))
    total: torch.Tensor = SummedCrossEntropy.apply(states, weight, bias, labels, chunk_positions, weights)
    return total / _divisor(labels, weights, num_items_in_batch)


def padded_decoder(decoder: nn.Linear, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (vocab, hidden) and bias of a decoder in the dtype of states; on a GPU a multiple of 8 items.

    A GPU's fast matrix kernels need rows of a multiple of 16 bytes. Added items have probability 0.
    """
    weight, bias = decoder.weight.to(states.dtype), decoder.bias.to(states.dtype)
    return (weight, bias) if states.device.type == "cpu" else pad_vocabulary(weight, bias)


def pad_vocabulary(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Add items of probability 0, up to a multiple of 8."""
    excess = -len(weight) % VOCABULARY_MULTIPLE
    return functional.pad(weight, (0, 0, 0, excess)), functional.pad(bias, (0, excess), value=-torch.inf)


class SummedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of a linear layer's logits, whose gradients are computed in the forward pass.

    Each chunk's logits are replaced by their gradient immediately, so no logit is computed twice and no tensor has
    positions × catalogue elements. The idea is that of Liger Kernel (Hsu et al., arXiv:2410.10989).
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        labels: torch.Tensor,
        chunk_positions: int,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        total = torch.zeros((), device=states.device)
        grad_states = torch.zeros_like(states)
        grad_weight, grad_bias = (torch.zeros_like(parameter, dtype=torch.float32) for parameter in (weight, bias))
        for start in range(0, len(labels), chunk_positions):
            positions = slice(start, start + chunk_positions)
            chunk = states[positions]
            logits = _logits(chunk, weight, bias)  # (chunk, vocab)
            loss, grad_logits = _loss_and_gradient(
                logits, labels[positions, None], None if weights is None else weights[positions, None]
            )
            total += loss
            grad_states[positions], chunk_grad_weight, chunk_grad_bias = _gradients(grad_logits, chunk, weight)
            grad_weight += chunk_grad_weight
            grad_bias += chunk_grad_bias
        ctx.save_for_backward(grad_states, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*(grad_output.to(saved.dtype) * saved for saved in ctx.saved_tensors), None, None, None)


def _logits(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    linear = convolved_linear if _convolution_is_faster(states) else functional.linear
    return linear(states, weight, bias)


def _gradients(grad_logits: torch.Tensor, states: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of states, weight and bias from that of `_logits`."""
    if _convolution_is_faster(states):
        return convolved_gradients(grad_logits, states, weight)
    return grad_logits @ weight, grad_logits.t() @ states, grad_logits.sum(0)


def _convolution_is_faster(states: torch.Tensor) -> bool:
    """In float32 only: in bfloat16 over 60,000 items, 64 positions at a time, convolutions take 1.3 times as long."""
    return states.dtype == torch.float32 and convolution_is_faster(states)


def _loss_and_gradient(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the cross-entropies of logits (chunk, vocab), and its gradient in their dtype.

    Args:
        labels, weights: (labelled, 1); rows of the chunk beyond the last label have no loss.
    """
    logits, dtype = logits.float(), logits.dtype
    probabilities = logits.softmax(-1)
    # logsumexp from the largest probability: exact, and saves another pass of exponentials.
    log_sum = logits.amax(-1, keepdim=True) - probabilities.amax(-1, keepdim=True).log()  # (chunk, 1)
    labelled = probabilities[: len(labels)]
    losses = log_sum[: len(labels)] - logits[: len(labels)].gather(1, labels)  # (labelled, 1)
    labelled.scatter_add_(1, labels, torch.full_like(losses, -1.0))
    if weights is not None:
        losses *= weights
        labelled *= weights
    probabilities[len(labels) :] = 0
    return losses.sum(), probabilities.to(dtype)


def padded_logits(states: torch.Tensor, decoder: nn.Linear) -> torch.Tensor:
    """Logits of states (positions, hidden); on a GPU with up to 7 more items of probability 0."""
    states = states.to(autocast_dtype(states))
    return functional.linear(states, *padded_decoder(decoder, states))


def dense_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """`chunked_cross_entropy` of logits (positions or more, vocab) that are computed already."""
    losses = functional.cross_entropy(logits[: len(labels)].float(), labels, reduction="none")  # (positions,)
    if weights is not None:
        losses = losses * weights
    return losses.sum() / _divisor(labels, weights, num_items_in_batch)


def sampled_softmax_loss(
    states: torch.Tensor,
    decoder: nn.Linear,
    labels: torch.Tensor,
    negatives: torch.Tensor,
    negatives_log_count: torch.Tensor | None,
    num_items_in_batch: torch.Tensor | int | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy over the label and `negatives` instead of the vocabulary, each negative weighted by 1 / count.

    The label is present with certainty, so it is not weighted, and negatives equal to it are masked: the sum over the
    vocabulary is then estimated without bias, and exact if every item is drawn once. Sources: Bengio and Senécal, 2008
    (importance sampling); Khrylchenko et al., arXiv:2507.09331 (the label).

    Args:
        states: (positions or more, hidden). labels: (positions,) `input_ids`.
        negatives: (n,) `input_ids`, shared by all positions.
        negatives_log_count: (n,) log of the expected number of times that each is among the n; None for once.
        num_items_in_batch, weights: as in `chunked_cross_entropy`.
    """
    states = states[: len(labels)]
    positive = (states * decoder.weight[labels]).sum(-1).float() + decoder.bias[labels]  # (positions,)
    negative = functional.linear(states, decoder.weight[negatives], decoder.bias[negatives]).float()  # (positions, n)
    if negatives_log_count is not None:
        negative = negative - negatives_log_count
    negative = negative.masked_fill(labels[:, None] == negatives, -torch.inf)
    losses = torch.cat([positive[:, None], negative], dim=1).logsumexp(1) - positive
    if weights is not None:
        losses = losses * weights
    return losses.sum() / _divisor(labels, weights, num_items_in_batch)


def _divisor(
    labels: torch.Tensor, weights: torch.Tensor | None, num_items_in_batch: torch.Tensor | int | None
) -> torch.Tensor | int:
    if num_items_in_batch is not None:
        return num_items_in_batch
    return len(labels) if weights is None else weights.sum()
