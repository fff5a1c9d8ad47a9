"""Trained models that a script is told of: where they lie, and what they were trained with."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import snapshot_download
from transformers import HfArgumentParser

from ..data.prepare import DataArguments
from ..hub.staging import TRAINING_FILE

Options = TypeVar("Options")


def parse_beside_models(
    argv: list[str], options_class: type[Options], description: str | None, nargs: str | int = "+"
) -> tuple[list[str], list[Path], DataArguments, Options]:
    """Names and folders of models, and options; data options default to what the first model was trained with.

    Raises:
        FileNotFoundError: no such model, or a table that the record names without its folder.
    """
    parser = HfArgumentParser(
        (DataArguments, options_class), description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs=nargs, help="folders, or names on the Hub; they come first")
    models = parser.parse_known_args(argv)[0].models
    folders = [find_model(name) for name in models]
    known = {entry.name for entry in fields(DataArguments)} - {"data_dir"}  # that of another machine, perhaps
    recorded = recorded_options(folders[0]) or {}
    parser.set_defaults(**{name: value for name, value in recorded.items() if name in known})
    data, options, _ = parser.parse_args_into_dataclasses(argv)
    for name in ("ratings", "items"):  # a record names them without their folders
        if (table := getattr(data, name)) is not None and not Path(table).is_file():
            raise FileNotFoundError(f"no table {table}: say where it is with --{name}")
    return models, folders, data, options


def find_model(name: str) -> Path:
    """The model's folder; a name that is no folder is downloaded from the Hub, without pickles."""
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (ValueError, OSError) as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a model on the Hub: {error}") from error


def recorded_options(folder: Path) -> dict[str, Any] | None:
    """What the model was trained with, of the record beside it; None without one."""
    path = folder / TRAINING_FILE
    return json.loads(path.read_text(encoding="utf-8"))["options"] if path.is_file() else None
