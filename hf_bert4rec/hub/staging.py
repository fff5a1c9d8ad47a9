"""The folder that a push sends: a model with its card, and only known files."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE, REPOCARD_NAME

from ..evaluation.plots import CURVE_FILE, draw_curve
from ..evaluation.report import REPORT_FILE
from ..files import TASTE_FILE, TRAINING_FILE, annotate_write_errors
from ..model.loading_bert4rec import read_object
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from ..model.tokenization_bert4rec import ITEMS_FILE
from .card import NOTEBOOK, PICTURES, render_card, render_notebook, with_current_model
from .export import copy_code, write_files
from .folder import JSON_FILES, has_own_titles, has_titles, load_pipeline
from .records import read_evaluation, read_training, release_of, without_private_paths, without_titles

logger = logging.getLogger(__name__)

ONNX_FILES = [f"{ONNX_FOLDER}/{name}" for name in (ONNX_FILE, QUANTIZED_FILE, TASTE_FILE)]


def stage_model(
    folder: Path,
    target: Path,
    repo_id: str,
    include_titles: bool = False,
    dataset_id: str | None = None,
    revision: str | None = None,
) -> None:
    """Copy the public files of an exported model to the new folder `target`, with card and notebook for `repo_id`.

    The code is that of this package, also for an export of an earlier version. Titles and genres are published if the
    data set may be redistributed or `include_titles` is set. Without them the evaluation's examples, which quote both,
    are left out too. The card links to the data set `dataset_id` on the Hub, and loads the branch `revision`.

    Errors are those of reading the records; ValueError for a link out of the folder; OSError if the disk is full.
    """
    pipe = load_pipeline(folder, device="cpu")
    training = with_current_model(without_private_paths(read_training(folder)), pipe)
    evaluation, release = read_evaluation(folder), release_of(training)
    titles = has_titles(folder) and (include_titles or (release is not None and release.redistributable))
    own_titles = has_own_titles(pipe.tokenizer)
    if evaluation is not None:
        evaluation = {**evaluation, "model": {**evaluation["model"], "name": repo_id}}
    if not titles:
        training = without_titles(training)
        evaluation = evaluation and {**evaluation, "examples": []}
    onnx = (folder / ONNX_FILES[0]).is_file()
    files: dict[str, Any] = {
        TRAINING_FILE: training,
        CURVE_FILE: draw_curve(training),
        NOTEBOOK: render_notebook(repo_id, training["example"]["history"], revision),
        REPOCARD_NAME: render_card(
            training,
            evaluation,
            repo_id,
            titles=titles and own_titles,
            onnx=onnx,
            dataset_id=dataset_id,
            revision=revision,
        ),
    }
    patterns = [*JSON_FILES, "model*.safetensors", "model.safetensors.index.json", *ONNX_FILES]
    if evaluation is not None:
        files[REPORT_FILE] = evaluation
        patterns += [f"plots/{name}" for name in PICTURES]
    if not titles:  # every model needs the counts, for the popularity fallback
        items = read_object(folder / ITEMS_FILE)
        files[ITEMS_FILE] = json.dumps({name: column for name, column in items.items() if name == "count"})
    if own_titles and not titles:
        logger.info("titles and genres are not published; add --include-titles if you have the right to publish them")
    with annotate_write_errors(target):
        _copy_files(folder, target, patterns)
        copy_code(target)
        write_files(target, files)


def _copy_files(folder: Path, target: Path, patterns: Sequence[str]) -> None:
    sources = folder.resolve(), Path(HF_HUB_CACHE).resolve()  # a downloaded model has links to the files of the cache
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        if not any(path.resolve().is_relative_to(source) for source in sources):
            raise ValueError(f"{path} is a link out of the folder: put the file there, if it is to be published")
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
