"""The options of a training run, from a recipe and the command line.

A recipe is a YAML file that describes one experiment. Its keys are the fields of the dataclasses below, of
`DataArguments` and of `Bert4RecTrainingArguments`. The command line overrides it:
`hf-bert4rec train ml-100k --learning_rate 5e-4`.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import yaml
from transformers import HfArgumentParser

from ..data.arguments import DataArguments, option
from ..files import data_folder
from ..model.configuration_bert4rec import Bert4RecConfig
from .trainer import Bert4RecTrainingArguments

RECIPES = data_folder("recipes")
# What `training/auto.py` chooses.
AUTO_OPTIONS = set(yaml.safe_load((RECIPES / "auto.yaml").read_text(encoding="utf-8"))["auto"])


@dataclass
class ModelArguments:
    """Sizes and options of the model, as `Bert4RecConfig` documents them."""

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
    previous_item: bool = Bert4RecConfig.previous_item
    memory_size: int = Bert4RecConfig.memory_size
    memory_weight: float | None = option(
        "factor of the memory's log-probabilities; by default (none) it is chosen on the validation part after training"
    )
    taste_size: int = Bert4RecConfig.taste_size
    taste_weight: float | None = option(
        "factor of the model of taste's scores in those of the next item; by default (none) chosen as memory_weight is"
    )
    time_aware: bool = Bert4RecConfig.time_aware


@dataclass
class MaskingArguments:
    """Training rows (`TrainingWindows`), their masks (`DataCollatorForMaskedItems`), start and end of training."""

    mlm_probability: float = option("share of a row's items that are masked", 0.2)
    mask_replace_prob: float = option("share of masked items that become [MASK]", 1.0)
    random_replace_prob: float = option("share of masked items that become a random item", 0.0)
    last_item_prob: float = option("share of rows in which only the last item is masked", 0.0)
    causal_prob: float = option("share of batches in which every item is predicted from earlier ones", 0.0)
    window_stride: int | None = option("items between window starts; by default windows do not overlap")
    cooccurrence_init: float | None = option(
        "standard deviation of item embeddings initialised from co-occurrence; by default they are random"
    )
    sampled_negatives: int | None = option(
        "items sampled for a batch's softmax, for catalogues of more than 100,000 items"
    )
    refresh_memory: bool = option(
        "export the memory filled with all interactions; evaluations fill it with those before their targets", True
    )
    popularity_penalty: float = option(
        "factor of log(share of the interactions), which is subtracted from every item's bias after training", 0.0
    )
    early_stopping_patience: int | None = option(
        "evaluations without a better metric_for_best_model, after which training stops; none or 0 never stops early"
    )
    auto: list[str] = field(
        default_factory=list,
        metadata={"help": "names of options that are chosen from the data, unless the command line gives them"},
    )

    def __post_init__(self) -> None:
        if unknown := set(self.auto) - AUTO_OPTIONS:
            raise ValueError(f"auto lists {', '.join(sorted(unknown))}; it can have {', '.join(sorted(AUTO_OPTIONS))}")
        if self.popularity_penalty < 0:
            raise ValueError(f"popularity_penalty is {self.popularity_penalty}; it must be 0 or more, as in a request")
        if (self.early_stopping_patience or 0) < 0:
            patience = self.early_stopping_patience
            raise ValueError(f"early_stopping_patience is {patience}; it is a number of evaluations, or none")


Arguments = tuple[DataArguments, ModelArguments, MaskingArguments, Bert4RecTrainingArguments]
CLASSES = (DataArguments, ModelArguments, MaskingArguments, Bert4RecTrainingArguments)


class OptionParser(HfArgumentParser):
    """`HfArgumentParser` that raises ValueError for bad options, and reads `none` for an optional value."""

    def __init__(self, classes: Sequence[type], prog: str | None = None, description: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(classes, prog=prog, description=description, formatter_class=formatter, allow_abbrev=False)
        hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
        for action in self._actions:
            if action.type in (int, float, str) and hints.get(action.dest) == action.type | None:
                action.type = _none_or(action.type)

        self._optional_lists = [name for name, hint in hints.items() if hint == list[str] | None]

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        namespace, unknown = super().parse_known_args(*args, **kwargs)
        for name in self._optional_lists:
            if [word.lower() for word in getattr(namespace, name) or []] == ["none"]:
                setattr(namespace, name, None)
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists all options")

    def parse_dataclasses(self, words: Sequence[str]) -> list[Any]:
        """An instance of each dataclass, then the namespace of all other arguments; ValueError for bad options."""
        try:
            *parsed, unknown = self.parse_args_into_dataclasses(
                list(words), return_remaining_strings=True, look_for_args_file=False
            )
        except ValueError as error:
            raise ValueError(str(error)) from error  # of transformers' arguments too: the command line reports it
        self.refuse_unknown(unknown)
        return parsed

    def refuse_unknown(self, unknown: Sequence[str]) -> None:
        """Raise ValueError for unknown options, with the nearest known one."""
        if unknown:
            name = unknown[0].split("=")[0]
            near = difflib.get_close_matches(name, self._option_string_actions, n=1)
            self.error(f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _none_or(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return None if text.lower() == "none" else convert(text)

    read.__name__ = convert.__name__  # which argparse's errors name
    return read


def parse(argv: Sequence[str] | None = None, description: str | None = __doc__) -> Arguments:
    """Read `RECIPE [--key value ...]`. The command line overrides the recipe, the recipe the defaults.

    FileNotFoundError lists the installed recipes. ValueError: an unknown key, a bad value, or `push_to_hub`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = OptionParser(CLASSES, "hf-bert4rec train", description)
    parser.add_argument("recipe", help="the name of an installed recipe, or a YAML file")
    recipe = find_recipe(parser.parse_known_args(argv)[0].recipe)
    try:
        defaults, unknown = parser.parse_known_args([str(recipe), *to_argv(read_recipe(recipe))])
        parser.refuse_unknown(unknown)
    except ValueError as error:
        raise ValueError(f"{recipe}: {error}") from error
    parser.set_defaults(**vars(defaults))
    overrides = [word.split("=")[0].removeprefix("--").replace("-", "_") for word in argv if word.startswith("--")]
    return _checked(parser.parse_dataclasses(argv), overrides)


