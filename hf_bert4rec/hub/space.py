"""The demo as a static Space: a page that runs the model in the browser, without a server."""

import hashlib
import html
import io
import json
import logging
import os
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import torch
from huggingface_hub.constants import REPOCARD_NAME

from ..data.movielens import cache_folder
from ..files import TASTE_FILE, annotate_write_errors, data_folder
from ..model.loading_bert4rec import read_object
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from .folder import JSON_FILES, has_titles, load_pipeline

logger = logging.getLogger(__name__)

RUNTIME_VERSION = "1.30.0"  # of onnxruntime-web
RUNTIME_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
# The smallest set of files that runs a model on the CPU: JavaScript, and WebAssembly with SIMD.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60.0  # seconds, to connect and between two parts of the answer
SPACE_FOLDER = data_folder("model_card") / "space"
TEMPLATES = ("index.html", REPOCARD_NAME)  # these name the model
RUNTIME_FOLDER, SIMILAR_FILE = "ort", "similar.json"
SIMILAR = 10  # similar movies per movie
CHUNK = 1000  # movies compared with all others at once


def stage_space(model: Path, target: Path, model_name: str) -> None:
    """Write the demo to the new folder `target`: page, runtime, and an int8 copy of an exported model.

    If `model` lacks files of `hf-bert4rec export-onnx`, they are made for the demo; ImportError if a package for it is
    missing. ValueError: the model has no titles. OSError: the runtime cannot be downloaded, or the disk is full.
    """
    if not has_titles(model):
        raise ValueError(f"{model} has no titles, and the demo searches movies by title")
    runtime, similar = browser_runtime(), similar_movies(model)
    with annotate_write_errors(target):
        (target / RUNTIME_FOLDER).mkdir(parents=True)
        # Not copytree: it hides a full disk, and copies a folder's permissions.
        for source in (*SPACE_FOLDER.iterdir(), *(model / name for name in JSON_FILES)):
            shutil.copyfile(source, target / source.name)
        for name in RUNTIME_FILES:
            shutil.copyfile(runtime / name, target / RUNTIME_FOLDER / name)
        for template in TEMPLATES:
            text = (target / template).read_text(encoding="utf-8").replace("MODEL_NAME", html.escape(model_name))
            (target / template).write_text(text, encoding="utf-8")
        _write_onnx(model, target)
        (target / SIMILAR_FILE).write_text(json.dumps(similar, separators=(",", ":")), encoding="utf-8")


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
        raise ImportError(f'the demo needs {error.name}: pip install "hf-bert4rec[onnx]"') from error
    export_onnx(model, target)
    (target / ONNX_FOLDER / ONNX_FILE).unlink()


def similar_movies(model: Path) -> dict[str, list[list[float]]]:
    """For every movie in catalogue order, the positions and similarities of the most similar others, best first."""
    pipe = load_pipeline(model, device="cpu")
    chunks = torch.arange(pipe.tokenizer.num_items).split(CHUNK)
    scores, positions = zip(*(pipe.item_embeddings.most_similar(chunk, SIMILAR) for chunk in chunks), strict=True)
    rounded = torch.cat(scores).double().round(decimals=4)
    return {"positions": torch.cat(positions).tolist(), "scores": rounded.tolist()}


def browser_runtime() -> Path:
    """Return the folder with `RUNTIME_FILES` in the cache, after downloading the package (33 MB) the first time.

    The package comes from the npm registry, or from the one that NPM_CONFIG_REGISTRY names. OSError if it cannot be
    reached, ValueError if the package has another hash.
    """
    folder = cache_folder() / f"onnxruntime-web-{RUNTIME_VERSION}"
    if folder.is_dir():
        return folder
    package = _download_runtime()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        annotate_write_errors(folder, "Free some space, then try again"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch,
        tarfile.open(fileobj=io.BytesIO(package)) as archive,
    ):
        for name in RUNTIME_FILES:
            archive.extract(f"package/dist/{name}", scratch)  # the hash of the package was checked
        Path(scratch, "package", "dist").rename(folder)
    return folder


def _download_runtime() -> bytes:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{RUNTIME_VERSION}.tgz"
    logger.info("downloading onnxruntime-web %s for the demo, once", RUNTIME_VERSION)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            package: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise OSError(
            f"{url} cannot be downloaded ({error}); the demo needs it: check the network, or name another npm registry "
            "in NPM_CONFIG_REGISTRY"
        ) from error
    if (digest := hashlib.sha256(package).hexdigest()) != RUNTIME_SHA256:
        raise ValueError(f"{url} has sha256 {digest}, expected {RUNTIME_SHA256}: damaged or replaced, not used")
    return package
