"""Configuration of BERT4Rec. The defaults are the model of the paper as its authors released it."""

from __future__ import annotations

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

AUTO_MAP = {
    "AutoConfig": "configuration_bert4rec.Bert4RecConfig",
    "AutoModel": "modeling_bert4rec.Bert4RecModel",
    "AutoModelForMaskedLM": "modeling_bert4rec.Bert4RecForMaskedLM",
}
# A configuration may come from a stranger: what asks for more than this is refused before it fills the memory.
LARGEST = {
    "vocab_size": 2**27,
    "hidden_size": 2**16,
    "num_hidden_layers": 512,
    "num_attention_heads": 2**12,
    "intermediate_size": 2**20,
    "max_position_embeddings": 2**20,
}
SWITCHES = ("tie_word_embeddings", "sparse_prediction", "pre_layer_norm", "rotary_positions", "causal", "time_aware")
DTYPES = ("float32", "float16", "bfloat16", "float64")
MOST_PARAMETERS = 2**31


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
    causal (`bool`): a place is shown the items before it and not its own, so that every item of a history can be asked
        for at once (`mlm_probability: 1.0`, `mask_replace_prob: 0.0`); the view of SASRec (arXiv:1808.09781).
    memory_size (`int`): followers of every item that are remembered beside the network (`Bert4RecMemory`); 0 for none.
    memory_weight (`float`): what the logarithm of a remembered share is multiplied by before the logits get it.
    time_aware (`bool`): take `timestamps` too, and know gaps and dates of the history and of the question
        (`Bert4RecTimeEmbeddings`); the memory then knows when what followed what. Of causal models.
    embedding_dropout_prob (`float`, *optional*): dropout of the embeddings; that of the layers where not given.

    A value of another type is a ValueError here: `strict` checks no annotation that is a string, as they are below.

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
    embedding_dropout_prob: float | int | None = None
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
    causal: bool = False
    memory_size: int = 0
    memory_weight: float | int = 0.6
    time_aware: bool = False

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The contents of `config.json`, and the arguments that are left over, as in `PreTrainedConfig`.

        Raises:
            OSError: there is no such file, or it is no JSON object that can be read.
        """
        try:
            found, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
            if not isinstance(found, dict):
                raise TypeError(f"it holds a {type(found).__name__}")
        except (RecursionError, TypeError, ValueError) as error:  # nested without end, null, a number of 5,000 digits
            raise OSError(
                f"config.json of {pretrained_model_name_or_path} is no JSON object that can be read ({error}): fetch "
                "or export the model again"
            ) from error
        return found, rest

    def __post_init__(self, **kwargs: Any) -> None:
        self._check_sizes()
        self._check_numbers()
        self._check_names()
        _check_others(kwargs)
        # Plain names, whatever repository they were read from: a saved folder carries its own code.
        kwargs["auto_map"] = dict(AUTO_MAP)
        super().__post_init__(**kwargs)

    def _check_sizes(self) -> None:
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
                raise ValueError(f"{name} is {value!r:.40}; it is a whole number from 1 to {largest:,}")
        memory = self.memory_size
        if type(memory) is not int or not 0 <= memory <= self.vocab_size:
            raise ValueError(
                f"memory_size is {memory!r:.40}; of a vocabulary of {self.vocab_size} no more are remembered"
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        if self.rotary_positions and self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) over num_attention_heads ({self.num_attention_heads}) must be even "
                "for rotary_positions, which turn pairs"
            )
        layer = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        tables = 3 if self.time_aware else 2  # of the memory
        rows = (self.vocab_size + self.max_position_embeddings) * self.hidden_size + tables * self.vocab_size * memory
        if (parameters := rows + self.num_hidden_layers * layer) > MOST_PARAMETERS:
            raise ValueError(f"these sizes make {parameters:,} parameters; {MOST_PARAMETERS:,} is the most")

    def _check_numbers(self) -> None:
        for name in ("pad_token_id", "mask_token_id", "unk_token_id"):
            value = getattr(self, name)
            if (type(value) is not int or not 0 <= value < self.vocab_size) and (value, name) != (None, "pad_token_id"):
                raise ValueError(f"{name} is {value!r:.40}; the vocabulary has {self.vocab_size} entries, from 0")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "embedding_dropout_prob"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < 1) and (value, name) != (None, "embedding_dropout_prob"):
                raise ValueError(f"{name} is {value!r:.40}; it is a share from 0 to less than 1")
        for name in ("layer_norm_eps", "initializer_range", "memory_weight"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r:.40}; it is a finite number and not negative")

    def _check_names(self) -> None:
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}; it is true or false")
        if self.time_aware and not self.causal:
            raise ValueError(
                "time_aware needs causal: true: a place that is shown its own item is not asked at any time"
            )
        # PreTrainedConfig looks the name up in torch, and stumbles over anything else.
        dtype = self.dtype if isinstance(self.dtype, str) else str(self.dtype).removeprefix("torch.")
        if self.dtype is not None and dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r:.40}; weights are one of {', '.join(DTYPES)}")
        if not isinstance(self.hidden_act, str) or self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act is {self.hidden_act!r:.40}; transformers knows {', '.join(sorted(ACT2FN))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_others(others: dict[str, Any]) -> None:
    """Refuse what transformers would take from a stranger's file: code to fetch, pickled weights, endless lists."""
    for name in ("attn_implementation", "_attn_implementation"):
        if "/" in str(others.get(name)):
            raise ValueError(
                f"{name} is {others[name]!r:.80}: kernels, which are code, are not fetched for a config file"
            )
    for name in ("transformers_weights", "fusion_config"):
        if others.get(name) is not None:
            raise ValueError(
                f"{name} is {others[name]!r:.80}: a model's weights and layers are not chosen by its config"
            )
    labels = others.get("num_labels")
    if labels is not None and not (isinstance(labels, int) and 0 <= labels <= LARGEST["max_position_embeddings"]):
        raise ValueError(f"num_labels is {labels!r:.40}; this model has no labels")


Bert4RecConfig.register_for_auto_class()

__all__ = ["Bert4RecConfig"]
