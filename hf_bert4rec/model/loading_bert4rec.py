"""Read a model folder from an unknown source safely: JSON files, names of weight files, and the weights themselves."""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from traceback import walk_tb
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import cached_file

from .versions_bert4rec import INSTALLED_VERSIONS

FIX_HINT = "fetch or export the model again"
PARSE_ERRORS = (
    *(AttributeError, LookupError, RecursionError, TypeError, UnicodeDecodeError, json.JSONDecodeError),
    StrictDataclassError,
)
INDEX_FILE = "model.safetensors.index.json"  # of weights in several files
TOKEN_SEPARATOR = '": '  # between a token and its id in tokenizer.json
HUB_LOCATION = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "proxies")
is_shard_name = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.safetensors").fullmatch

LOADING_LOCK = RLock()  # transformers replaces methods of its classes while it loads a model, for all threads

# Names of weights in folders saved by earlier versions, and their present names.
RENAMED_WEIGHTS = {
    "memory.followers": "memory.next_items",
    "memory.strengths": "memory.weights",
    "memory.eras": "memory.time_bins",
    "times.span": "time_embeddings.span",
    "times.dates": "time_embeddings.dates",
    "times.gap_before": "time_embeddings.gap_before",
    "times.gap_until": "time_embeddings.gap_until",
}


class SafetensorsModel(PreTrainedModel):
    """A model that is loaded from safetensors files only, as a pickled file can run code."""

    missing_weights: tuple[str, ...] = ()  # that the file lacked, newly initialised

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """`PreTrainedModel.from_pretrained` for folders that are not trusted.

        ValueError: `use_safetensors=False`, an index of other files, or corrupt JSON. OSError: no or bad safetensors.
        """
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("use_safetensors=False: weights are read from safetensors files only, never pickled ones")
        check_weight_files(pretrained_model_name_or_path, **kwargs)
        output_loading_info = kwargs.pop("output_loading_info", False)
        kwargs["key_mapping"] = RENAMED_WEIGHTS | (kwargs.get("key_mapping") or {})
        try:
            with LOADING_LOCK, report_corrupt_files(pretrained_model_name_or_path, "config.json", INDEX_FILE):
                model, loading_info = super().from_pretrained(
                    pretrained_model_name_or_path, *args, use_safetensors=True, output_loading_info=True, **kwargs
                )
        except SafetensorError as error:
            raise OSError(
                f"the safetensors weights of {pretrained_model_name_or_path} are damaged ({error}): download them with "
                "force_download=True, or export the model again"
            ) from error
        if INSTALLED_VERSIONS["transformers"] == (5, 3):
            model.tie_weights()  # 5.3 leaves the tied weights of remote code untied, with random values
        # With these conversions, saving would restore the earlier names.
        conversions = getattr(model, "_weight_conversions", None) or []
        model._weight_conversions = [each for each in conversions if each.source_patterns[0] not in RENAMED_WEIGHTS]
        model.missing_weights = tuple(sorted(loading_info["missing_keys"]))
        return (model, loading_info) if output_loading_info else model

    def load_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: with peft installed, `from_pretrained` calls this if the folder has an adapter, pickled or not."""
        raise ValueError(
            "an adapter is not read with the model: load it by peft's PeftModel.from_pretrained(model, adapter), or "
            "merge it and save the model"
        )


def make_importable(module_name: str) -> None:
    """Set a module as an attribute of its package, as transformers does not: dill pickles its classes by reference."""
    package, _, name = module_name.rpartition(".")
    setattr(sys.modules[package], name, sys.modules[module_name])


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Collect no garbage in the block: while a large file is parsed, that takes longer than parsing it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def read_object(path: str | Path, fix: str = FIX_HINT) -> dict[str, Any]:
    """Return the JSON object in a file; a ValueError for other content names the file and says `fix`."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {fix}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object: {fix}")
    return content


def read_tokens(path: str | Path) -> list[str]:
    """Return the tokens of a `tokenizer.json` in the order of their ids, or [] unless it has the usual form.

    `id_to_token` takes three times as long. Without escapes, and with one separator per token, no token contains one.
    """
    vocab = Path(path).read_text(encoding="utf-8").partition('"vocab": {')[2].partition("}")[0]
    try:
        entries = json.loads("[" + vocab.replace(TOKEN_SEPARATOR, '", ') + "]")
    except ValueError:  # a token with a brace
        return []
    tokens, ids = entries[::2], entries[1::2]
    is_usual = "\\" not in vocab and vocab.count(TOKEN_SEPARATOR) == len(ids) and ids == list(range(len(ids)))
    return tokens if is_usual else []


