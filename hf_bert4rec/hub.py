"""A complete Hub folder: weights, config, tokenizer with titles, the code that loads them, and a card."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .files import write_json
from .pipeline_bert4rec import TASK, MovieRecommendationPipeline

CARD_FILE = "README.md"


def export(model: Any, tokenizer: Any, folder: str | Path, card: str, records: dict[str, Any] | None = None) -> Path:
    """Write a folder that `pipeline("movie-recommendation", model=folder)` loads with this package absent.

    The folder is made beside its final place and renamed into it when it is complete. An earlier export there is
    replaced. `records` are JSON files to put beside the model.

    Raises:
        FileExistsError: the folder holds something other than an exported recommender.
    """
    folder = Path(folder)
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "made"
        pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device="cpu")
        pipe.save_pretrained(made)
        for name, record in (records or {}).items():
            write_json(made / name, record)
        (made / CARD_FILE).write_text(card, encoding="utf-8")
        (made / "model.safetensors").chmod(0o644)  # safetensors leaves it readable by its owner alone
        if folder.exists():
            folder.replace(Path(temporary) / "earlier")
        made.replace(folder)
    return folder


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
