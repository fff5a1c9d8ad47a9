"""`hf-bert4rec recommend | similar | explain`: query a trained model from a shell.

    hf-bert4rec recommend outputs/ml-100k "star wars" fargo --genre Comedy --from-year 1990
    hf-bert4rec similar outputs/ml-100k fargo
    hf-bert4rec explain outputs/ml-100k "star wars" fargo --movie "empire strikes back"

MODEL is a folder or a name on the Hub; this package's code loads it, never code from its repository. Movies are ids or
titles, loosely typed. The answer is printed as a table, or with `--json` as the pipeline returns it.
"""

import argparse
import json
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import utils

from ..hub.folder import load_pipeline
from ..model.requests_bert4rec import DEFAULT_TOP_K, GOALS, parse_movies

# Options that the pipeline takes as they are.
PASSED = ("top_k", "goal", "min_rating", "event", "exclude", "candidates", "genres", "diversity", "popularity_penalty")


def main(argv: Sequence[str]) -> None:
    """Run the command whose name comes first in `argv`."""
    name, *words = argv
    arguments = make_parser(name).parse_intermixed_args(words)  # options may come before movies
    utils.logging.set_verbosity_error()
    utils.logging.disable_progress_bar()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        answer = query(arguments)
    for warning in caught:
        if warning.category is UserWarning:
            print(f"hf-bert4rec: {warning.message}", file=sys.stderr)
    if arguments.json:
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(answer, ensure_ascii=not unicode, indent=2))
    else:
        print(table(answer))


def make_parser(command: str) -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"hf-bert4rec {command}", description=__doc__, formatter_class=formatter)
    parser.set_defaults(command=command, explain=command == "explain")
    parser.add_argument("model", metavar="MODEL", help="a folder, or a name on the Hub")
    parser.add_argument("--top-k", type=int, help=f"movies to print (default {DEFAULT_TOP_K})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    if command == "similar":
        parser.add_argument("movie", metavar="MOVIE", help="its id or title")
        return parser
    parser.add_argument("history", metavar="MOVIE", nargs="*", help="ids or titles, oldest first")
    if command == "explain":
        text = "explain this movie, recommended or not; repeatable"
        parser.add_argument("--movie", action="append", dest="candidates", help=text)
    else:
        parser.add_argument("--candidate", action="append", dest="candidates", help="rank only these; repeatable")
        parser.add_argument("--explain", action="store_true", help="the same as the command explain")
    _add_reranking(parser)
    return parser


def _add_reranking(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--goal",
        choices=GOALS,
        help="what comes next, or what else is liked; taste by default, if the model has it and no events are given",
    )
    command.add_argument("--ratings", help="ratings of the history's movies, separated by commas, '-' for none: 5,-,1")
    command.add_argument("--min-rating", type=float, help="movies rated lower count as seen, not as liked (default 3)")
    command.add_argument("--event", help="event type to predict, for models trained with event_column")
    command.add_argument("--events", help="event types of the history, separated by commas: view,view,purchase")
    command.add_argument("--exclude", action="append", help="a movie not to recommend; repeatable")
    command.add_argument("--genre", action="append", dest="genres", help="any of these; repeatable")
    command.add_argument("--from-year", type=int)
    command.add_argument("--to-year", type=int)
    command.add_argument("--diversity", type=float, help="0 (rank by score) to 1 (movies unlike each other)")
    command.add_argument(
        "--popularity-penalty", type=float, help="0 or more; times log popularity, subtracted from the log of the score"
    )
    command.add_argument(
        "--include-seen", action=argparse.BooleanOptionalAction, help="recommend movies of the history too"
    )
    command.add_argument("--backend", choices=("torch", "onnx"), default="torch")


def query(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    check_model(arguments.model)
    pipe = load_pipeline(arguments.model, backend=getattr(arguments, "backend", "torch"))
    if arguments.command == "similar":
        return pipe.similar(arguments.movie, top_k=arguments.top_k)
    # Raises, with suggestions, for movies about which the pipeline would warn.
    parse_movies(arguments.history, pipe.tokenizer, "history")
    return pipe(arguments.history, **options_of(arguments, pipe.tokenizer.num_items))


def check_model(name: str) -> None:
    """Raise FileNotFoundError unless `name` is a model's folder or could be a name on the Hub."""
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise FileNotFoundError(f"{name} has no config.json: it is not a model's folder")
    elif not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        raise FileNotFoundError(f"{name} is neither a folder nor a name on the Hub, such as someone/bert4rec-ml-1m")


def options_of(arguments: argparse.Namespace, num_items: int) -> dict[str, Any]:
    """The pipeline's options on the command line; the others keep the pipeline's defaults."""
    options = {name: getattr(arguments, name) for name in PASSED if getattr(arguments, name) is not None}
    if arguments.candidates is not None:  # rank all candidates by default
        options.setdefault("top_k", min(len(set(arguments.candidates)), num_items))
    if arguments.from_year is not None or arguments.to_year is not None:
        options["years"] = (arguments.from_year, arguments.to_year)
    if arguments.ratings is not None:
        options["ratings"] = [read_rating(text) for text in arguments.ratings.split(",")]
    if arguments.events is not None:
        options["events"] = [text.strip() for text in arguments.events.split(",")]
    if arguments.include_seen is not None:
        options["exclude_seen"] = not arguments.include_seen
    return {**options, "explain": arguments.explain}


def read_rating(text: str) -> float | None:
    """A number, or None for "-"."""
    try:
        return None if text.strip() == "-" else float(text)
    except ValueError:
        raise ValueError(f"--ratings: {text!r} is neither a number nor '-'") from None


def table(answer: list[dict[str, Any]]) -> str:
    """An answer as text: rank, score, title or id and genres, and below each movie the explanation."""
    if not answer:
        return "no movies"
    lines = []
    for rank, movie in enumerate(answer, 1):
        genres = f"  [{', '.join(movie['genres'])}]" if movie["genres"] else ""
        lines.append(f"{rank:3}. {movie['score']:7.4f}  {movie['title'] or next(iter(movie.values()))}{genres}")
        lines += [
            f"{'':14}{entry['contribution']:+.3f}  {entry['title'] or next(iter(entry.values()))}"
            for entry in movie.get("because", [])
        ]
        if movie.get("because") == []:
            lines.append(f"{'':14}no movie of the history raises its score")
    return "\n".join(lines)
