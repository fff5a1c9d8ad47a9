"""A complete Hub folder: weights, config, tokenizer with titles, the code that loads them, and a card."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..files import annotate_write_errors, write_json
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline
from .verify import CARD_FILE, check_folder


def export(model: Any, tokenizer: Any, folder: str | Path, card: str, files: dict[str, Any] | None = None) -> Path:
    """Write a folder that `pipeline("movie-recommendation", model=folder)` loads with this package absent.

    The folder is made beside its final place, loaded in a process in which this package is blocked, compared with
    `model`, and only then renamed into its place. An earlier export there is replaced.

    Args:
        model: moved to the CPU.
        files: what to put beside the model, by name: bytes as they are, anything else as JSON.

    Raises:
        FileExistsError: the folder holds something other than an exported recommender.
        BrokenExportError: what was written does not load, or ranks otherwise than `model`.
    """
    folder = Path(folder)
    check_replaceable(folder)
    with tempfile.TemporaryDirectory(dir=_made(folder.parent), prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / folder.name
        with annotate_write_errors(folder, "What was there before is as it was: make room, then export again"):
            pipe = write_folder(model, tokenizer, made, card, files)
        check_folder(made, pipe)
        if folder.exists():
            folder.replace(Path(temporary) / "earlier")
        made.replace(folder)
    return folder


def write_folder(
    model: Any, tokenizer: Any, folder: Path, card: str, files: dict[str, Any] | None = None
) -> MovieRecommendationPipeline:
    """Write what `export` checks, unchecked, into a new folder; gives the pipeline that was written."""
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device="cpu")
    pipe.save_pretrained(folder)
    for name, content in (files or {}).items():
        _made((folder / name).parent)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            write_json(folder / name, content)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    for weights in folder.glob("model*.safetensors"):
        weights.chmod(0o644)  # safetensors leaves it readable by its owner alone
    return pipe


def check_replaceable(folder: str | Path) -> None:
    """Raise FileExistsError unless `folder` is absent, empty, or an exported recommender."""
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if not folder.exists():
        return
    config = folder / "config.json"
    if config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("model_type") == "bert4rec":
        return
    raise FileExistsError(
        f"{folder} holds something that is not an exported recommender: choose another --output_dir or remove it"
    )


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of an earlier run, and nothing else."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
