"""A trained model: its folder, the hash of its weights, and what it was trained with."""

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download

from ..data.arguments import DataArguments
from ..files import TRAINING_FILE
from ..model.loading_bert4rec import check_same_folder, check_weights, read_object
from ..model.modeling_bert4rec import Bert4RecForMaskedLM
from ..model.tokenization_bert4rec import Bert4RecTokenizer


def find_model(name: str | Path) -> Path:
    """The model's folder, or its download from the Hub, without pickles; FileNotFoundError if there is neither."""
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors"]))
    except (ValueError, OSError) as error:
        raise FileNotFoundError(f"{name} is neither a folder nor a model on the Hub: {error}") from error


def load_network(folder: Path, **options: Any) -> tuple[Bert4RecForMaskedLM, Bert4RecTokenizer]:
    """Model, in float32, and tokenizer of a folder; ValueError if they are damaged or not of one export.

    `options` are those of `from_pretrained`.
    """
    model = Bert4RecForMaskedLM.from_pretrained(folder, dtype=torch.float32, **options)
    tokenizer = Bert4RecTokenizer.from_pretrained(folder)
    check_same_folder(model, tokenizer)
    check_weights(model)
    return model, tokenizer


def training_record(folder: Path) -> dict[str, Any]:
    """The content of `training.json`; without one, a record without options."""
    path = folder / TRAINING_FILE
    return read_object(path) if path.is_file() else {"options": {}}


def training_data_options(folder: Path) -> dict[str, Any]:
    """The recorded options that select the data. Tables are recorded by name, without their folder."""
    names = {entry.name for entry in fields(DataArguments)} - {"data_dir"}  # which may be another machine's
    return {name: value for name, value in training_record(folder)["options"].items() if name in names}


def weights_sha256(folder: str | Path) -> str:
    """sha256 of a model folder's weights: of the one file, or of its shards concatenated in the order of names.

    FileNotFoundError without safetensors weights.
    """
    shards = sorted(Path(folder).glob("model*.safetensors"))
    if not shards:
        raise FileNotFoundError(f"no model.safetensors in {folder}: is it an exported model?")
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
