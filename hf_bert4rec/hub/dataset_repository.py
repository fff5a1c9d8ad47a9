"""Publish a prepared data set on the Hub: training, validation and test histories, the movies, and a card."""

import tempfile
from pathlib import Path

from huggingface_hub import DatasetCardData
from huggingface_hub.constants import REPOCARD_NAME

from ..data.leakage import target_hash
from ..data.prepared import PreparedData
from ..data.ragged import Ragged
from ..data.releases import Release
from ..files import annotate_write_errors
from .card import DATA_LICENCE, render_template
from .upload import check_repo_id, push


def push_dataset(data: PreparedData, repo_id: str, *, private: bool = False, redistribute: bool = False) -> str:
    """Publish the splits and movies of a prepared data set, with a card, in one commit, and return its address.

    Each table is a configuration: `load_dataset(repo_id, "test", split="test")` returns `data.split_tables["test"]`.
    PermissionError: the token is refused, or the licence is not known to allow it. With the right to publish the data,
    set `redistribute`. Other errors are those of `push`.
    """
    check_repo_id(repo_id)
    if not redistribute:
        check_redistributable(data.release, data.name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / repo_id.split("/")[1]
        write_dataset(data, folder, repo_id)
        return push(folder, repo_id, "dataset", private=private)


def check_redistributable(release: Release | None, name: str) -> None:
    """Raise PermissionError unless the licence of a data set allows publishing it."""
    if release is None or not release.redistributable:
        licence = release.licence if release else "Its licence is not known."
        raise PermissionError(
            f"{name} is not published by default. {licence} If you may publish it, call push_dataset(…, "
            "redistribute=True) in Python; nothing was sent"
        )


def write_dataset(data: PreparedData, folder: Path, repo_id: str) -> None:
    """Write the files that `push_dataset` sends to a new folder: one Parquet file per table, and the card."""
    with annotate_write_errors(folder):
        (folder / "data").mkdir(parents=True)
        for name, table in {**data.split_tables, "movies": data.movies}.items():
            table.to_parquet(folder / "data" / f"{name}.parquet")
        (folder / REPOCARD_NAME).write_text(dataset_card(data, repo_id), encoding="utf-8")


def dataset_card(data: PreparedData, repo_id: str) -> str:
    """The card of a prepared data set: counts, order rule, hashes of the splits, columns, licence."""
    release, tables, test = data.release, {**data.split_tables, "movies": data.movies}, data.split_tables["test"]
    configs = [
        {"config_name": name, "data_files": [{"split": name, "path": f"data/{name}.parquet"}]}
        | ({"default": True} if name == "train" else {})
        for name in tables
    ]
    tags = ["recommendation", "sequential-recommendation", "hf-bert4rec", *(["movielens"] if release else [])]
    parts = []
    for part, rows in data.split_tables.items():
        digest = f"`{target_hash(rows)}`" if part != "train" else ""
        parts.append((part, len(rows), int(Ragged.from_column(rows, "item_ids").lengths.sum()), digest))
    several = "targets" in test.column_names
    return render_template(
        "dataset.md",
        release,
        metadata=DatasetCardData(tags=tags, configs=configs, **(DATA_LICENCE if release else {})),
        name=data.name,
        repo_id=repo_id,
        tables=tables,
        lengths=Ragged.from_column(data.histories, "item_ids").lengths,
        parts=parts,
        timed=data.timed,
        split="temporal" if "cut" in test.column_names else "last-n" if several else "leave-one-out",
        targets=len(test[0]["targets"]) if several else 1,
        events=data.tokenizer.target_events,
    )
