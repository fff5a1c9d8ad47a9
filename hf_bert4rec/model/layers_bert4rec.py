"""The parts of BERT4Rec: embeddings, attention, feed-forward, a layer of both, and the prediction head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_bert4rec import Bert4RecConfig

ROTARY_BASE = 10_000.0
# Sizes of products are rounded up to these in training, so that there are few of them: a CPU prepares its products in
# bfloat16 for every size anew, which took a fifth of a step.
QUERY_LENGTH_MULTIPLE, LABEL_COUNT_MULTIPLE = 8, 256


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, for `output_attentions` and where it trains faster.

    Query, key and value are (batch, heads, seq, head); gives (batch, seq, heads, head), and the weights.
    """
    weights = (query * scaling) @ key.transpose(2, 3)  # (batch, heads, seq, seq)
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1).to(query.dtype)  # of any type, it is worked out in float32
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def rotary_angles(
    position_ids: torch.Tensor, heads: int, head_dim: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine of every place's angles and sine, the sine negative in a head's first half; each (batch, seq, hidden)."""
    steps = torch.arange(0, head_dim, 2, device=position_ids.device, dtype=torch.float32) / head_dim
    angles = position_ids[..., None].float() * ROTARY_BASE**-steps  # (batch, seq, head / 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    # Written out for every head: a CPU multiplies whole rows faster than it broadcasts over heads.
    return torch.cat((cos, cos), -1).repeat(1, 1, heads), torch.cat((-sin, sin), -1).repeat(1, 1, heads)


def rotate(states: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], head_dim: int) -> torch.Tensor:
    """Turn (batch, seq, hidden) states by their position's angles (RoFormer, arXiv:2104.09864)."""
    cos, sin = angles
    swapped = states.unflatten(-1, (-1, head_dim)).roll(head_dim // 2, -1).flatten(-2)  # halves of every head
    return states * cos + swapped * sin


def autocast_dtype(states: torch.Tensor) -> torch.dtype:
    """The type that these states are multiplied with weights in: that of autocast where it is on."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


class QueryPositions(NamedTuple):
    """Places that the last layer works out, and no others.

    places: (batch, most), of every row as many as the row with the most of them has. chosen: (asked,) indices into the
    flattened places: the states that are given, in this order.
    """

    places: torch.Tensor
    chosen: torch.Tensor


def gather_positions(states: torch.Tensor, asked: QueryPositions | None) -> torch.Tensor:
    """Of states (batch, seq, hidden) those at the places of every row, (batch, most, hidden); all where none are."""
    if asked is None:
        return states
    states = states.expand(len(asked.places), -1, -1)  # angles of positions that all rows share are (1, seq, hidden)
    return states.gather(1, asked.places[..., None].expand(-1, -1, states.shape[-1]))


def labelled_positions(labels: torch.Tensor, multiple: int = 1) -> QueryPositions:
    """The labelled places of labels (batch, seq), row after row, and some more up to a `multiple` in all."""
    labelled = labels != -100
    most = int(labelled.sum(-1).amax().clamp(min=1))
    most = min(-(-most // QUERY_LENGTH_MULTIPLE) * QUERY_LENGTH_MULTIPLE, labels.shape[1])
    places = labelled.byte().argsort(dim=-1, descending=True, stable=True)[:, :most]  # a row's own come first
    return QueryPositions(places, label_indices(labelled.gather(1, places), multiple))


def label_indices(labelled: torch.Tensor, multiple: int) -> torch.Tensor:
    """Flat indices of the labelled places, (labelled,), and the first place again up to a `multiple` of them."""
    chosen = labelled.flatten().nonzero()[:, 0]
    return nn.functional.pad(chosen, (0, -len(chosen) % multiple))


class Bert4RecDropout(nn.Dropout):
    """Dropout that draws its mask eight places to a random number where torch would draw one a place on one thread.

    On a CPU that is a fifth of a training step. A byte decides each place, so `p` is rounded to a 256th.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or states.device.type != "cpu":
            return super().forward(states)
        dropped = min(max(round(self.p * 256), 1), 255)
        draws = torch.empty(-(-states.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: states.numel()].view(states.shape) >= dropped
        return states * kept.to(states.dtype).mul_(256 / (256 - dropped))


class Bert4RecEmbeddings(nn.Module):
    """Item embedding, plus the position's unless positions are rotary; layer norm; dropout."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.item_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = (
            None if config.rotary_positions else nn.Embedding(config.max_position_embeddings, config.hidden_size)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        dropout = config.embedding_dropout_prob
        self.dropout = Bert4RecDropout(config.hidden_dropout_prob if dropout is None else dropout)

    def forward(self, inputs_embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        if self.position_embeddings is not None:
            inputs_embeds = inputs_embeds + self.position_embeddings(position_ids)
        return self.dropout(self.norm(inputs_embeds))  # (batch, seq, hidden)


class Bert4RecAttention(nn.Module):
    """Multi-head attention in which every place sees every other, or those before it and itself if `config.causal`."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = config.causal
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        angles: tuple[torch.Tensor, torch.Tensor] | None,
        asked: QueryPositions | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden_states = hidden_states.to(autocast_dtype(hidden_states))  # autocast would do it three times
        query = self.query(gather_positions(hidden_states, asked))
        key, value = self.key(hidden_states), self.value(hidden_states)
        if angles is not None:
            cos, sin = angles
            query = rotate(query, (gather_positions(cos, asked), gather_positions(sin, asked)), self.head_dim)
            key = rotate(key, angles, self.head_dim)
        query, key, value = (
            states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (batch, heads, seq, head)
            for states in (query, key, value)
        )
        attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        context, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.output(context.flatten(-2)), weights  # (batch, seq, hidden)


class Bert4RecFeedForward(nn.Module):
    """Two linear maps with an activation between them, at every place alone."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.up(hidden_states)))


class Bert4RecLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each with dropout, a residual sum and a layer norm."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.pre_layer_norm = config.pre_layer_norm
        self.attention = Bert4RecAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = Bert4RecFeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Bert4RecDropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        angles: tuple[torch.Tensor, torch.Tensor] | None,
        asked: QueryPositions | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """States (batch, seq, hidden) after the layer, or those that are asked for, (asked, hidden): they see all."""
        own = gather_positions(hidden_states, asked)
        seen = self.attention_norm(hidden_states) if self.pre_layer_norm else hidden_states
        attended, _ = self.attention(seen, attention_mask, angles, asked, **kwargs)
        if asked is not None:
            own, attended = (states.flatten(0, 1)[asked.chosen] for states in (own, attended))  # (asked, hidden)
        own = own + self.dropout(attended)
        if self.pre_layer_norm:
            return own + self.dropout(self.feed_forward(self.feed_forward_norm(own)))
        own = self.attention_norm(own)
        return self.feed_forward_norm(own + self.dropout(self.feed_forward(own)))


class Bert4RecHead(nn.Module):
    """What stands between encoder and item embeddings: dense, activation, layer norm."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.norm(self.activation(self.dense(hidden_states)))


__all__ = [
    "LABEL_COUNT_MULTIPLE",
    "Bert4RecAttention",
    "Bert4RecEmbeddings",
    "Bert4RecHead",
    "Bert4RecLayer",
    "QueryPositions",
    "autocast_dtype",
    "gather_positions",
    "label_indices",
    "labelled_positions",
    "rotary_angles",
]
