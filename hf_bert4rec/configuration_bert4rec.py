"""Configuration of BERT4Rec. The defaults are the model of the paper as its authors released it."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

AUTO_MAP = {
    "AutoConfig": "configuration_bert4rec.Bert4RecConfig",
    "AutoModel": "modeling_bert4rec.Bert4RecModel",
    "AutoModelForMaskedLM": "modeling_bert4rec.Bert4RecForMaskedLM",
}


@strict
class Bert4RecConfig(PreTrainedConfig):
    r"""
    Sizes and options of a BERT4Rec model (Sun et al., CIKM 2019, arXiv:1904.06690).

    vocab_size (`int`): special tokens and items; the length of the item tokenizer.
    max_position_embeddings (`int`): window, in places; the [MASK] that asks for the next item takes one of them.
    sparse_prediction (`bool`): with labels, compute logits at the labelled places alone.
    pre_layer_norm (`bool`): normalise before attention and feed-forward rather than after; trains faster.
    rotary_positions (`bool`): rotate queries and keys by position (arXiv:2104.09864) instead of adding a learned
        embedding.

    The other fields mean what they mean in `transformers.BertConfig`. Sizes default to the authors'
    `bert_config_ml-1m_64.json` (FeiSun/BERT4Rec).
    """

    model_type = "bert4rec"

    vocab_size: int = 3420
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 256
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.2
    attention_probs_dropout_prob: float | int = 0.2
    max_position_embeddings: int = 200
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    mask_token_id: int = 1
    unk_token_id: int = 2
    tie_word_embeddings: bool = True
    sparse_prediction: bool = True
    pre_layer_norm: bool = False
    rotary_positions: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        # Plain names, whatever repository they were read from: a saved folder carries its own code.
        kwargs["auto_map"] = dict(AUTO_MAP)
        super().__post_init__(**kwargs)


Bert4RecConfig.register_for_auto_class()

__all__ = ["Bert4RecConfig"]
