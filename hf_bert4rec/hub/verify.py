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
from huggingface_hub.constants import REPOCARD_NAME
from safetensors.torch import load_file
from transformers import pipeline

from ..files import TASTE_FILE, data_folder
from ..model.loading_bert4rec import read_object, report_corrupt_files
from ..model.onnx_bert4rec import EXPORT_HINT, ONNX_FILE, ONNX_FOLDER, QUANTIZED_FILE
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline
from ..model.requests_bert4rec import GOALS
from ..model.tokenization_bert4rec import ITEMS_FILE

CODE_FOLDER = Path(__file__).parents[1] / "model"
REQUIREMENTS = data_folder("model_card") / "requirements.txt"  # the versions that load a model
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", ITEMS_FILE)
REQUIRED_FILES = (*JSON_FILES, "pipeline_bert4rec.py", REPOCARD_NAME)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
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
        compare(folder, history, answer, pipe(history, top_k=top_k))
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
    if taste is None or not all(
        torch.equal(tables[name], getattr(taste, name)[first:].float().cpu()) for name in ("precisions", "shares")
    ):
        raise ValueError(f"{path} is of another model of taste: {EXPORT_HINT}")


def check_files(folder: Path) -> None:
    """Raise FileNotFoundError if a required file is missing, ValueError if a pickled one is present."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: train a model first, with `hf-bert4rec train`")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if not list(folder.glob("model*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: it is not a complete exported recommender")
    if pickled := sorted(path.name for path in folder.rglob("*") if path.suffix in PICKLES):
        raise ValueError(f"{folder} holds {', '.join(pickled)}: pickled files run code when loaded; remove them")


def code_files() -> list[str]:
    """Names of the Python files that are copied to every model's folder."""
    return sorted(path.name for path in CODE_FOLDER.glob("*.py") if path.stem != "__init__")


def has_titles(folder: Path) -> bool:
    """Whether `items.json` of a model folder names any title."""
    return any(read_object(folder / ITEMS_FILE).get("title", []))


def has_own_titles(tokenizer: Any) -> bool:
    """Whether any title of a tokenizer is not just the id of its item, as in a table without titles."""
    titles = zip(tokenizer.items.get("title", []), tokenizer.item_ids, strict=False)
    return any(title and title != str(item) for title, item in titles)


def probe_histories(tokenizer: Any) -> list[list[Any]]:
    """Histories of item ids to compare answers for: short, long and, if popularity is known, empty."""
    ids = tokenizer.item_ids
    histories = [ids[:1], ids[-3:], ids[:: max(1, len(ids) // 8)]]
    return [*histories, []] if "count" in tokenizer.items else histories


def load_pipeline(folder: str | Path, **options: Any) -> MovieRecommendationPipeline:
    """Load the recommender of a folder or Hub repository with this package's code instead of its own.

    OSError or ValueError if it cannot be loaded; the error names the folder, or the damaged file.
    """
    trusted = {"pipeline_class": MovieRecommendationPipeline, "trust_remote_code": False}
    # A model of another type, which is refused once it is loaded, would be read from a pickled file.
    options["model_kwargs"] = {**options.get("model_kwargs", {}), "use_safetensors": True}
    try:
        # transformers raises RuntimeError for a config that does not describe a pipeline.
        with report_corrupt_files(folder, *JSON_FILES, bare=(RuntimeError,)):
            return pipeline(TASK, model=str(folder), **trusted, **options)
    except (TypeError, ValueError) as error:
        # transformers puts the traceback of the cause into the text of its error.
        text = str(error).strip().rsplit("\n", 1)[-1] if "Traceback" in str(error) else str(error)
        raise ValueError(text if str(folder) in text else f"{folder}: {text}") from error


def compare(folder: Path, history: Sequence[Any], answer: list[Any], expected: list[Any]) -> None:
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
