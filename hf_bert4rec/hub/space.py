"""The demo as a static Space: a page that runs the model in the browser, without a server."""

import html
import json
import shutil
from pathlib import Path

import torch
from huggingface_hub.constants import REPOCARD_NAME

from ..files import TASTE_FILE, data_folder
from ..model.loading_bert4rec import read_object
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from .browser_runtime import FILES, browser_runtime
from .staging import report_full_disk
from .verify import JSON_FILES, has_titles, load_pipeline

SPACE_FOLDER = data_folder("model_card") / "space"
TEMPLATES = ("index.html", REPOCARD_NAME)  # these name the model
RUNTIME_FOLDER, SIMILAR_FILE = "ort", "similar.json"
SIMILAR = 10  # similar movies per movie
CHUNK = 1000  # movies compared with all others at once


def stage_space(model: Path, target: Path, name: str) -> None:
    """Write the demo to the new folder `target`: page, runtime, and an int8 copy of the model.

    Args:
        model: an exported folder. If it lacks files of `hf-bert4rec export-onnx`, they are made for the demo.
        name: of the model, as the page displays it.

    Raises:
        ValueError: the model has no titles, which the demo searches.
        ImportError: the ONNX file has to be made, and a package for it is missing.
        OSError: the runtime cannot be downloaded, or the disk is full.
    """
    if not has_titles(model):
        raise ValueError(f"{model} has no titles, and the demo searches movies by title")
    runtime = browser_runtime()
    with report_full_disk(target, "the demo"):
        target.mkdir(parents=True)
        for page in SPACE_FOLDER.iterdir():  # not copytree: it hides a full disk, and copies a folder's permissions
            shutil.copyfile(page, target / page.name)
        for template in TEMPLATES:
            text = (target / template).read_text(encoding="utf-8").replace("MODEL_NAME", html.escape(name))
            (target / template).write_text(text, encoding="utf-8")
        (target / RUNTIME_FOLDER).mkdir()
        for file in FILES:
            shutil.copyfile(runtime / file, target / RUNTIME_FOLDER / file)
        for file in JSON_FILES:
            shutil.copyfile(model / file, target / file)
        _write_onnx(model, target)
        (target / SIMILAR_FILE).write_text(json.dumps(similar_movies(model), separators=(",", ":")), encoding="utf-8")


def _write_onnx(model: Path, target: Path) -> None:
    has_taste = bool(read_object(model / "config.json").get("taste_size"))
    files = [f"{ONNX_FOLDER}/{name}" for name in (QUANTIZED_FILE, *([TASTE_FILE] if has_taste else []))]
    (target / ONNX_FOLDER).mkdir()
    if all((model / file).is_file() for file in files):
        for file in files:
            shutil.copyfile(model / file, target / file)
        return
    try:
        from .onnx_export import export_onnx
    except ImportError as error:
        raise ImportError(f"the demo needs {error.name}: pip install 'hf-bert4rec[onnx]'") from error
    export_onnx(model, target)
    (target / ONNX_FOLDER / ONNX_FILE).unlink()


def similar_movies(model: Path) -> dict[str, list[list[float]]]:
    """For every movie in catalogue order, the positions of the most similar others and their cosines, best first."""
    pipe = load_pipeline(model, device="cpu")
    positions: list[list[float]] = []
    scores: list[list[float]] = []
    for chunk in torch.arange(pipe.tokenizer.num_items).split(CHUNK):
        cosines, similar = pipe.item_embeddings.most_similar(chunk, SIMILAR)
        positions += similar.tolist()
        scores += [[round(cosine, 4) for cosine in row] for row in cosines.tolist()]
    return {"positions": positions, "scores": scores}
