"""`hf-bert4rec`: train, evaluate, ask, publish.

    hf-bert4rec train ml-100k
    hf-bert4rec evaluate outputs/ml-100k
    hf-bert4rec recommend outputs/ml-100k "star wars" fargo
    hf-bert4rec push outputs/ml-100k someone/bert4rec-ml-100k --dry-run

`hf-bert4rec COMMAND --help` lists the options of a command.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# Command: its module, the extra that it needs, and what it does.
COMMANDS = {
    "train": ("train", "train", "train a model from a recipe and export it"),
    "evaluate": ("evaluate", "train", "evaluate a model beside baselines and write its card"),
    "recommend": ("ask", "", "what to watch next, after a history"),
    "similar": ("ask", "", "movies like a movie"),
    "explain": ("ask", "", "recommendations with the entries of the history that speak for them"),
    "recommend-all": ("recommend_all", "train", "recommend to every user of a data set"),
    "export-onnx": ("export_onnx", "onnx", "write onnx/model.onnx into a model's folder"),
    "push": ("push", "train", "publish a model, its card and its demo on the Hub"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 where the command is unknown or cannot be imported."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"hf-bert4rec: unknown command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module, extra, _ = COMMANDS[words[0]]
    try:
        command = importlib.import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        print(
            f"hf-bert4rec {words[0]} needs {error.name}: pip install 'hf-bert4rec[{extra}]'",
            file=sys.stderr,
        )
        return 2
    try:
        return command.main(words if module == "ask" else words[1:]) or 0
    except (OSError, RuntimeError, ValueError) as error:
        if module != "push":
            raise
        print(f"hf-bert4rec push: {error}", file=sys.stderr)
        return 2


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<14} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join([(__doc__ or "").rstrip(), "", "Commands:", *lines])


def console(*command: str) -> None:
    """The installed command; a script of training/ gives the command that it runs."""
    sys.exit(main([*command, *sys.argv[1:]]))
