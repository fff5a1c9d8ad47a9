"""A recipe file and the command line, parsed into typed arguments: one file is one experiment.

Every key of a recipe is a field of one of the dataclasses here or of `Bert4RecTrainingArguments`, and every one can be
overridden on the command line: `train.py recipe.yaml --learning_rate 5e-4`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from .. import Bert4RecConfig
from ..data.prepare import DataArguments
from ..files import data_folder
from .trainer import Bert4RecTrainingArguments


@dataclass
class ModelArguments:
    """Sizes and options of the model; what `Bert4RecConfig` says of them."""

    hidden_size: int = Bert4RecConfig.hidden_size
    num_hidden_layers: int = Bert4RecConfig.num_hidden_layers
    num_attention_heads: int = Bert4RecConfig.num_attention_heads
    intermediate_size: int = Bert4RecConfig.intermediate_size
    hidden_act: str = Bert4RecConfig.hidden_act
    hidden_dropout_prob: float = float(Bert4RecConfig.hidden_dropout_prob)
    attention_probs_dropout_prob: float = float(Bert4RecConfig.attention_probs_dropout_prob)
    embedding_dropout_prob: float | None = None
    max_position_embeddings: int = Bert4RecConfig.max_position_embeddings
    pre_layer_norm: bool = Bert4RecConfig.pre_layer_norm
    rotary_positions: bool = Bert4RecConfig.rotary_positions
    causal: bool = Bert4RecConfig.causal
    memory_size: int = Bert4RecConfig.memory_size
    memory_weight: float = float(Bert4RecConfig.memory_weight)
    time_aware: bool = Bert4RecConfig.time_aware


@dataclass
class MaskingArguments:
    """What a training row is and how it starts; see `DataCollatorForMaskedItems` and `TrainingWindows`."""

    mlm_probability: float = field(default=0.2, metadata={"help": "share of a row's items that are masked"})
    mask_replace_prob: float = field(default=1.0, metadata={"help": "share of those that become [MASK]"})
    random_replace_prob: float = field(default=0.0, metadata={"help": "share that become a random item"})
    last_item_prob: float = field(default=0.0, metadata={"help": "share of rows that mask only the last item"})
    window_stride: int | None = field(
        default=None, metadata={"help": "items between window starts; a whole window unless given"}
    )
    cooccurrence_init: float | None = field(
        default=None,
        metadata={"help": "start item embeddings from co-occurrence, scaled to this standard deviation"},
    )
    sampled_negatives: int | None = field(
        default=None,
        metadata={"help": "items that stand for the catalogue in a batch's loss, for catalogues past 100,000 items"},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "stop after so many evaluations without a better NDCG@10"}
    )


Arguments = tuple[DataArguments, ModelArguments, MaskingArguments, Bert4RecTrainingArguments]
RECIPES = data_folder("recipes")
CLASSES = (DataArguments, ModelArguments, MaskingArguments, Bert4RecTrainingArguments)


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read `RECIPE [--key value …]`; the command line wins over the recipe, the recipe over the defaults.

    Raises:
        FileNotFoundError: no such recipe; those that ship are listed.
        ValueError: an unknown key, with the nearest known one, or a recipe that would publish pickles.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(CLASSES, description=__doc__)
    parser.add_argument("recipe", help="the name of a recipe that ships, or a YAML file; comes first")
    if argv and not argv[0].startswith("-"):
        # YAML reads 5e-4 as a string; argparse converts string defaults by the field's own type.
        parser.set_defaults(**read_recipe(find_recipe(argv[0])))
    data, model, masking, training, _ = parser.parse_args_into_dataclasses(argv)
    if training.push_to_hub:
        raise ValueError(
            "push_to_hub would publish training_args.bin, a pickle, and leave out the pipeline and the card: train "
            "first, then run `hf-bert4rec push`"
        )
    return data, model, masking, training


def find_recipe(name: str) -> Path:
    """Path of a recipe: a file, or the name of one that ships with the package.

    Raises:
        FileNotFoundError: neither; those that ship are listed.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in shipped:
        raise FileNotFoundError(f"no recipe {name!r}: give a YAML file, or one of {', '.join(shipped)}")
    return shipped[name]


def read_recipe(path: Path) -> dict[str, Any]:
    """The keys and values of a recipe file, its keys checked."""
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: a recipe is a list of 'key: value' lines")
    known = {entry.name for cls in CLASSES for entry in fields(cls)}
    for key in recipe:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{path}: unknown key {key!r}{hint}")
    return recipe
