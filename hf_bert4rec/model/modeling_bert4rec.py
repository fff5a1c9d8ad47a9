"""BERT4Rec: a bidirectional transformer that fills masked places in a history of items.

Read from the bottom up: `Bert4RecForMaskedLM` scores items, `Bert4RecModel` encodes a history, its layers are in
`layers_bert4rec.py`. With the default configuration it is `transformers.BertForMaskedLM` without token types (a test
holds the two equal). Notable: positions count from the oldest attended item, so padding on either side changes nothing;
the last layer and the logits are worked out only at the places that are asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_bert4rec import Bert4RecConfig
from .growth_bert4rec import grow
from .layers_bert4rec import (
    LABEL_COUNT_MULTIPLE,
    Bert4RecAttention,
    Bert4RecEmbeddings,
    Bert4RecHead,
    Bert4RecLayer,
    QueryPositions,
    autocast_dtype,
    gather_positions,
    label_indices,
    labelled_positions,
    rotary_angles,
)
from .loading_bert4rec import INDEX_FILE, check_weight_files, report_corrupt_files
from .loss_bert4rec import cross_entropy_in_chunks
from .memory_bert4rec import Bert4RecMemory
from .sampling_bert4rec import sampled_softmax_loss
from .time_bert4rec import UNKNOWN_TIME, Bert4RecTimeEmbeddings

MAX_DENSE_LOGITS = 1 << 18  # places of a batch × items, up to which training gives logits along with the loss


class Bert4RecPreTrainedModel(PreTrainedModel):
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
    missing_weights: tuple[str, ...] = ()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load as `PreTrainedModel.from_pretrained` does, from safetensors alone: a pickled file can run code.

        `missing_weights` of the model names those that the file lacked, which are random.

        Raises:
            ValueError: `use_safetensors=False`, an index that names other files, or damaged JSON. OSError: no
                safetensors file, or a damaged one.
        """
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("use_safetensors=False: weights are read from safetensors files alone, never pickled ones")
        check_weight_files(pretrained_model_name_or_path, **kwargs)
        told = kwargs.pop("output_loading_info", False)
        try:
            with report_corrupt_files(pretrained_model_name_or_path, "config.json", INDEX_FILE):
                model, info = super().from_pretrained(
                    pretrained_model_name_or_path, *args, use_safetensors=True, output_loading_info=True, **kwargs
                )
        except SafetensorError as error:
            raise OSError(
                f"the safetensors weights of {pretrained_model_name_or_path} are damaged ({error}): download them with "
                "force_download=True, or export the model again"
            ) from error
        model.missing_weights = tuple(sorted(info["missing_keys"]))
        return (model, info) if told else model


