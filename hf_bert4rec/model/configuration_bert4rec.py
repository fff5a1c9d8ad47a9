"""Configuration of BERT4Rec. The defaults are the model of the paper as its authors released it."""

# No `from __future__ import annotations` here: types of fields are checked, and must not be strings.
from typing import Any

from .versions_bert4rec import check_versions  # noqa: F401 (first: it refuses old versions)

# isort: split
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from .loading_bert4rec import FIX_HINT, make_importable, report_corrupt_files

AUTO_MAP = {
    "AutoConfig": "configuration_bert4rec.Bert4RecConfig",
    "AutoModel": "modeling_bert4rec.Bert4RecModel",
    "AutoModelForMaskedLM": "modeling_bert4rec.Bert4RecForMaskedLM",
}
TASKS = ("movie-recommendation", "item-recommendation")  # two names of one task
CUSTOM_PIPELINES = {
    task: {"impl": "pipeline_bert4rec.MovieRecommendationPipeline", "pt": ["AutoModelForMaskedLM"], "type": "text"}
    for task in TASKS
}
# Smallest and largest value of each field. A configuration may come from an untrusted source: sizes beyond these are
# refused before memory is allocated.
RANGES: dict[str, tuple[float, float]] = {
    "vocab_size": (1, 2**27),
    "hidden_size": (1, 2**16),
    "num_hidden_layers": (1, 512),
    "num_attention_heads": (1, 2**12),
    "intermediate_size": (1, 2**20),
    "max_position_embeddings": (1, 2**20),
    "taste_size": (0, 2**16),
    "num_events": (0, 2**12),
    "hidden_dropout_prob": (0, 0.99),
    "attention_probs_dropout_prob": (0, 0.99),
    "embedding_dropout_prob": (0, 0.99),
    "initializer_range": (0, 10**6),
    "layer_norm_eps": (0, 10**6),
    "memory_weight": (0, 10**6),
    "taste_weight": (0, 10**6),
    "taste_popularity_penalty": (0, 10**6),
}
MAX_PARAMETERS = 2**31
DTYPES = ("float32", "float16", "bfloat16", "float64")


