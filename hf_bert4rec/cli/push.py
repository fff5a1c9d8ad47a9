"""Publish a trained recommender on the Hub: weights, tokenizer, pipeline code and card, in one commit.

    hf-bert4rec push outputs/ml-100k someone/bert4rec-ml-100k --dry-run
    hf-bert4rec push outputs/ml-latest-small someone/bert4rec-ml-latest-small --space --dataset

Before anything is sent, a copy is loaded in a process without this package and must rank as the original does. The
token is that of `hf auth login` or of HF_TOKEN. Titles and genres are published if the release may be redistributed
(of MovieLens: ml-latest-small) or with --include-titles; interaction counts always are. The demo of --space is a static
Space: a page that runs the model, which it contains as int8 ONNX, in the visitor's browser. --dataset publishes the
training data, if their licence allows it. With both, model, data and demo are grouped in a collection. The card is
written from training.json and evaluation.json: edits of README.md in the folder are not published.
"""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..data.arguments import DataArguments
from ..evaluation.evaluate import prepare_for_model
from ..evaluation.trained_model import training_data_options
from ..hub.dataset_repository import check_redistributable, write_dataset
from ..hub.folder import check_files, has_titles, load_pipeline
from ..hub.records import read_training, release_of
from ..hub.space import stage_space
from ..hub.staging import stage_model
from ..hub.upload import check_repo_id, check_target, check_token, push, push_collection
from ..hub.verify import check_folder

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    arguments = parse(argv)
    check_repo_id(arguments.repo_id)
    check_files(arguments.folder)
    if arguments.dataset:
        training = read_training(arguments.folder)
        check_redistributable(release_of(training), training["dataset"])
    repo_types = ["model", *(["dataset"] if arguments.dataset else []), *(["space"] if arguments.space else [])]
    if not arguments.dry_run:  # fail early: the checks below take a while
        check_token()
        for repo_type in repo_types:
            check_target(arguments.repo_id, repo_type)
    with tempfile.TemporaryDirectory() as directory:
        name = arguments.repo_id.split("/")[1]
        staged = {repo_type: Path(directory) / repo_type / name for repo_type in repo_types}
        stage(arguments, staged)
        if arguments.dry_run:
            show(arguments, staged)
        else:
            publish(arguments, staged)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hf-bert4rec push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="an exported model")
    parser.add_argument("repo_id", help="user/name")
    parser.add_argument("--private", action="store_true", help="create private repositories; refuse public ones")
    parser.add_argument("--revision", help="branch of the model to commit to, created if it does not exist")
    parser.add_argument("--dry-run", action="store_true", help="list files and sizes, send nothing")
    parser.add_argument("--space", action="store_true", help="publish the demo too, as a Space of the same name")
    parser.add_argument("--dataset", action="store_true", help="publish the data too, as a data set of the same name")
    parser.add_argument(
        "--include-titles", action="store_true", help="publish titles and genres that the licence does not cover"
    )
    return parser.parse_args(argv)


def stage(arguments: argparse.Namespace, staged: dict[str, Path]) -> None:
    """Write what is published to new folders, by type of repository, and check the model's."""
    folder, repo_id, model = arguments.folder, arguments.repo_id, staged["model"]
    dataset_id = repo_id if arguments.dataset else None
    stage_model(folder, model, repo_id, arguments.include_titles, dataset_id, arguments.revision)
    if arguments.space and not has_titles(model):
        raise ValueError(
            "the demo searches movies by title, and this model is published without titles: add --include-titles if "
            "you have the right to publish them, or leave out --space"
        )
    check_folder(model, load_pipeline(folder, device="cpu"))
    logger.info("checked: the copy loads without this package and ranks as %s does", folder)
    if arguments.dataset:
        options = DataArguments(**training_data_options(folder))
        write_dataset(prepare_for_model(folder, options), staged["dataset"], repo_id)
    if arguments.space:
        stage_space(model, staged["space"], repo_id)


def publish(arguments: argparse.Namespace, staged: dict[str, Path]) -> None:
    """Push the staged folders, group all three in a collection, and print the addresses."""
    for repo_type, folder in staged.items():
        revision = arguments.revision if repo_type == "model" else None
        address = push(folder, arguments.repo_id, repo_type, private=arguments.private, revision=revision)
        print(f"published {address}")
    if arguments.space and arguments.dataset:
        print(f"published {push_collection(arguments.repo_id, staged, private=arguments.private)}")


def show(arguments: argparse.Namespace, folders: dict[str, Path]) -> None:
    """Print every file that would be sent, its size, and the totals."""
    for repo_type, folder in folders.items():
        branch = f", branch {arguments.revision}" if arguments.revision and repo_type == "model" else ""
        print(f"{repo_type} {arguments.repo_id}{branch}")
        sizes = {path.relative_to(folder): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        for path, size in sizes.items():
            print(f"{size:>12,}  {path}")
        print(f"{sum(sizes.values()):>12,}  bytes in {len(sizes)} files; nothing was sent\n")
