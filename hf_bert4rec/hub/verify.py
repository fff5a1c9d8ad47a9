"""Check that a folder is a complete recommender which loads, and ranks the same, without this package installed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ..files import TASTE_FILE
from ..model.onnx_bert4rec import EXPORT_HINT, ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from ..model.pipeline_bert4rec import MovieRecommendationPipeline
from ..model.requests_bert4rec import GOALS
from .folder import check_files, load_pipeline

TOLERANCE = 1e-5
MAX_STDERR_CHARS = 1500

ISOLATED_LOADER = """
import json, sys, warnings
for name in ("hf_bert4rec", "training", "model_card"):
    sys.modules[name] = None  # importing it raises ImportError from here on
warnings.simplefilter("ignore")
from transformers import AutoModel, AutoModelForMaskedLM, pipeline, utils
utils.logging.disable_progress_bar()
utils.logging.set_verbosity_error()
folder, request = sys.argv[1], json.load(sys.stdin)
AutoModel.from_pretrained(folder, trust_remote_code=True)
_, info = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
pipe = pipeline("movie-recommendation", model=folder, trust_remote_code=True)
result = {"answers": [pipe(history, top_k=request["top_k"]) for history in request["histories"]]}
result["problems"] = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
sys.stdout.write("\\n" + json.dumps(result))
"""


class BrokenExportError(RuntimeError):
    """A folder that does not load, or ranks differently, in a process without this package."""


def check_folder(folder: str | Path, pipe: MovieRecommendationPipeline) -> None:
    """Check that `folder` is complete, holds no pickle, and ranks as `pipe` does where this package is not installed.

    A new process loads it through the Auto classes and `pipeline`. ONNX files must give the scores of the weights.

    FileNotFoundError: a file is missing. ValueError: a pickled file is present, or a file of `onnx/` does not fit the
    weights. ImportError: there is one, and onnxruntime is not installed. BrokenExportError: the folder does not load,
    its weights do not match its config, or it ranks differently.
    """
    folder = Path(folder)
    check_files(folder)
    histories: list[Any] = probe_histories(pipe.tokenizer)
    if pipe.model.taste is not None:
        histories = [{"history": history, "goal": goal} for history in histories for goal in GOALS]
    top_k = min(10, pipe.tokenizer.num_items)
    result = answer_in_isolation(folder, {"histories": histories, "top_k": top_k})
    for kind, names in result["problems"].items():
        problem = f"{kind.replace('_', ' ')}: {', '.join(names[:3])}"
        raise BrokenExportError(f"{folder}: the weights do not match config.json ({problem}): export the model again")
    for history, answer in zip(histories, result["answers"], strict=True):
        check_same_answer(folder, history, answer, pipe(history, top_k=top_k))
    check_onnx(folder, pipe)


def check_onnx(folder: Path, pipe: MovieRecommendationPipeline) -> None:
    """Check that the files of `onnx/`, if any, give the scores of the pipeline's weights; errors as `check_folder`."""
    for name in (ONNX_FILE, QUANTIZED_FILE):
        if (folder / ONNX_FOLDER / name).is_file():  # loading compares its scores with those of the weights
            load_pipeline(folder, backend="onnx", onnx_file=name, device="cpu")
    check_taste_file(folder / ONNX_FOLDER / TASTE_FILE, pipe)


def check_taste_file(path: Path, pipe: MovieRecommendationPipeline) -> None:
    """Raise ValueError if the file exists and does not hold the pipeline's model of taste."""
    if not path.is_file():
        return
    taste, first, tables = pipe.model.taste, pipe.tokenizer.first_item_id, load_file(path)
    expected = {} if taste is None else {"precisions": taste.precisions, "shares": taste.shares}
    if taste is not None and taste.log_popularity is not None:
        expected["penalties"] = taste.config.taste_popularity_penalty * taste.log_popularity
    if taste is None or not all(
        name in tables and torch.equal(tables[name], table[first:].float().cpu()) for name, table in expected.items()
    ):
        raise ValueError(f"{path} is of another model of taste: {EXPORT_HINT}")


def probe_histories(tokenizer: Any) -> list[list[Any]]:
    """Histories of item ids to compare answers for: short, long and, if popularity is known, empty."""
    ids = tokenizer.item_ids
    histories = [ids[:1], ids[-3:], ids[:: max(1, len(ids) // 8)]]
    return [*histories, []] if "count" in tokenizer.items else histories


def check_same_answer(folder: Path, history: Sequence[Any], answer: list[Any], expected: list[Any]) -> None:
    """Raise BrokenExportError unless two answers have the same movies, with scores within TOLERANCE."""
    # The first value of a movie is its id; the key is the name of the data set's column.
    ids, expected_ids = ([next(iter(movie.values())) for movie in movies] for movies in (answer, expected))
    difference = max((abs(a["score"] - b["score"]) for a, b in zip(expected, answer, strict=False)), default=0.0)
    if ids != expected_ids or not difference <= TOLERANCE:  # a NaN difference fails too
        raise BrokenExportError(
            f"{folder} answers {list(history)!r:.60} with {ids[:5]}, the original with {expected_ids[:5]} "
            f"(scores differ by {difference:.1e}): the export is broken, nothing was sent"
        )


def answer_in_isolation(folder: Path, request: dict[str, Any], python: str = sys.executable) -> dict[str, Any]:
    """`answers` to `histories` from a new process without this package and network, and `problems` of the weights."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": directory}
        process = subprocess.run(
            [python, "-c", ISOLATED_LOADER, str(folder.resolve())],
            input=json.dumps(request),
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode:
        message = process.stderr.strip()[-MAX_STDERR_CHARS:]
        raise BrokenExportError(f"{folder} does not load without this package:\n{message}")
    return json.loads(process.stdout.rsplit("\n", 1)[-1])