def positions_of(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position of every attended place, counted from the oldest one; 0 where padded. (batch, seq) → (batch, seq)."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


class Bert4RecModel(Bert4RecPreTrainedModel):
    """The encoder: `input_ids` (batch, seq) in, `last_hidden_state` (batch, seq, hidden) out."""

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        self.embeddings = Bert4RecEmbeddings(config)
        self.times = Bert4RecTimeEmbeddings(config) if config.time_aware else None
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

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        timestamps: torch.Tensor | None = None,
        asked: QueryPositions | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode histories.

        Args:
            input_ids: (batch, seq) vocabulary indices, or give `inputs_embeds` (batch, seq, hidden).
            attention_mask: (batch, seq), 1 at places that count; all count where it is not given.
            position_ids: (batch, seq); derived from `attention_mask` where not given.
            timestamps: (batch, seq) seconds since 1970 of every item, int64, and at the place that asks for the next
                one the time of the question; `UNKNOWN_TIME` where not known, as all are where not given. A model that
                is not `time_aware` passes over them.
            asked: the places that the last layer works out alone: `last_hidden_state` is (asked, hidden) then. They see
                every place, so of a causal model only each row's last may be asked for.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`, or more places than the window has.
        """
        hidden_states, angles = self._embed(input_ids, attention_mask, position_ids, inputs_embeds, timestamps)
        hidden_states = self._through_layers(hidden_states, attention_mask, angles, asked, **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))

    def last_states(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """What `forward` gives at each row's last attended place, (batch, hidden); the last layer makes no more."""
        hidden_states, angles = self._embed(input_ids, attention_mask, None, None, timestamps)
        places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        last = (places * attention_mask).argmax(-1, keepdim=True)  # (batch, 1)
        asked = QueryPositions(last, torch.arange(len(last), device=last.device))
        # The last place sees all the others, whether the model is causal or not.
        hidden_states = self._through_layers(hidden_states, attention_mask, angles, asked, **kwargs)
        return self.final_norm(hidden_states)

    def _through_layers(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        angles: tuple[torch.Tensor, torch.Tensor] | None,
        asked: QueryPositions | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """States after all layers, of which the last works out those `asked` for alone: they see all the others."""
        mask = self._mask(hidden_states, attention_mask)
        for layer in self.layers if asked is None else self.layers[:-1]:
            hidden_states = layer(hidden_states, mask, angles, **kwargs)
        if asked is None:
            return hidden_states
        own = gather_positions(hidden_states, asked)
        mask = create_bidirectional_mask(self.config, own, attention_mask, encoder_hidden_states=hidden_states)
        return self.layers[-1](hidden_states, mask, angles, asked, **kwargs)

    def _embed(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        timestamps: torch.Tensor | None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """What the first layer gets, (batch, seq, hidden), and the angles of rotary positions."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embeddings.item_embeddings(input_ids)
        if position_ids is None:
            position_ids = self._default_positions(inputs_embeds, attention_mask)
        if self.config.causal:
            inputs_embeds = self.shift_right(inputs_embeds, position_ids)
        if self.times is not None:
            inputs_embeds = inputs_embeds + self.times(self._known_times(inputs_embeds, timestamps), position_ids)
        hidden_states = self.embeddings(inputs_embeds, position_ids)
        angles = None
        if self.config.rotary_positions:
            heads = self.config.num_attention_heads
            head_dim = self.config.hidden_size // heads
            angles = rotary_angles(position_ids, heads, head_dim, autocast_dtype(hidden_states))
        return hidden_states, angles

    def shift_right(self, inputs_embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Each place with the embedding of the item before its own, the oldest with that of [MASK]."""
        oldest = self.embeddings.item_embeddings.weight[self.config.mask_token_id]  # (hidden,)
        before = inputs_embeds.roll(1, dims=1)  # (batch, seq, hidden)
        return torch.where((position_ids == 0)[..., None], oldest.to(before.dtype), before)

    def _known_times(self, inputs_embeds: torch.Tensor, timestamps: torch.Tensor | None) -> torch.Tensor:
        if timestamps is not None:
            return timestamps
        return torch.full(inputs_embeds.shape[:2], UNKNOWN_TIME, device=inputs_embeds.device)

    def _mask(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> Any:
        if self.config.causal:
            return create_causal_mask(self.config, hidden_states, attention_mask, past_key_values=None)
        return create_bidirectional_mask(self.config, hidden_states, attention_mask)

    def _default_positions(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        if attention_mask is None or attention_mask.dim() != 2:
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)[None]
        else:
            position_ids = positions_of(attention_mask)
        # A padded batch may be wider than the window, a history may not be longer.
        if inputs_embeds.shape[1] > self.config.max_position_embeddings:
            longest = int(position_ids.max()) + 1
            if longest > self.config.max_position_embeddings:
                raise ValueError(
                    f"a history of {longest} places does not fit the model's window of "
                    f"{self.config.max_position_embeddings}: keep its most recent items"
                )
        return position_ids


class Bert4RecForMaskedLM(Bert4RecPreTrainedModel):
    """The encoder with a head that scores every item at every place, through the item embeddings and a bias each."""

    _tied_weights_keys = {"decoder.weight": "bert4rec.embeddings.item_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        self.bert4rec = Bert4RecModel(config)
        self.head = Bert4RecHead(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.memory = Bert4RecMemory(config) if config.memory_size else None
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.decoder = new_embeddings

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        embeddings = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        if self.memory is not None:
            self.memory.resize(len(embeddings.weight))
        return embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        negatives: torch.Tensor | None = None,
        negatives_log_count: torch.Tensor | None = None,
        timestamps: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Score items at every place.

        Args:
            labels: (batch, seq) true `input_ids` at masked places, -100 elsewhere. With them the output has a
                `loss` (cross-entropy), and its `logits` are (labelled places, vocab) if
                `config.sparse_prediction`. Without them `logits` are (batch, seq, vocab). In training, where batch ×
                seq × vocab is more than `MAX_DENSE_LOGITS`, only the loss is given and `logits` is None.
            negatives: (n,) `input_ids` drawn from the catalogue, for a loss by `sampled_softmax_loss` and no `logits`.
            negatives_log_count: (n,) logarithm of how often each was to be expected among the n.

        The other arguments are those of `Bert4RecModel.forward`.
        """
        many = labels is not None and self.training and labels.numel() * self.config.vocab_size > MAX_DENSE_LOGITS
        alone = labels is not None and (self.config.sparse_prediction or negatives is not None or many)
        multiple = LABEL_COUNT_MULTIPLE if many and negatives is None else 1
        asked = None
        if labels is not None and alone and self._last_layer_chooses(attention_mask, kwargs):
            asked = labelled_positions(labels, multiple)
        outputs = self.bert4rec(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            timestamps=timestamps,
            asked=asked,
            return_dict=True,  # whatever the config says
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        if labels is not None and alone:
            labelled = labels != -100
            if asked is None:
                hidden_states = hidden_states.flatten(0, 1)[label_indices(labelled, multiple)]
            labels = labels[labelled]  # (labelled,), of states (labelled or more, hidden)
        hidden_states = self.head(hidden_states)
        logits, loss = None, None
        count = kwargs.get("num_items_in_batch")
        if labels is not None and negatives is not None:
            loss = sampled_softmax_loss(hidden_states, self.decoder, labels, negatives, negatives_log_count, count)
        elif labels is not None and many:
            loss = cross_entropy_in_chunks(hidden_states, self.decoder, labels, count)
        else:
            logits = self.decoder(hidden_states)
        if labels is not None and logits is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def _last_layer_chooses(self, attention_mask: torch.Tensor | None, kwargs: dict[str, Any]) -> bool:
        """Whether the last layer may work out the labelled places alone.

        Not of a causal model, in which each sees others, or with a mask that says so; not where attention takes as many
        questions as keys; and not for those who want every place's states or attention.
        """
        alike = not self.config.causal and (attention_mask is None or attention_mask.dim() == 2)
        recorded = kwargs.get("output_hidden_states", self.config.output_hidden_states) or kwargs.get(
            "output_attentions", self.config.output_attentions
        )
        return alike and self.config._attn_implementation in ("sdpa", "eager") and not recorded

    def next_item_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        timestamps: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Logits at each row's last attended place, where serving puts the [MASK]: (batch, vocab), float32.

        What is remembered of the history's last items is added to them; `forward` gives the network's logits alone.
        """
        states = self.next_item_states(input_ids, attention_mask, timestamps=timestamps, **kwargs)
        logits = self.decoder(states).float()
        if self.memory is not None:
            logits = logits + self.config.memory_weight * self.memory(input_ids, attention_mask, timestamps)
        return logits

    def next_item_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """What the item embeddings are multiplied with for the network's logits: (batch, hidden), a user embedded."""
        return self.head(self.bert4rec.last_states(input_ids, attention_mask, **kwargs))

    def add_items(self, tokenizer: Any, vectors: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """Grow the model by the movies that `tokenizer.add_items` added, without training.

        A new movie starts from the movies most like it by genres, year and title; what other movies score before the
        softmax does not change. The model can be saved and fine-tuned as it is.

        Args:
            vectors: (new movies, hidden) to start from instead, such as `pipe.embed_items` gives.

        Returns:
            For every new movie `{"movie_id", "title", "input_id", "start", "similar"}`: what it started from.

        Raises:
            ValueError: no new movies, or vectors of another shape; the model is as it was.
        """
        return grow(self, tokenizer, vectors)


Bert4RecModel.register_for_auto_class("AutoModel")
Bert4RecForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")

__all__ = ["Bert4RecForMaskedLM", "Bert4RecModel", "Bert4RecPreTrainedModel"]