class Bert4RecConfig(PreTrainedConfig):
    r"""
    Sizes and options of a BERT4Rec model (Sun et al., CIKM 2019, arXiv:1904.06690).

    vocab_size (`int`): special tokens and items; the length of the item tokenizer.
    max_position_embeddings (`int`): window, in positions; the [MASK] that predicts the next item takes one of them.
    sparse_prediction (`bool`): in training, compute logits at the labelled positions only.
    pre_layer_norm (`bool`): normalise before attention and feed-forward instead of after; trains faster.
    rotary_positions (`bool`): rotate queries and keys by position (arXiv:2104.09864) instead of adding an embedding.
    causal (`bool`): each position gets the item before its own as input and attends to earlier positions only, so that
        every item of a history is predicted at once (`mlm_probability: 1.0`, `mask_replace_prob: 0.0`); the setup of
        SASRec (arXiv:1808.09781).
    previous_item (`bool`): the input of a position is the sum of its own embedding and that of the item before it, so
        that a [MASK] knows what it follows. Not with `causal`, whose input is the item before anyway.
    memory_size (`int`): next items stored per item in the transition memory (`Bert4RecTransitionMemory`); 0 for none.
    memory_weight (`float`): factor of the memory's log-probabilities, which are added to the logits.
    taste_size (`int`): factors per item of the linear model of taste (`Bert4RecTaste`); 0 for none.
    taste_weight (`float`): factor of the model of taste's scores, which are added to the logits; 0 for none.
    taste_popularity_penalty (`float`): the model of taste ranks by the logarithm of a score less this times the
        logarithm of the item's share of all interactions; 0 for none.
    taste_neighbours (`int`): closest items stored per item by the model of taste; 0 for none.
    time_aware (`bool`): use `timestamps`, in `Bert4RecTimeEmbeddings` and in the memory.
    num_events (`int`): event types, such as view and purchase, that `event_ids` has (`Bert4RecEventEmbeddings`).
    embedding_dropout_prob (`float`, *optional*): dropout of the embeddings; defaults to `hidden_dropout_prob`.
    exclude_seen (`bool`): whether a pipeline leaves out the items of the history by default.
    vocabulary_sha256 (`str`, *optional*): the tokenizer's `vocabulary_sha256`, so that a pipeline refuses a tokenizer
        of other items; not checked if it is missing.

    The other fields are those of `transformers.BertConfig`. Sizes default to the authors' `bert_config_ml-1m_64.json`
    (FeiSun/BERT4Rec).

    TypeError: a value of the wrong type. ValueError: a value out of range.
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
    initializer_range: float | int = 0.02
    layer_norm_eps: float | int = 1e-12
    pad_token_id: int | None = 0
    mask_token_id: int = 1
    unk_token_id: int = 2
    tie_word_embeddings: bool = True
    sparse_prediction: bool = True
    pre_layer_norm: bool = False
    rotary_positions: bool = False
    causal: bool = False
    previous_item: bool = False
    memory_size: int = 0
    memory_weight: float | int = 0.6
    taste_size: int = 0
    taste_weight: float | int = 0.0
    taste_popularity_penalty: float | int = 0.0
    taste_neighbours: int = 0
    time_aware: bool = False
    num_events: int = 0
    exclude_seen: bool = True
    vocabulary_sha256: str | None = None

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The contents of `config.json` and the unused keyword arguments; ValueError unless it holds a JSON object."""
        with report_corrupt_files(pretrained_model_name_or_path, "config.json"):
            config_dict, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not isinstance(config_dict, dict):
            raise ValueError(f"config.json of {pretrained_model_name_or_path} holds no object of fields: {FIX_HINT}")
        return config_dict, unused

    def __init__(self, **kwargs: Any) -> None:
        # transformers before 5.4 does not make a configuration a dataclass.
        fields = {name: kwargs.pop(name, getattr(self, name)) for name in FIELD_TYPES}
        for name, value in fields.items():
            self.__setattr__(name, value)
        self._check_ranges()
        self._check_sizes()
        if self.previous_item and self.causal:
            raise ValueError("previous_item=True with causal=True: the input of a causal model is the item before")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act is {self.hidden_act!r:.40}; it must be one of {', '.join(sorted(ACT2FN))}")
        _check_other_fields(kwargs)
        # Relative names, whatever repository they were read from: a saved folder carries its own code.
        kwargs["auto_map"] = dict(AUTO_MAP)
        if not __name__.startswith("transformers_modules."):
            # This package registers its own pipeline, which needs no trust in the folder's code.
            kwargs.pop("custom_pipelines", None)
        super().__init__(**fields, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = FIELD_TYPES.get(name, object)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
            expected = kind.__name__ if isinstance(kind, type) else kind
            raise TypeError(f"Field {name!r} expected {expected}, got {type(value).__name__} (value: {value!r:.40})")
        super().__setattr__(name, value)

    def _check_ranges(self) -> None:
        ranges = RANGES | dict.fromkeys(("memory_size", "taste_neighbours"), (0, self.vocab_size))
        ranges |= dict.fromkeys(("pad_token_id", "mask_token_id", "unk_token_id"), (0, self.vocab_size - 1))
        for name, (lower, upper) in ranges.items():
            value = getattr(self, name)
            if value is not None and not lower <= value <= upper:
                raise ValueError(f"{name} is {value!r:.40}; it must be from {lower} to {upper:,}")

    def _check_sizes(self) -> None:
        hidden_size, heads = f"hidden_size ({self.hidden_size})", f"num_attention_heads ({self.num_attention_heads})"
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{hidden_size} must be a multiple of {heads}")
        if self.rotary_positions and self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(f"rotary_positions rotate pairs, so {hidden_size} over {heads} must be even")
        layer = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size
        memory_tables = 3 if self.time_aware else 2
        rows = (self.vocab_size + self.max_position_embeddings) * self.hidden_size
        rows += self.vocab_size * (memory_tables * self.memory_size + self.taste_size + 2 * self.taste_neighbours)
        rows += self.taste_size**2 if self.taste_weight else 0
        if (parameters := rows + self.num_hidden_layers * layer) > MAX_PARAMETERS:
            raise ValueError(f"these sizes make {parameters:,} parameters; at most {MAX_PARAMETERS:,} are allowed")


def _check_other_fields(fields: dict[str, Any]) -> None:
    """Refuse fields by which transformers would fetch code, read pickled weights or allocate huge lists."""
    for name in ("attn_implementation", "_attn_implementation"):
        if "/" in str(fields.get(name)):
            raise ValueError(f"{name} is {fields[name]!r:.80}: a config file may not fetch kernels, which are code")
    for name in ("transformers_weights", "fusion_config"):
        if fields.get(name) is not None:
            raise ValueError(f"{name} is {fields[name]!r:.80}: a config file may not choose weights or layers")
    labels = fields.get("num_labels")
    if labels is not None and not (isinstance(labels, int) and 0 <= labels <= 1000):
        raise ValueError(f"num_labels is {labels!r:.40}; this model has no labels: leave it out")
    for name in ("dtype", "torch_dtype"):  # PreTrainedConfig would take any attribute of torch
        value = fields.get(name)
        dtype = value if isinstance(value, str) else str(value).removeprefix("torch.")
        if value is not None and dtype not in DTYPES:
            raise ValueError(f"{name} is {value!r:.40}; it must be one of {', '.join(DTYPES)}")


FIELD_TYPES: dict[str, Any] = dict(Bert4RecConfig.__annotations__)
Bert4RecConfig.register_for_auto_class()
make_importable(__name__)
