"""Export a complete Hub folder: weights, config, tokenizer with titles, the code that loads them, and a card."""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.constants import REPOCARD_NAME

from ..files import annotate_write_errors, write_json
from ..model.loading_bert4rec import read_object
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline
from .folder import CODE_FOLDER, REQUIREMENTS, code_files
from .verify import check_folder


def export(model: Any, tokenizer: Any, folder: str | Path, card: str, files: dict[str, Any] | None = None) -> Path:
    """Write a folder that `pipeline("movie-recommendation", model=folder)` loads without this package installed.

    The export is written to a temporary folder, loaded in a process in which this package cannot be imported, compared
    with `model`, which is moved to the CPU, and then renamed to `folder`. An earlier export there is replaced. `card`
    is the content of README.md; `files` are further ones for `write_files`.

    Raises:
        FileExistsError: the folder holds something other than an exported recommender.
        BrokenExportError: the export does not load, or ranks differently from `model`.
    """
    folder = Path(folder)
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Windows does not remove weights that a loaded model still maps to memory, such as those of an earlier export.
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True
    ) as directory:
        new = Path(directory) / folder.name
        with annotate_write_errors(folder, "An earlier export is unchanged: free some space, then export again"):
            pipe = write_folder(model, tokenizer, new, card, files)
        check_folder(new, pipe)
        if folder.exists():
            folder.replace(Path(directory) / "earlier")
        new.replace(folder)
    return folder


def write_folder(
    model: Any, tokenizer: Any, folder: Path, card: str, files: dict[str, Any] | None = None
) -> MovieRecommendationPipeline:
    """Write the files of an export to a new folder, unchecked, and return the saved pipeline."""
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, device="cpu")
    pipe.save_pretrained(folder)
    copy_code(folder)
    write_files(folder, {**(files or {}), REPOCARD_NAME: card})
    for weights in folder.glob("model*.safetensors"):
        weights.chmod(0o644)  # safetensors makes it readable by its owner only
    return pipe


def write_files(folder: Path, files: Mapping[str, Any]) -> None:
    """Write files by name: bytes, text, or values to write as JSON."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif isinstance(content, str):
            (folder / name).write_text(content, encoding="utf-8")
        else:
            write_json(folder / name, content)


def copy_code(folder: Path) -> None:
    """Copy the code of a model to its folder, with handler and requirements for Inference Endpoints."""
    for name in code_files():
        shutil.copyfile(CODE_FOLDER / name, folder / name)
    shutil.copyfile(REQUIREMENTS, folder / REQUIREMENTS.name)


def check_replaceable(folder: str | Path) -> None:
    """Raise FileExistsError unless `folder` is absent, empty (it is then removed), or an exported recommender."""
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    with contextlib.suppress(OSError, ValueError):
        if read_object(folder / "config.json").get("model_type") == "bert4rec":
            return
    if folder.exists():
        raise FileExistsError(
            f"{folder} holds something that is not an exported recommender: choose another --output_dir or remove it"
        )
