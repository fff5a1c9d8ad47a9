"""BERT4Rec: a bidirectional transformer that predicts masked items in a history of items.

With the default configuration this is `transformers.BertForMaskedLM` without token types. Two things differ from a
model of text: positions count from the oldest attended item, so padding on either side changes nothing, and the last
layer can be limited to the positions whose output is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .versions_bert4rec import capture_outputs, causal_mask_arguments  # first: it refuses old versions

# isort: split
import torch
from torch import nn
from torch.compiler import is_compiling
from torch.jit import is_tracing
from transformers.activations import ACT2FN
from transformers.initialization import copy_, zeros_
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from .cold_start_bert4rec import extend_catalogue
from .configuration_bert4rec import CUSTOM_PIPELINES, Bert4RecConfig
from .extensions_bert4rec import (
    Bert4RecEventEmbeddings,
    Bert4RecTaste,
    Bert4RecTimeEmbeddings,
    Bert4RecTransitionMemory,
)
from .loading_bert4rec import SafetensorsModel, make_importable
from .pipeline_bert4rec import MovieRecommendationPipeline  # noqa: F401 (it registers its task)
from .values_bert4rec import UNKNOWN_TIME

if TYPE_CHECKING:
    # transformers copies the files that a saved model imports, before 5.10 only those that this very file imports: name
    # the files of the pipeline, too.
    from .items_bert4rec import normalise  # noqa: F401
    from .onnx_bert4rec import OnnxScorer  # noqa: F401
    from .ranking_bert4rec import Catalogue  # noqa: F401
    from .requests_bert4rec import Request  # noqa: F401

ROTARY_BASE = 10_000.0

RotaryAngles = tuple[torch.Tensor, torch.Tensor]


class Bert4RecEmbeddings(nn.Module):
    """Item embedding, plus a position embedding unless positions are rotary; layer norm; dropout."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.item_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = (
            None if config.rotary_positions else nn.Embedding(config.max_position_embeddings, config.hidden_size)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        dropout = config.embedding_dropout_prob
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)

    def forward(self, inputs_embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        if self.position_embeddings is not None:
            inputs_embeds = inputs_embeds + self.position_embeddings(position_ids)
        return self.dropout(self.norm(inputs_embeds))  # (batch, seq, hidden)


def rotary_angles(position_ids: torch.Tensor, heads: int, head_dim: int, dtype: torch.dtype) -> RotaryAngles:
    """Cosine and signed sine of every position's angles; each (batch, seq, hidden)."""
    steps = torch.arange(0, head_dim, 2, device=position_ids.device, dtype=torch.float32) / head_dim
    angles = position_ids[..., None].float() * ROTARY_BASE**-steps  # (batch, seq, head_dim / 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    # Repeated for every head: a CPU multiplies full rows faster than it broadcasts over heads.
    return torch.cat((cos, cos), -1).repeat(1, 1, heads), torch.cat((-sin, sin), -1).repeat(1, 1, heads)


def rotate(states: torch.Tensor, angles: RotaryAngles, head_dim: int) -> torch.Tensor:
    """Rotate states (batch, seq, hidden) by their positions' angles (RoFormer, arXiv:2104.09864)."""
    cos, sin = angles
    swapped = states.unflatten(-1, (-1, head_dim)).roll(head_dim // 2, -1).flatten(-2)  # swap the halves of each head
    return states * cos + swapped * sin


def autocast_dtype(states: torch.Tensor) -> torch.dtype:
    """The dtype in which linear layers multiply these states: autocast's where it is on."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def store_by_position(grad: torch.Tensor) -> torch.Tensor:
    """Store a gradient (batch, heads, seq, head_dim) in memory as (batch, seq, heads, head_dim), as keys are.

    That of the keys arrives transposed, and is ten times as slow to multiply by rotary angles on a CPU.
    """
    return grad.transpose(1, 2).contiguous().transpose(1, 2)


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
    """Attention without a fused kernel; query, key and value are (batch, heads, seq, head_dim)."""
    if key.requires_grad:
        key.register_hook(store_by_position)
    weights = (query * scaling) @ key.contiguous().transpose(2, 3)  # (batch, heads, seq, seq)
    if attention_mask is not None and attention_mask.dtype == torch.bool:  # the caller's own, of four dimensions
        weights = weights.masked_fill(~attention_mask, torch.finfo(weights.dtype).min)
    elif attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights  # (batch, seq, heads, head_dim)


class QueryPositions(NamedTuple):
    """Positions whose output is needed from the last layer.

    positions: (batch, queries), the same number in every row. indices: (outputs,) indices into the flattened
    positions, without those that pad a row.
    """

    positions: torch.Tensor
    indices: torch.Tensor


def gather_positions(states: torch.Tensor, query_positions: QueryPositions | None) -> torch.Tensor:
    """Select each row's query positions, (batch, seq, hidden) → (batch, queries, hidden); all positions for None."""
    if query_positions is None:
        return states
    positions = query_positions.positions
    starts = states.shape[1] * torch.arange(states.shape[0], device=states.device)  # [0] for angles that all rows share
    rows = (positions + starts[:, None]).flatten()
    # index_select copies row by row, on a CPU 15 times as fast as gather
    return states.flatten(0, 1).index_select(0, rows).unflatten(0, positions.shape)


def last_positions(attention_mask: torch.Tensor) -> QueryPositions:
    """The last attended position of each row of a mask (batch, seq)."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (positions * attention_mask).argmax(-1, keepdim=True)  # (batch, 1)
    return QueryPositions(last, torch.arange(last.shape[0], device=last.device))


class Bert4RecAttention(nn.Module):
    """Multi-head attention to all positions, or with `config.causal` to the position itself and earlier ones."""

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
        angles: RotaryAngles | None,
        query_positions: QueryPositions | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden_states = hidden_states.to(autocast_dtype(hidden_states))  # once; autocast would cast three times
        query = self.query(gather_positions(hidden_states, query_positions))
        key, value = self.key(hidden_states), self.value(hidden_states)
        if angles is not None:
            cos, sin = (gather_positions(part, query_positions) for part in angles)
            query, key = rotate(query, (cos, sin), self.head_dim), rotate(key, angles, self.head_dim)
        query, key, value = (
            states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (batch, heads, seq, head_dim)
            for states in (query, key, value)
        )
        attention_interface: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attention_interface(
            self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )
        return self.output(context.flatten(-2)), weights  # (batch, queries, hidden)


class Bert4RecFeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.up(hidden_states)))


class Bert4RecLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each with dropout, a residual connection and a layer norm."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.pre_layer_norm = config.pre_layer_norm
        self.attention = Bert4RecAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = Bert4RecFeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        angles: RotaryAngles | None,
        query_positions: QueryPositions | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """(batch, seq, hidden) → the same, or (outputs, hidden) of the query positions, which attend to all."""
        residual = gather_positions(hidden_states, query_positions)
        attention_input = self.attention_norm(hidden_states) if self.pre_layer_norm else hidden_states
        attention_output, _ = self.attention(attention_input, attention_mask, angles, query_positions, **kwargs)
        if query_positions is not None:
            residual, attention_output = (
                states.flatten(0, 1).index_select(0, query_positions.indices) for states in (residual, attention_output)
            )
        hidden_states = residual + self.dropout(attention_output)
        if self.pre_layer_norm:
            return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))
        hidden_states = self.attention_norm(hidden_states)
        return self.feed_forward_norm(hidden_states + self.dropout(self.feed_forward(hidden_states)))


class Bert4RecHead(nn.Module):
    """Dense layer, activation and layer norm between the encoder and the output embeddings."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.norm(self.activation(self.dense(hidden_states)))


class Bert4RecPreTrainedModel(SafetensorsModel):
    """Loading, saving and initialisation shared by the encoder and the model with a head."""

    config_class = Bert4RecConfig
    base_model_prefix = "bert4rec"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Bert4RecEmbeddings", "Bert4RecLayer"]  # noqa: RUF012 (transformers' own form)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": Bert4RecLayer, "attentions": Bert4RecAttention}  # noqa: RUF012

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True  # transformers looks in the source for `get_interface`, which 5.0 does not have

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """`PreTrainedModel.resize_token_embeddings`; use `add_items` to add items that can be recommended at once."""
        embeddings = super().resize_token_embeddings(*args, **kwargs)
        self.config.memory_size = min(self.config.memory_size, self.config.vocab_size)
        self.config.taste_neighbours = min(self.config.taste_neighbours, self.config.vocab_size)
        for module in self.children():
            if isinstance(module, (Bert4RecTransitionMemory, Bert4RecTaste)):
                module.resize(self.config.vocab_size)
        return embeddings

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Bert4RecTimeEmbeddings):
            copy_(module.span, torch.tensor([0, 1]))
        elif isinstance(module, (Bert4RecTransitionMemory, Bert4RecTaste)):
            for table in module.buffers():
                zeros_(table)


