"""The records in a model folder: `training.json` and `evaluation.json`."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from ..data.releases import RELEASES, Release
from ..data.tables import is_hub_name
from ..evaluation.report import REPORT_FILE, load_report
from ..evaluation.trained_model import weights_sha256
from ..files import TRAINING_FILE, data_folder
from ..model.loading_bert4rec import read_object

REQUIRED_KEYS = ("dataset", "options", "example", "command", "curve", "environment")
ROOT = Path(__file__).resolve().parents[2]
# Options that a published command leaves out: folders of this machine, and secrets.
LOCAL_OPTION = re.compile(r"--((output|data|logging)-dir|resume-from-checkpoint|(.+-)?token)")


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
            f"folder holds {actual[:12]}…; run `hf-bert4rec evaluate {folder}` again, or remove the file"
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
    """A training record without folders of this machine and tokens."""
    command = portable_command(shlex.split(training["command"]))
    return {**training, "options": portable_options(training["options"]), "command": command}


def portable_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without folders of this machine, since the record is published. Tables keep their names."""
    tables = {name: options[name] for name in ("ratings", "items") if options.get(name)}
    names = {name: table if is_hub_name(table) else PureWindowsPath(table).name for name, table in tables.items()}
    return {name: value for name, value in {**options, **names}.items() if name != "data_dir"}


def portable_command(words: Sequence[str]) -> str:
    """A command line without options that apply to one machine only, and without its folders."""
    portable, skip = [], False
    for word in words:
        name = word.split("=")[0].replace("_", "-")  # the command takes both forms
        if skip or LOCAL_OPTION.fullmatch(name):
            skip = not skip and "=" not in word
            continue
        portable.append(_portable(word))
    return shlex.join(portable)


def _portable(word: str) -> str:
    """A word without folders of this machine, if it is an absolute path, a glob or that of an existing file.

    An installed recipe becomes its name, another path in the checkout relative to its root, any other path a file name.
    """
    option, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.name or not (path.is_absolute() or {"*", "?"} & {*value} or path.exists()):
        return word
    path = path.resolve()
    if path.parent == data_folder("recipes").resolve():
        return f"{option}{equals}{path.stem}"
    return f"{option}{equals}{path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name}"
