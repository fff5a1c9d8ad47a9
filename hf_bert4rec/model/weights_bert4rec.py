"""Which files a model's weights may be read from: safetensors in its own folder, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from .json_bert4rec import FIX_HINT, read_object

INDEX_FILE = "model.safetensors.index.json"  # of weights in several files
PLACE = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "proxies")
is_shard = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.safetensors").fullmatch


def check_weight_files(folder: Any, variant: str | None = None, **kwargs: Any) -> None:
    """Raise ValueError where transformers would read weights from a pickled file or from another folder.

    It reads whatever file the index of a sharded model names, by torch.load where the name is not that of safetensors.

    Args:
        folder: a folder, a file of weights, or a Hub name, whose index is then fetched.
        kwargs: those of `from_pretrained`, which say where on the Hub.
    """
    if folder is None:
        return
    if Path(folder).is_file():
        shards, source = {Path(folder).name}, "the name of the file"
    else:
        name = f"model.safetensors.index.{variant}.json" if variant else INDEX_FILE
        place = {key: kwargs[key] for key in PLACE if kwargs.get(key) is not None}
        found = cached_file(
            folder,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **place,
        )
        shards, source = _shards(found) if found else set(), f"{name} of {folder}"
    for shard in shards:
        if not is_shard(shard):
            raise ValueError(
                f"{source} names {shard!r:.80} for weights, which are read from safetensors files in the model's own "
                f"folder alone: {FIX_HINT}"
            )


def _shards(index: str) -> set[str]:
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ValueError(f"{index} has no weight_map from weights to files: {FIX_HINT}")
    return set(map(str, shards.values()))


__all__ = ["INDEX_FILE", "check_weight_files"]
