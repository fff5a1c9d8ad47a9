"""The records in a model folder: `training.json` and `evaluation.json`."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ..data.releases import RELEASES, Release
from ..evaluation.report import REPORT_FILE, load_report
from ..evaluation.trained_model import weights_sha256
from ..files import TRAINING_FILE
from ..model.loading_bert4rec import read_object

REQUIRED_KEYS = ("dataset", "options", "example", "command", "curve", "environment")
# An absolute path, of POSIX or Windows, as a word of a command line or as the value of an option.
ABSOLUTE_PATH = re.compile(r"(?P<before>^|[\s='\"])(?P<path>(?:~?/|[A-Za-z]:[\\/])[^\s='\"]*)")
SECRET_OPTION = re.compile(r"\s--(?:\w+_)?token(?:=|\s+)\S+")


def read_training(folder: Path) -> dict[str, Any]:
    """The training record of an exported model; FileNotFoundError without one, ValueError if it is damaged."""
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {TRAINING_FILE}, which the card needs: train the model again")
    record = read_object(path, "train the model again")
    if missing := [key for key in REQUIRED_KEYS if key not in record]:
        raise ValueError(f"{path} lacks {', '.join(missing)}, which the card needs: train the model again")
    return record


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The evaluation of a model folder; None if it was not evaluated, ValueError if it is of other weights."""
    path = folder / REPORT_FILE
    if not path.is_file():
        return None
    evaluation = load_report(path)
    recorded, actual = evaluation["model"]["weights_sha256"], weights_sha256(folder)
    if recorded != actual:
        raise ValueError(
            f"{path} is the evaluation of another model: it was made for weights with sha256 {recorded[:12]}…, the "
            f"folder holds {actual[:12]}…; run `hf-bert4rec evaluate {folder}` again"
        )
    return evaluation


def release_of(training: Mapping[str, Any]) -> Release | None:
    """The MovieLens release that a model was trained on, or None for a custom table."""
    custom = training["options"].get("ratings") is not None
    return None if custom else RELEASES.get(training["dataset"].removesuffix(".txt"))


def without_titles(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training record whose example names movies by id only."""
    example = training["example"]
    answer = [{**movie, "title": None, "genres": []} for movie in example["answer"]]
    return {**training, "example": {**example, "history": example["history_ids"], "answer": answer}}


def without_private_paths(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training record without tokens, and with paths shortened to file names."""
    options = {key: _file_name(value) for key, value in training["options"].items() if key != "data_dir"}
    command = SECRET_OPTION.sub("", training["command"])
    command = ABSOLUTE_PATH.sub(lambda match: match["before"] + _file_name(match["path"]), command)
    return {**training, "options": options, "command": command}


def _file_name(value: Any) -> Any:
    """The last component of an absolute path; any other value unchanged."""
    if isinstance(value, str) and ABSOLUTE_PATH.fullmatch(value):
        return PurePath(value.replace("\\", "/")).name
    return value
