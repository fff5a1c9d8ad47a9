"""Softmax over a sample of a large catalogue, corrected for how the sample was drawn."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def sampled_softmax_loss(
    states: torch.Tensor,
    decoder: nn.Linear,
    labels: torch.Tensor,
    negatives: torch.Tensor,
    negatives_log_count: torch.Tensor | None,
    num_items_in_batch: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Cross-entropy against the label and `negatives` in place of the whole vocabulary, each negative worth 1 / count.

    The label is there for certain and not by the draw, so it alone is left as it is, and where it was drawn it is not
    counted again: the sum over the vocabulary is then met in expectation, and by all its items drawn once exactly.
    Sources: Bengio and Senécal, 2008 (importance sampling); Khrylchenko et al., arXiv:2507.09331 (the label).

    Args:
        states: (places, hidden). labels: (places,) `input_ids`.
        negatives: (n,) `input_ids`, shared by all places.
        negatives_log_count: (n,) log of the expected number of times that each is among the n; once unless given.
        num_items_in_batch: what the sum of losses is divided by; the places unless given.
    """
    positive = (states * decoder.weight[labels]).sum(-1).float() + decoder.bias[labels]  # (places,)
    others = functional.linear(states, decoder.weight[negatives], decoder.bias[negatives]).float()  # (places, n)
    if negatives_log_count is not None:
        others = others - negatives_log_count
    others = others.masked_fill(labels[:, None] == negatives, -torch.inf)
    losses = torch.cat([positive[:, None], others], dim=1).logsumexp(1) - positive
    return losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)


__all__ = ["sampled_softmax_loss"]
