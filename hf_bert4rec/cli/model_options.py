"""Options of commands that take trained models: data options default to those of the training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ..data.arguments import DataArguments, InteractionArguments
from ..data.table_files import find_files
from ..data.tables import is_hub_name
from ..evaluation.trained_model import find_model, training_data_options
from ..training.arguments import OptionParser

Options = TypeVar("Options")


def parse_model_options(
    argv: Sequence[str],
    options_class: type[Options],
    prog: str,
    description: str | None,
    data_class: type[InteractionArguments] = DataArguments,
    nargs: str | int = "+",
) -> tuple[list[str], list[Path], DataArguments, Options]:
    """Names and folders of `nargs` models, data options and the command's own, which are the fields of `options_class`.

    Data options default to those that the first model was trained with. FileNotFoundError if a model or a table is
    missing; training records name tables without their folder.
    """
    parser = OptionParser((data_class, options_class), prog, description)
    parser.add_argument("models", nargs=nargs, help="folders, or names on the Hub, before all options")
    models = parser.parse_known_args(argv)[0].models
    folders = [find_model(name) for name in models]
    parser.set_defaults(**training_data_options(folders[0]))
    data_options, options, *_ = parser.parse_dataclasses(argv)
    data = DataArguments(**vars(data_options))
    for name in ("ratings", "items"):
        if (table := getattr(data, name)) is not None and not is_hub_name(table):
            try:
                find_files(Path(table))
            except FileNotFoundError as error:
                raise FileNotFoundError(f"no table {table}: say where it is with --{name}") from error
    return models, folders, data, options
