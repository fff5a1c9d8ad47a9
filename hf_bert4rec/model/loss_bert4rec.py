"""Cross-entropy over a catalogue of which only some places' logits exist at a time, gradients made along with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .layers_bert4rec import autocast_dtype

CPU_CHUNK_LOGITS = 1 << 19  # places × items of a chunk that a CPU's cache holds
GPU_CHUNK_LOGITS = 1 << 26  # of a chunk elsewhere, where large ones are quicker and memory is what there is to save
LEAST_PLACES = 64  # of a chunk: adding up the gradient of the item embeddings costs as much as so many places


def cross_entropy_in_chunks(
    states: torch.Tensor, decoder: nn.Linear, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """What `cross_entropy` of all logits gives, of which only a chunk's exist at a time.

    Args:
        states: (places or more, hidden), of which those after the last label do not count.
        labels: (places,) `input_ids`.
        num_items_in_batch: what the sum of losses is divided by; the places unless given.
    """
    dtype = autocast_dtype(states)
    states, weight, bias = states.to(dtype), decoder.weight.to(dtype), decoder.bias.to(dtype)
    most = CPU_CHUNK_LOGITS if states.device.type == "cpu" else GPU_CHUNK_LOGITS
    places = max(LEAST_PLACES, most // len(weight))
    total: torch.Tensor = SummedCrossEntropy.apply(states, weight, bias, labels, places)
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class SummedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of `states` (places or more, hidden) through a decoder, against `labels` (places,).

    A chunk's logits are turned into their gradient as soon as they are there, and are gone with the next chunk: no
    logit is made twice, and nothing of the size of places × catalogue is written to memory. The idea is that of
    Liger Kernel (Hsu et al., arXiv:2410.10989).
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor, places: int
    ) -> torch.Tensor:
        total = torch.zeros((), device=states.device)
        for_states = torch.zeros_like(states)
        for_weight, for_bias = (torch.zeros_like(kept, dtype=torch.float32) for kept in (weight, bias))
        for start in range(0, len(labels), places):
            chunk, wanted = states[start : start + places], labels[start : start + places, None]
            logits = torch.addmm(bias, chunk, weight.t())  # (chunk, vocab)
            shares = logits.float().softmax(-1)
            # The likeliest item tells log(sum of exponentials) exactly, whose own pass would cost another exponential.
            log_sum = logits.amax(-1, keepdim=True).float() - shares.amax(-1, keepdim=True).log()  # (chunk, 1)
            counted = len(wanted)
            total += (log_sum[:counted] - logits[:counted].gather(1, wanted)).sum()
            shares[:counted].scatter_add_(1, wanted, shares.new_full(wanted.shape, -1.0))
            shares[counted:] = 0
            gradient = shares.to(states.dtype)
            torch.mm(gradient, weight, out=for_states[start : start + places])
            for_weight += gradient.t() @ chunk
            for_bias += gradient.sum(0)
        ctx.save_for_backward(for_states, for_weight.to(weight.dtype), for_bias.to(bias.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*(gradient.to(kept.dtype) * kept for kept in ctx.saved_tensors), None, None)


__all__ = ["cross_entropy_in_chunks"]