@contextmanager
def report_corrupt_files(
    folder: str | Path | None, *names: str, exact_types: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn a parse error of the block, which reads these files of `folder`, into a ValueError that names them.

    These are `PARSE_ERRORS` and `exact_types`, unless this package raised them.
    """
    try:
        yield
    except Exception as error:
        for name in names:
            if folder is not None and (path := Path(folder) / name).is_file():  # None: weights from a state_dict
                read_object(path)
        is_parse_error = isinstance(error, PARSE_ERRORS) or type(error) in exact_types
        is_by_caller = "unexpected keyword argument" in str(error)
        if not is_parse_error or is_by_caller or _raised_by_this_package(error):
            raise
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{folder}: {' or '.join(names)} seems to be damaged ({cause}): {FIX_HINT}") from error


def _raised_by_this_package(error: Exception) -> bool:
    """Whether the innermost frame of the traceback is in a sibling of this file."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).parent == Path(__file__).parent


def check_weight_files(folder: Any, variant: str | None = None, **kwargs: Any) -> None:
    """Raise ValueError for weights in a pickled file or outside the model's own folder.

    transformers reads whatever file the index of a sharded model names, by torch.load where it is not safetensors.
    `folder` is a folder, a file of weights or a Hub name, and `kwargs` are those of `from_pretrained`.
    """
    if folder is None:
        return
    if Path(folder).is_file():
        shards, source = {Path(folder).name}, "the name of the file"
    else:
        name = f"model.safetensors.index.{variant}.json" if variant else INDEX_FILE
        index = cached_file(
            folder,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **{key: kwargs[key] for key in HUB_LOCATION if kwargs.get(key) is not None},
        )
        if index is None:
            return
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ValueError(f"{index} has no weight_map from weights to files: {FIX_HINT}")
        shards, source = set(map(str, weight_map.values())), f"{name} of {folder}"
    for shard in shards:
        if not is_shard_name(shard):
            raise ValueError(
                f"{source} names {shard!r:.80} for weights; only safetensors files in the model's own folder are "
                f"read: {FIX_HINT}"
            )


def check_weights(model: Any) -> None:
    """Raise ValueError if weights were missing from the model's file, or are NaN or infinite.

    Quantized and offloaded weights are not read: they have no plain values in memory.
    """
    hint = f"the file is damaged: {FIX_HINT}"
    if missing := getattr(model, "missing_weights", ()):
        raise ValueError(f"the weights lack {', '.join(missing[:3])} and {max(0, len(missing) - 3)} others; {hint}")
    vocab_size = model.config.vocab_size
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if type(weight) not in (torch.Tensor, torch.nn.Parameter) or weight.is_meta:
            continue
        # A sum takes a tenth of the time; that of finite values can be infinite.
        if not weight.sum().isfinite() and not weight.isfinite().all():
            if name == "memory.weights" and weight.dtype == torch.float16:
                hint = "counts exceed float16: load the model by dtype=torch.float16, which leaves them in float32"
            raise ValueError(f"the weight {name} holds NaN or infinite values; {hint}")
        if name in ("memory.next_items", "taste.neighbours") and not 0 <= weight.min() <= weight.max() < vocab_size:
            raise ValueError(f"{name} names items beyond the vocabulary of {vocab_size}; {hint}")


def check_same_folder(model: Any, tokenizer: Any) -> None:
    """Raise TypeError or ValueError unless a model and a tokenizer are of one BERT4Rec folder."""
    for part, attribute in ((model, "next_item_states"), (tokenizer, "item_tokens")):
        if not hasattr(part, attribute):
            raise TypeError(
                f"a {type(part).__name__} recommends no movies: load model and tokenizer of a BERT4Rec folder, "
                'whose config.json has the model_type "bert4rec"'
            )
    fix = "load both from one folder, and grow both by add_items, not by resize_token_embeddings"
    if len(tokenizer) != model.config.vocab_size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} entries and the model {model.config.vocab_size}: {fix}")
    if len(tokenizer.event_names) != model.config.num_events:
        raise ValueError(
            f"the tokenizer has the event types {tokenizer.event_names!r:.80} and the model "
            f"{model.config.num_events}: load both from one folder"
        )
    if model.config.vocabulary_sha256 not in (None, tokenizer.vocabulary_sha256):
        raise ValueError(
            f"the model was made for other items than the tokenizer's, which are {tokenizer.item_ids[:3]}, …: {fix}"
        )
