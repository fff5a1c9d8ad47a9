"""Publish a trained recommender on the Hub: weights, tokenizer, pipeline code and card, in one commit.

    hf-bert4rec push outputs/ml-100k someone/bert4rec-ml-100k --dry-run
    hf-bert4rec push outputs/ml-latest-small someone/bert4rec-ml-latest-small --space

Nothing is sent before a copy was loaded in a process without this package and ranked as the original does. The token
is that of `hf auth login` or of HF_TOKEN. Titles and genres go along where the release may be redistributed (of
MovieLens: ml-latest-small), or with --include-titles; interaction counts always do.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..files import data_folder
from ..hub.card.curve import CURVE_FILE, draw_curve
from ..hub.card.render import read_evaluation, release_of, render_card
from ..hub.staging import read_training, stage, whole
from ..hub.upload import check_repo_id, check_target, check_token, push
from ..hub.verify import CARD_FILE, check_files, check_folder, load_pipeline
from .console import set_up_console

logger = logging.getLogger(__name__)

SPACE = data_folder("model_card") / "space"


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    arguments = parse(argv)
    check_repo_id(arguments.repo_id)
    check_files(arguments.folder)
    if not arguments.dry_run:
        check_token()  # before minutes are spent on checks
        for kind in ("model", "space")[: 1 + arguments.space]:
            check_target(arguments.repo_id, kind)
    with tempfile.TemporaryDirectory() as temporary:
        name = arguments.repo_id.split("/")[1]
        model, space = Path(temporary) / "model" / name, Path(temporary) / "space" / name
        titles = stage_model(arguments, model)
        if arguments.space:
            stage_space(space, arguments.repo_id, titles, arguments.revision)
        check_folder(model, load_pipeline(arguments.folder, device="cpu"))
        logger.info("checked: the copy loads without this package and ranks as %s does", arguments.folder)
        if arguments.dry_run:
            show(arguments, {"model": model, **({"space": space} if arguments.space else {})})
            return
        address = push(model, arguments.repo_id, private=arguments.private, revision=arguments.revision)
        print(f"published {address}")
        if arguments.space:
            print(f"published {push(space, arguments.repo_id, 'space', private=arguments.private)}")
            if arguments.private:
                print("a Space reads a private model with a token: add one that may read as its secret HF_TOKEN")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an exported model")
    parser.add_argument("repo_id", help="user/name")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="a branch to commit to, made if it is not there")
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes, send nothing")
    parser.add_argument("--space", action="store_true", help="publish the demo as well, as a Space of the same name")
    parser.add_argument("--include-titles", action="store_true", help="titles and genres even of a closed release")
    return parser.parse_args(argv)


def stage_model(arguments: argparse.Namespace, target: Path) -> bool:
    """Copy what is published and write its card; gives whether titles go along."""
    evaluation = read_evaluation(arguments.folder)
    release = release_of(read_training(arguments.folder))
    titles = arguments.include_titles or (release is not None and release.redistributable)
    left_out = stage(arguments.folder, target, arguments.repo_id, titles)
    staged = read_training(target)
    if evaluation is not None and not titles:
        evaluation = {**evaluation, "examples": []}
    with whole(target, "its card"):
        (target / CURVE_FILE).parent.mkdir(exist_ok=True)
        (target / CURVE_FILE).write_bytes(draw_curve(staged))
        card = render_card(staged, evaluation, arguments.repo_id, titles)
        (target / CARD_FILE).write_text(card, encoding="utf-8")
    if left_out:
        logger.info("not published: %s", ", ".join(left_out))
    if not titles:
        logger.info("titles and genres stay here; --include-titles sends them, where you may")
    return titles


def stage_space(target: Path, repo_id: str, titles: bool, revision: str | None = None) -> None:
    """Copy the demo, made to show the model `repo_id`, that of a branch where one is named.

    Raises:
        ValueError: the model goes without titles, which the demo searches by.
    """
    if not titles:
        raise ValueError(
            "the demo searches movies by title, and this model goes without: add --include-titles if you may publish "
            "them, or leave --space out"
        )
    with whole(target, "the demo"):
        target.mkdir(parents=True)
        for name in ("app.py", "style.css", "requirements.txt"):
            shutil.copyfile(SPACE / name, target / name)
        card = (SPACE / CARD_FILE).read_text(encoding="utf-8").replace("MODEL_NAME", repo_id)
        (target / CARD_FILE).write_text(card, encoding="utf-8")
        (target / "model.txt").write_text(f"{repo_id}@{revision}\n" if revision else f"{repo_id}\n", encoding="utf-8")


def show(arguments: argparse.Namespace, folders: dict[str, Path]) -> None:
    """Print every file that would be sent, and its size."""
    for kind, folder in folders.items():
        print(f"{kind} {arguments.repo_id}{f', branch {arguments.revision}' if arguments.revision else ''}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            print(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}")
        print(f"{sum(path.stat().st_size for path in files):>12,}  bytes in {len(files)} files; nothing was sent\n")
