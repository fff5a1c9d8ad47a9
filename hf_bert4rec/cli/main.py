"""`hf-bert4rec`: train, evaluate and query recommenders, and publish them.

    hf-bert4rec train ml-100k
    hf-bert4rec evaluate outputs/ml-100k
    hf-bert4rec recommend outputs/ml-100k "star wars" fargo
    hf-bert4rec push outputs/ml-100k someone/bert4rec-ml-100k --dry-run

`hf-bert4rec COMMAND --help` lists the options of a command.
"""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import transformers

from ..hub.verify import BrokenExportError

# Command: its module, the extra that it needs, and what it does.
COMMANDS = {
    "prepare": ("prepare", "train", "turn a table of any size into a folder that training reads"),
    "train": ("train", "train", "train a model from a recipe and export it"),
    "evaluate": ("evaluate", "train", "compare a model with baselines and write its card"),
    "recommend": ("query", "", "recommendations for a history"),
    "similar": ("query", "", "movies similar to a movie"),
    "explain": ("query", "", "recommendations, each with the movies of the history that led to it"),
    "recommend-all": ("recommend_all", "train", "recommend to every user of a data set"),
    "export-onnx": ("export_onnx", "onnx", "write onnx/model.onnx and its int8 copy into a model's folder"),
    "demo": ("demo", "onnx", "try a model on a page in the browser"),
    "push": ("push", "train", "publish a model on the Hub, also with its data and demo"),
}
EXTRAS = {"train": ("accelerate", "matplotlib"), "onnx": ("onnx", "onnxruntime", "onnxscript")}
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, the shell's convention
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 with a line on stderr where the input is bad."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else BAD_INPUT
    if words[0] not in COMMANDS:
        print(f"hf-bert4rec: unknown command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return BAD_INPUT
    module, extra, _ = COMMANDS[words[0]]
    if missing := [name for name in EXTRAS.get(extra, ()) if find_spec(name) is None]:
        needs = f"hf-bert4rec {words[0]} needs {' and '.join(missing)}"
        print(f'{needs}: pip install "hf-bert4rec[{extra}]"', file=sys.stderr)
        return BAD_INPUT
    command = importlib.import_module(f".{module}", __package__)
    if module != "query":  # which prints the answer only
        set_up_console()
    try:
        return command.main(words if module == "query" else words[1:]) or 0
    except Exception as error:
        if not is_bad_input(error):
            raise
        print(f"hf-bert4rec: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT


def set_up_console() -> None:
    """Log to stderr at INFO; show progress bars on a terminal only."""
    import datasets  # which answering a request does not need

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hf_bert4rec").setLevel(logging.INFO)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()


def is_bad_input(error: Exception) -> bool:
    """Whether an exception is about files or options of the user; all others are bugs and keep their traceback.

    An OSError is, and so is a ValueError, LookupError or ImportError that this package raises itself.
    """
    if isinstance(error, OSError):
        return not isinstance(error, BrokenPipeError)
    if isinstance(error, (KeyError, IndexError)):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_here = frame.f_globals.get("__name__", "").startswith("hf_bert4rec.")
    return raised_here and isinstance(error, (ValueError, LookupError, ImportError, BrokenExportError))


def usage() -> str:
    lines = [f"  {name:<14} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join([(__doc__ or "").rstrip(), "", "Commands:", *lines])


def console(*command: str) -> None:
    """The installed program; the scripts in training/ name the command that they run.

    Characters that the terminal cannot show are replaced; a pipe closed by its reader (`| head`) gives no traceback.
    """
    if sys.stdout is None:  # closed by the caller, as by `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (open until the process ends)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        try:
            status = main([*command, *sys.argv[1:]])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would flush again at exit
        status = BROKEN_PIPE
    except KeyboardInterrupt:
        print("hf-bert4rec: interrupted", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)
