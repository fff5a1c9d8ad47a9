"""The folder that a push sends: a model with its card, and only known files."""

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

from huggingface_hub.constants import REPOCARD_NAME

from ..evaluation.plots import CURVE_FILE, draw_curve
from ..evaluation.report import REPORT_FILE
from ..files import TASTE_FILE, TRAINING_FILE, report_full_disk, write_json
from ..model.loading_bert4rec import read_object
from ..model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from ..model.tokenization_bert4rec import ITEMS_FILE
from .card import NOTEBOOK, PICTURES, render_card, render_notebook
from .export import copy_code
from .records import read_evaluation, read_training, release_of, without_private_paths, without_titles
from .verify import has_titles

logger = logging.getLogger(__name__)

COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    f"{ONNX_FOLDER}/{ONNX_FILE}",
    f"{ONNX_FOLDER}/{QUANTIZED_FILE}",
    f"{ONNX_FOLDER}/{TASTE_FILE}",
)


def stage_model(
    folder: Path, target: Path, repo_id: str, include_titles: bool = False, dataset_id: str | None = None
) -> None:
    """Copy the public files of an exported model to the new folder `target`, with card and notebook for `repo_id`.

    The code is that of this package, also for an export of an earlier version. Titles and genres are published if the
    data set may be redistributed or `include_titles` is set. Without them the evaluation's examples, which quote both,
    are left out too. Omitted files are logged. The card links to the data set `dataset_id` on the Hub.

    Raises:
        FileNotFoundError: the folder has no training record.
        ValueError: its records are damaged, or its evaluation is of other weights.
        OSError: the disk is full.
    """
    training, evaluation = without_private_paths(read_training(folder)), read_evaluation(folder)
    release = release_of(training)
    titles = has_titles(folder) and (include_titles or (release is not None and release.redistributable))
    if evaluation is not None:
        evaluation = {**evaluation, "model": {**evaluation["model"], "name": repo_id}}
    if not titles:
        training = without_titles(training)
        evaluation = evaluation and {**evaluation, "examples": []}
    with report_full_disk(target, f"a copy of {folder}"):
        _copy_files(folder, target, with_plots=evaluation is not None)
        if titles:
            shutil.copyfile(folder / ITEMS_FILE, target / ITEMS_FILE)
        else:  # every model needs the counts, for the popularity fallback
            counts = {name: column for name, column in read_object(folder / ITEMS_FILE).items() if name == "count"}
            (target / ITEMS_FILE).write_text(json.dumps(counts), encoding="utf-8")
        write_json(target / TRAINING_FILE, training)
        if evaluation is not None:
            write_json(target / REPORT_FILE, evaluation)
        (target / CURVE_FILE).write_bytes(draw_curve(training))
        onnx = (target / ONNX_FOLDER / ONNX_FILE).is_file()
        card = render_card(training, evaluation, repo_id, titles=titles, onnx=onnx, dataset_id=dataset_id)
        (target / REPOCARD_NAME).write_text(card, encoding="utf-8")
        (target / NOTEBOOK).write_text(render_notebook(repo_id, training["example"]["history"]), encoding="utf-8")
    if left_out := _left_out(folder, target):
        logger.info("not published: %s", ", ".join(left_out))
    if not titles:
        logger.info("titles and genres are not published; add --include-titles if you have the right to publish them")


def _copy_files(folder: Path, target: Path, with_plots: bool) -> None:
    """Copy model, tokenizer, ONNX files and plots of `folder`, and this package's code, to `target`."""
    patterns = [*COPIED, *(f"plots/{name}" for name in PICTURES if with_plots)]
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":  # may be large
            with contextlib.suppress(OSError):  # another file system
                os.link(path.resolve(), copy)
                continue
        shutil.copyfile(path, copy)
    copy_code(target)
    (target / CURVE_FILE).parent.mkdir(exist_ok=True)


def _left_out(folder: Path, target: Path) -> list[str]:
    """Files that are not in `target`, except code of an earlier version, which the current code replaces."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return sorted(
        str(path) for path in files if not (target / path).exists() and not path.name.endswith("_bert4rec.py")
    )