class Bert4RecModel(Bert4RecPreTrainedModel):
    """The encoder: `input_ids` (batch, seq) → `last_hidden_state` (batch, seq, hidden)."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        self.embeddings = Bert4RecEmbeddings(config)
        self.time_embeddings = Bert4RecTimeEmbeddings(config) if config.time_aware else None
        self.event_embeddings = Bert4RecEventEmbeddings(config) if config.num_events else None
        self.layers = nn.ModuleList([Bert4RecLayer(config) for _ in range(config.num_hidden_layers)])
        self.final_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.pre_layer_norm else nn.Identity()
        )
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.item_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings.item_embeddings = value

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        timestamps: torch.Tensor | None = None,
        event_ids: torch.Tensor | None = None,
        query_positions: QueryPositions | None = None,
        is_causal: bool = False,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode histories.

        Args:
            input_ids: (batch, seq) vocabulary indices; or pass `inputs_embeds` (batch, seq, hidden).
            attention_mask: (batch, seq), 0 at padding, which is on the left or the right of a row; by default nothing
                is padding. With `previous_item`, `causal` or events, a 0 between two items does not hide an item.
            position_ids: (batch, seq), 0 at each row's oldest item; by default counted from the oldest attended one.
            timestamps: (batch, seq) seconds since 1970 of every item, int64, and at the [MASK] the time of the query;
                `UNKNOWN_TIME` where unknown, as all are by default; any at padding. Ignored unless the model is
                `time_aware`.
            event_ids: (batch, seq) event type of every item, below `num_events`; at the [MASK] the requested type;
                by default all are 0. Ignored unless the model has event types.
            query_positions: compute the last layer at these positions only; `last_hidden_state` is then (outputs,
                hidden). They attend to all positions, so with `is_causal` only a row's last one may be queried.
            is_causal: predict the item of every position from earlier ones: a position attends to itself and earlier
                ones, and its input is the item before it. Always so with `config.causal`.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`, or a history longer than the window.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        is_causal = is_causal or self.config.causal
        if inputs_embeds is None:
            inputs_embeds = self.embeddings.item_embeddings(input_ids)
        if position_ids is None:
            position_ids = self._position_ids(inputs_embeds, attention_mask)
        inputs_embeds = self._add_previous_items(inputs_embeds, position_ids, is_causal)
        if self.time_embeddings is not None:
            if timestamps is None:
                timestamps = torch.full(inputs_embeds.shape[:2], UNKNOWN_TIME, device=inputs_embeds.device)
            elif attention_mask is not None and attention_mask.dim() == 2:
                timestamps = timestamps.masked_fill(attention_mask == 0, UNKNOWN_TIME)  # no item follows the last one
            masked = None if is_causal or input_ids is None else input_ids == self.config.mask_token_id
            inputs_embeds = inputs_embeds + self.time_embeddings(timestamps, position_ids, is_causal, masked)
        if self.event_embeddings is not None:
            if event_ids is None:
                event_ids = torch.zeros_like(inputs_embeds[..., 0], dtype=torch.long)
            inputs_embeds = inputs_embeds + self.event_embeddings(event_ids, position_ids)
        hidden_states = self.embeddings(inputs_embeds, position_ids)
        angles = None
        if self.config.rotary_positions:
            heads, dtype = self.config.num_attention_heads, autocast_dtype(hidden_states)
            angles = rotary_angles(position_ids, heads, self.config.hidden_size // heads, dtype)
        if is_causal:
            arguments = causal_mask_arguments(hidden_states)
            mask = create_causal_mask(self.config, hidden_states, attention_mask, **arguments)
        else:
            mask = self._bidirectional_mask(hidden_states, hidden_states, attention_mask)

        for layer in self.layers[:-1]:
            hidden_states = layer(hidden_states, mask, angles, is_causal=is_causal, **kwargs)
        if query_positions is not None:  # the last layer has a row of the mask for each query
            queries = hidden_states[:, : query_positions.positions.shape[1]]  # only their number matters
            mask = self._bidirectional_mask(queries, hidden_states, attention_mask)
            is_causal = False
        hidden_states = self.layers[-1](hidden_states, mask, angles, query_positions, is_causal=is_causal, **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))

    def _add_previous_items(
        self, inputs_embeds: torch.Tensor, position_ids: torch.Tensor, is_causal: bool
    ) -> torch.Tensor:
        """Every position's input, (batch, seq, hidden), from the embeddings of the items.

        With `is_causal` it is the item before, [MASK] at the oldest position; with `config.previous_item` the sum of
        the item before and the position's own, which with `is_causal` is [MASK] everywhere.
        """
        if not (is_causal or self.config.previous_item):
            return inputs_embeds
        mask_id = torch.full((1,), self.config.mask_token_id, device=inputs_embeds.device)
        mask = self.embeddings.item_embeddings(mask_id).to(inputs_embeds.dtype)  # (1, hidden)
        previous = torch.where((position_ids == 0)[..., None], mask, inputs_embeds.roll(1, dims=1))
        if not self.config.previous_item:
            return previous
        return previous + (mask if is_causal else inputs_embeds)

    def _position_ids(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Positions (batch or 1, seq) counted from each row's oldest attended one; 0 where padded."""
        if attention_mask is None or attention_mask.dim() != 2:
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)[None]
        else:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        # A padded batch may be wider than the window, a history may not be longer.
        window = self.config.max_position_embeddings
        if inputs_embeds.shape[1] > window and (length := int(position_ids.max()) + 1) > window:
            raise ValueError(
                f"a history of {length} positions exceeds the model's window of {window}: keep its most recent items"
            )
        return position_ids

    def _bidirectional_mask(
        self, queries: torch.Tensor, keys: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The mask that hides padded keys from the queries; None without `attention_mask`, even when compiled."""
        if attention_mask is None:
            return None
        return create_bidirectional_mask(self.config, queries, attention_mask, encoder_hidden_states=keys)


class Bert4RecForMaskedLM(Bert4RecPreTrainedModel):
    """The encoder with a head that scores every item at every position by its output embedding and a bias."""

    _tied_weights_keys = {"decoder.weight": "bert4rec.embeddings.item_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        self.bert4rec = Bert4RecModel(config)
        self.head = Bert4RecHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.memory = Bert4RecTransitionMemory(config) if config.memory_size else None
        self.taste = Bert4RecTaste(config) if config.taste_size else None
        # Counts exceed the range of float16. Not the modules: that would turn their tables of input ids into floats.
        tables = {name for name, table in self.named_buffers() if table.is_floating_point()}
        self._keep_in_fp32_modules_strict = tables or None
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.decoder = new_embeddings

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """`PreTrainedModel.save_pretrained`; with a saved tokenizer, the folder loads with `pipeline` as well."""
        self.config.custom_pipelines = CUSTOM_PIPELINES
        super().save_pretrained(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        timestamps: torch.Tensor | None = None,
        event_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Score items at every position.

        Args:
            labels: (batch, seq) true `input_ids` at masked positions, -100 elsewhere. With them the output has a
                `loss` (cross-entropy). `logits` are (batch, seq, vocab), or in training with labels and
                `config.sparse_prediction` (labelled positions, vocab).

        The other arguments are those of `Bert4RecModel.forward`.
        """
        outputs = self.bert4rec(
            input_ids, attention_mask, position_ids, inputs_embeds, timestamps, event_ids, return_dict=True, **kwargs
        )
        hidden_states = outputs.last_hidden_state
        if labels is not None and self.training and self.config.sparse_prediction:
            labelled = labels != -100
            hidden_states, labels = hidden_states[labelled], labels[labelled]  # (labelled, hidden), (labelled,)
        logits = self.decoder(self.head(hidden_states))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def next_item_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        event_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Logits at each row's last attended position, that of the [MASK]: (batch, vocab), float32.

        They include what the transition memory and the model of taste add; the logits of `forward` do not.
        """
        states = self.next_item_states(input_ids, attention_mask, timestamps=timestamps, event_ids=event_ids, **kwargs)
        return self.add_table_scores(self.decoder(states).float(), input_ids, attention_mask, timestamps)

    def add_table_scores(
        self,
        logits: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Logits (batch, vocab) plus the scores of the memory and the model of taste; other inputs are ignored."""
        if self.memory is not None:
            logits = logits + self.config.memory_weight * self.memory(input_ids, attention_mask, timestamps)
        if self.taste is not None and self.config.taste_weight:
            logits = logits + self.config.taste_weight * self.taste.next_item_scores(input_ids, attention_mask)
        return logits

    def next_item_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """User embeddings (batch, hidden): their products with the output embeddings, plus bias, are the logits."""
        last = last_positions(attention_mask)
        # Without padding no mask is needed; a traced model keeps it for other inputs.
        mask = attention_mask if is_compiling() or is_tracing() or not attention_mask.all() else None
        outputs = self.bert4rec(input_ids, mask, query_positions=last, return_dict=True, **kwargs)
        return self.head(outputs.last_hidden_state)

    def add_items(self, tokenizer: Any, vectors: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """Extend the model by the items that `tokenizer.add_items` added, without training; see `extend_catalogue`."""
        return extend_catalogue(self, tokenizer, vectors)


Bert4RecModel.register_for_auto_class("AutoModel")
Bert4RecForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
make_importable(__name__)