def parse_options(recipe: str | Path | Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Arguments, list[str]]:
    """The options of `fit`, which override the recipe (a name, a file, or the entries of one); also as a command line.

    None unsets an option, or means that a table has no such column. Errors are those of `parse`.
    """
    options = {name: "" if value is None and name.endswith("_column") else value for name, value in options.items()}
    if not isinstance(recipe, Mapping):
        argv = [str(recipe), *to_argv(options)]
        return parse(argv), argv
    words = to_argv({**recipe, **options})
    return _checked(OptionParser(CLASSES).parse_dataclasses(words), options), ["recipe.yaml", *words]


def _checked(parsed: Sequence[Any], overrides: Iterable[str]) -> Arguments:
    """The options of a run, without `auto` for those that override the recipe."""
    data, model, masking, training, *_ = parsed
    masking.auto = [name for name in masking.auto if name not in {*overrides}]
    if training.push_to_hub:
        raise ValueError(
            "push_to_hub would publish training_args.bin, a pickle, without the pipeline and the card: train first, "
            "then run `hf-bert4rec push`"
        )
    if masking.early_stopping_patience and training.eval_strategy == "no":
        raise ValueError(
            "early_stopping_patience needs evaluations: set eval_strategy to epoch or steps, or "
            "early_stopping_patience to none"
        )
    return data, model, masking, training


def find_recipe(name: str) -> Path:
    """Path of a recipe: a file, or an installed one by name; FileNotFoundError lists the installed ones."""
    if Path(name).is_file():
        return Path(name)
    installed = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in installed:
        raise FileNotFoundError(f"no recipe {name!r}: give a YAML file, or one of {', '.join(installed)}")
    return installed[name]


def read_recipe(path: Path) -> dict[str, Any]:
    """The keys and values of a recipe; ValueError if it is not YAML or has another form."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: a recipe is a list of 'key: value' lines")
    return recipe


def to_argv(entries: Mapping[str, Any]) -> list[str]:
    """The entries of a recipe as arguments of the command line, so that the same checks apply."""
    words = []
    for key, value in entries.items():
        if isinstance(value, list | tuple):
            words += [f"--{key}", *map(str, value)]
        else:
            text = json.dumps(value) if isinstance(value, dict) else "none" if value is None else value
            words.append(f"--{key}={text}")
    return words
