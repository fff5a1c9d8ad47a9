"""Whether a folder is a recommender that a stranger can load: its files, and its answers in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import pipeline

from ..model.loading_bert4rec import report_corrupt_files
from ..model.pipeline_bert4rec import TASK, MovieRecommendationPipeline

CARD_FILE = "README.md"
CODE_FILES = tuple(sorted(path.name for path in (Path(__file__).parents[1] / "model").glob("*_bert4rec.py")))
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "items.json")
REQUIRED = (*JSON_FILES, "pipeline_bert4rec.py", CARD_FILE)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
TOLERANCE = 1e-5
MAX_STDERR_CHARS = 1500  # characters of another process's last words that a message repeats

ISOLATED_LOADER = """
import json, sys, warnings
for name in ("hf_bert4rec", "training", "model_card"):
    sys.modules[name] = None  # importing it raises ImportError from here on
warnings.simplefilter("ignore")
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline, utils
utils.logging.disable_progress_bar()
utils.logging.set_verbosity_error()
folder, asked = sys.argv[1], json.load(sys.stdin)
AutoConfig.from_pretrained(folder, trust_remote_code=True)
AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
AutoModel.from_pretrained(folder, trust_remote_code=True)
_, info = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
pipe = pipeline("movie-recommendation", model=folder, trust_remote_code=True)
told = {"answers": [pipe(history, top_k=asked["top_k"]) for history in asked["histories"]]}
told["problems"] = {name: sorted(map(str, found)) for name, found in info.items() if found}
sys.stdout.write("\\n" + json.dumps(told))
"""


class BrokenExportError(RuntimeError):
    """A folder that does not load, or answers otherwise, where this package is absent."""


def check_folder(folder: str | Path, pipe: MovieRecommendationPipeline) -> None:
    """Check that `folder` has what it needs, nothing pickled, and ranks as `pipe` does with this package blocked.

    It is loaded in a new process through AutoConfig, AutoTokenizer, AutoModel, AutoModelForMaskedLM and `pipeline`.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a pickled one is there.
        BrokenExportError: it does not load, its weights do not match its config, or its ranking is another.
    """
    folder = Path(folder)
    check_files(folder)
    histories = probes(pipe.tokenizer)
    top_k = min(10, pipe.tokenizer.num_items)
    told = _ask_a_stranger(folder, {"histories": histories, "top_k": top_k})
    if told["problems"]:
        kind, names = next(iter(told["problems"].items()))
        raise BrokenExportError(
            f"{folder}: the weights do not match config.json ({kind.replace('_', ' ')}: {', '.join(names[:3])}): "
            "export the model again"
        )
    for history, answer in zip(histories, told["answers"], strict=True):
        compare(folder, history, answer, pipe(history, top_k=top_k))


def check_files(folder: Path) -> None:
    """Raise FileNotFoundError where a needed file is missing, ValueError where a pickled one is there."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: train a model first, with training/train.py")
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if not list(folder.glob("model*.safetensors")):
        missing.append("model.safetensors")
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: it is no exported recommender, or not a whole one"
        )
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix in PICKLES)
    if pickled:
        raise ValueError(
            f"{folder} holds {', '.join(pickled)}: pickled files run code where they are loaded; remove them"
        )


def probes(tokenizer: Any) -> list[list[Any]]:
    """Histories of item ids to compare answers by: short, long and, where popularity is known, empty."""
    ids = tokenizer.item_ids
    step = max(1, len(ids) // 8)
    found = [ids[:1], ids[-3:], ids[::step]]
    return [*found, []] if "count" in tokenizer.items else found


def load_pipeline(folder: str | Path, **options: Any) -> MovieRecommendationPipeline:
    """The recommender of a folder or a Hub name, by this package's code and never its own; `options` as of `pipeline`.

    Raises:
        OSError, ValueError, TypeError: it cannot be loaded; the error names the file that is damaged.
    """
    own = {"pipeline_class": MovieRecommendationPipeline, "trust_remote_code": False}
    with report_corrupt_files(
        folder, *JSON_FILES, bare=(RuntimeError,)
    ):  # as of a pipeline that a config describes oddly
        return pipeline(TASK, model=str(folder), **own, **options)


def _ask_a_stranger(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What the folder answers in a new process, elsewhere, with nothing of this package and no network."""
    with tempfile.TemporaryDirectory() as elsewhere:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": elsewhere}
        done = subprocess.run(
            [sys.executable, "-c", ISOLATED_LOADER, str(folder.resolve())],
            input=json.dumps(asked),
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BrokenExportError(
            f"{folder} does not load without this package:\n{done.stderr.strip()[-MAX_STDERR_CHARS:]}"
        )
    return json.loads(done.stdout.rsplit("\n", 1)[-1])


def compare(folder: Path, history: Sequence[Any], found: list[Any], expected: list[Any]) -> None:
    """Raise BrokenExportError unless two answers to a history have the same movies and, nearly, scores."""
    ours, theirs = ([movie["movie_id"] for movie in answer] for answer in (expected, found))
    apart = max((abs(a["score"] - b["score"]) for a, b in zip(expected, found, strict=False)), default=0.0)
    if ours != theirs or not apart <= TOLERANCE:
        raise BrokenExportError(
            f"{folder} answers {list(history)!r:.60} with {theirs[:5]}, the original with {ours[:5]} "
            f"(scores {apart:.1e} apart): the export is broken, nothing was sent"
        )
