"""Options of commands that take trained models: data options default to those of the training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import snapshot_download
from transformers import HfArgumentParser

from ..data.prepare import DataArguments
from ..files import TRAINING_FILE

Options = TypeVar("Options")


def parse_model_options(
    argv: list[str],
    options_class: type[Options],
    description: str | None,
    nargs: str | int = "+",
    tables: Sequence[str] = ("ratings", "items"),
) -> tuple[list[str], list[Path], DataArguments, Options]:
    """Names and folders of models, and options; data options default to those that the first model was trained with.

    Args:
        argv: the command line.
        options_class: a dataclass of the command's own options.
        description: what `--help` says.
        nargs: how many models the command takes.
        tables: the options that name a table which the command reads.

    Raises:
        FileNotFoundError: no such model, or a table is missing; the training record has its name without its folder.
    """
    parser = HfArgumentParser(
        (DataArguments, options_class), description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs=nargs, help="folders, or names on the Hub, before all options")
    models = parser.parse_known_args(argv)[0].models
    folders = [find_model(name) for name in models]
    names = {entry.name for entry in fields(DataArguments)} - {"data_dir"}  # which may be another machine's
    recorded = training_options(folders[0]) or {}
    parser.set_defaults(**{name: value for name, value in recorded.items() if name in names})
    data, options, _ = parser.parse_args_into_dataclasses(argv)
    for name in tables:
        if (table := getattr(data, name)) is not None and not Path(table).is_file():
            raise FileNotFoundError(f"no table {table}: say where it is with --{name}")
    return models, folders, data, options


def find_model(name: str) -> Path:
    """The model's folder; a name that is not a folder is downloaded from the Hub, without pickles."""
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (ValueError, OSError) as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a model on the Hub: {error}") from error


def training_options(folder: Path) -> dict[str, Any] | None:
    """The options that a model was trained with, from its training record; None without a record."""
    path = folder / TRAINING_FILE
    return json.loads(path.read_text(encoding="utf-8"))["options"] if path.is_file() else None
