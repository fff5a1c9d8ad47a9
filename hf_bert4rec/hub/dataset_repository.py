"""Publish a prepared data set on the Hub: training, validation and test histories, the movies, and a card."""

from __future__ import annotations

import tempfile
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCardData
from huggingface_hub.constants import REPOCARD_NAME

from ..data.prepare import Prepared
from ..data.ragged import Ragged
from ..data.releases import CITATION, RELEASES, Release
from ..data.splits import target_hash
from .card.markup import fill, plain
from .card.metadata import DATA_LICENCE
from .card.training_sections import data_source, item_noun
from .staging import remove_on_failure
from .upload import check_repo_id, check_token, push

# How the split was made, by the column that only its test part has.
SPLIT_RULES = {
    "cut": "By time: interactions after a cut, the same for all users, are held out.",
    "targets": "The last {number} {noun}s of every user are held out for testing, the {number} before those for "
    "validation; a test history includes the latter.",
    "target": "The last {noun} of every user is held out for testing, the one before it for validation; a test history "
    "includes the latter.",
}
PARTS = ("train", "validation", "test")


def push_dataset(data: Prepared, repo_id: str, *, private: bool = False, redistribute: bool = False) -> str:
    """Publish the splits and movies of a prepared data set, with a card, in one commit; returns its address.

    Each table is a configuration, as their columns differ: `load_dataset(repo_id, "test", split="test")` returns
    `data.splits["test"]` unchanged.

    Args:
        redistribute: publish data whose licence is not known to allow it: a MovieLens release other than
            ml-latest-small, or a custom table. You must have the right to do so.

    Raises:
        PermissionError: the data may not be redistributed, or the token is refused.
    """
    check_repo_id(repo_id)
    release = _release_of(data)
    if not redistribute and not (release is not None and release.redistributable):
        licence = release.licence if release else "Its licence is not known."
        raise PermissionError(
            f"{data.name} is not published by default. {licence} Set redistribute=True if you may publish it; nothing "
            "was sent"
        )
    check_token()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / repo_id.split("/")[1]
        write_dataset(data, folder, repo_id)
        return push(folder, repo_id, "dataset", private=private)


def write_dataset(data: Prepared, folder: Path, repo_id: str) -> None:
    """Write what `push_dataset` sends to a new folder: one Parquet file per table, and the card."""
    with remove_on_failure(folder, f"the tables of {data.name}"):
        (folder / "data").mkdir(parents=True)
        for name, table in _tables(data).items():
            table.to_parquet(folder / "data" / f"{name}.parquet")
        (folder / REPOCARD_NAME).write_text(dataset_card(data, repo_id), encoding="utf-8")


def dataset_card(data: Prepared, repo_id: str) -> str:
    """The card of a prepared data set: counts, order rule, hashes of the splits, columns, licence."""
    release = _release_of(data)
    source = data_source(release, data.name)
    lengths = Ragged.from_column(data.histories, "item_ids").lengths
    fields = {
        "metadata": _card_data(data, release),
        "name": plain(data.name),
        "source": source if release else source[0].upper() + source[1:],
        "users": f"{len(data.histories):,}",
        "items": f"{item_noun(release)}s",
        "number": f"{len(data.movies):,}",
        "interactions": f"{lengths.sum():,}",
        "repo_id": repo_id,
        "rows": "\n".join(_row(data, part) for part in PARTS),
        "order": _order(data),
        "rule": _rule(data, item_noun(release)),
        "shortest": lengths.min(),
        "columns": "; ".join(
            f"{name}: {', '.join(f'`{column}`' for column in table.column_names)}"
            for name, table in _tables(data).items()
        ),
        "licence": f"{release.licence}\n\n```bibtex\n{CITATION}\n```" if release else "Up to the owner of the data.",
    }
    return fill("dataset.md", fields)


def _order(data: Prepared) -> str:
    if "timestamps" in data.histories.column_names:
        return "Histories are ordered by time, ties by the row of the source; the sort is stable."
    return "Histories are in the order of the source, which has no times."


def _rule(data: Prepared, noun: str) -> str:
    test = data.splits["test"]
    number = len(test[0]["targets"]) if "targets" in test.column_names else 1
    return next(rule for column, rule in SPLIT_RULES.items() if column in test.column_names).format(
        number=number, noun=noun
    )


def _release_of(data: Prepared) -> Release | None:
    """The MovieLens release; None for a custom table, whatever its file is called."""
    return None if data.custom else RELEASES.get(data.name.removesuffix(".txt"))


def _tables(data: Prepared) -> dict[str, Dataset]:
    return {**{part: data.splits[part] for part in PARTS}, "movies": data.movies}


def _row(data: Prepared, part: str) -> str:
    rows = data.splits[part]
    known = int(Ragged.from_column(rows, "item_ids").lengths.sum())
    digest = f"`{target_hash(rows)}`" if part != "train" else ""
    return f"| {part} | {len(rows):,} | {known:,} | {digest} |"


def _card_data(data: Prepared, release: Release | None) -> DatasetCardData:
    configs = [
        {"config_name": name, "data_files": [{"split": name, "path": f"data/{name}.parquet"}]}
        | ({"default": True} if name == "train" else {})
        for name in _tables(data)
    ]
    tags = ["recommendation", "sequential-recommendation", "hf-bert4rec", *(["movielens"] if release else [])]
    return DatasetCardData(tags=tags, configs=configs, **(DATA_LICENCE if release else {}))
