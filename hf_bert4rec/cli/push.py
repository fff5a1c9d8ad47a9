"""Publish a trained recommender on the Hub: weights, tokenizer, pipeline code and card, in one commit.

    hf-bert4rec push outputs/ml-100k someone/bert4rec-ml-100k --dry-run
    hf-bert4rec push outputs/ml-latest-small someone/bert4rec-ml-latest-small --space

Before anything is sent, a copy is loaded in a process without this package and must rank as the original does. The
token is that of `hf auth login` or of HF_TOKEN. Titles and genres are published if the release may be redistributed
(of MovieLens: ml-latest-small) or with --include-titles; interaction counts always are. The demo of --space is a static
Space: a page that runs the model, which it contains as int8 ONNX, in the visitor's browser. The card is written from
training.json and evaluation.json: edits of README.md in the folder are not published.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..hub.space import stage_space
from ..hub.staging import list_files, stage_model
from ..hub.upload import check_repo_id, check_target, check_token, push
from ..hub.verify import check_files, check_folder, has_titles, load_pipeline
from .console import set_up_console

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    set_up_console()
    arguments = parse(argv)
    check_repo_id(arguments.repo_id)
    check_files(arguments.folder)
    if not arguments.dry_run:  # fail early: the checks below take a while
        check_token()
        for repo_type in ("model", "space") if arguments.space else ("model",):
            check_target(arguments.repo_id, repo_type)
    with tempfile.TemporaryDirectory() as directory:
        name = arguments.repo_id.split("/")[1]
        model, space = Path(directory) / "model" / name, Path(directory) / "space" / name
        stage_model(arguments.folder, model, arguments.repo_id, arguments.include_titles)
        if arguments.space and not has_titles(model):
            raise ValueError(
                "the demo searches movies by title, and this model is published without titles: add --include-titles "
                "if you have the right to publish them, or leave out --space"
            )
        check_folder(model, load_pipeline(arguments.folder, device="cpu"))
        logger.info("checked: the copy loads without this package and ranks as %s does", arguments.folder)
        if arguments.space:
            stage_space(model, space, arguments.repo_id)
        if arguments.dry_run:
            show(arguments, {"model": model, **({"space": space} if arguments.space else {})})
        else:
            publish(arguments, model, space)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hf-bert4rec push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="an exported model")
    parser.add_argument("repo_id", help="user/name")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to commit to, created if it does not exist")
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes, send nothing")
    parser.add_argument("--space", action="store_true", help="publish the demo too, as a Space of the same name")
    parser.add_argument(
        "--include-titles", action="store_true", help="publish titles and genres that the licence does not cover"
    )
    return parser.parse_args(argv)


def publish(arguments: argparse.Namespace, model: Path, space: Path) -> None:
    """Push the staged folders and print their addresses."""
    address = push(model, arguments.repo_id, private=arguments.private, revision=arguments.revision)
    print(f"published {address}")
    if arguments.space:
        print(f"published {push(space, arguments.repo_id, 'space', private=arguments.private)}")


def show(arguments: argparse.Namespace, folders: dict[str, Path]) -> None:
    """Print every file that would be sent, and its size."""
    for repo_type, folder in folders.items():
        branch = f", branch {arguments.revision}" if arguments.revision and repo_type == "model" else ""
        print(f"{repo_type} {arguments.repo_id}{branch}\n{list_files(folder)}; nothing was sent\n")
