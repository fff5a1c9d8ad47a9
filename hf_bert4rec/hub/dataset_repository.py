"""A prepared data set on the Hub: training, validation and test histories and the movies, beside a card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from ..data.prepare import Prepared
from ..data.ragged import Ragged
from ..data.releases import CITATION, HOMEPAGE, RELEASES, Release
from ..data.splits import target_hash
from .staging import whole
from .upload import check_repo_id, check_token, push
from .verify import CARD_FILE

RULES = {
    "cut": "By time: what came after one moment, the same for all users, is held out.",
    "targets": "Of every user the last {number} movies are held out for testing and the {number} before those for "
    "validation; a test history includes the latter.",
    "target": "Of every user the last movie is held out for testing and the one before it for validation; a test "
    "history includes the latter.",
}
PARTS = ("train", "validation", "test")
CARD = """---
{metadata}---

# {name}, prepared for sequential recommendation

{source}: histories of {users:,} users, {movies:,} movies and {interactions:,} interactions, split for training and
evaluation. Made by hf-bert4rec.

```python
from datasets import load_dataset

train = load_dataset("{repo_id}", "train", split="train")  # "validation", "test" and "movies" likewise
```

| part | rows | interactions | sha256 of the held-out movies |
|---|---:|---:|---|
{rows}

**Order.** {order}

**Split.** {rule} Every history has at least {shortest} interactions. Figures are comparable where the hash of the
held-out movies is the same.

**Columns.** {columns}

**Licence.** {licence}
"""


def push_dataset(data: Prepared, repo_id: str, *, private: bool = False, redistribute: bool = False) -> str:
    """Publish the splits and movies of a prepared data set, with a card, in one commit; gives its address.

    Each table is a configuration of its own, for their columns differ: `load_dataset(repo_id, "test", split="test")`
    gives `data.splits["test"]` back unchanged.

    Args:
        redistribute: publish data whose licence does not allow it, as far as this package knows: a MovieLens release
            other than ml-latest-small, or a table of your own. That is your decision.

    Raises:
        PermissionError: the data may not be redistributed, or the token is refused.
    """
    check_repo_id(repo_id)
    release = _release_of(data)
    if not redistribute and not (release is not None and release.redistributable):
        licence = release.licence if release else "Whose it is, and what that allows, is not known here."
        raise PermissionError(
            f"{data.name} may not be published by default. {licence} If you may, say so with redistribute=True; "
            "nothing was sent"
        )
    check_token()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / repo_id.split("/")[1]
        write_dataset(data, folder, repo_id)
        return push(folder, repo_id, "dataset", private=private)


def write_dataset(data: Prepared, folder: Path, repo_id: str) -> None:
    """Write what `push_dataset` sends into a new folder: a Parquet file a table, and the card."""
    with whole(folder, f"the tables of {data.name}"):
        (folder / "data").mkdir(parents=True)
        for name, table in _tables(data).items():
            table.to_parquet(folder / "data" / f"{name}.parquet")
        (folder / CARD_FILE).write_text(dataset_card(data, repo_id), encoding="utf-8")


def dataset_card(data: Prepared, repo_id: str) -> str:
    """The card of a prepared data set: counts, order rule, hashes of the splits, columns, licence."""
    release = _release_of(data)
    timed = "timestamps" in data.histories.column_names
    order = (
        "Histories are ordered by time, ties by the row of the source; the sort is stable."
        if timed
        else "Histories are in the order of the source, which has no times."
    )
    source = f"[{release.name}]({HOMEPAGE}), a release of MovieLens by GroupLens" if release else data.name
    lengths = Ragged.from_column(data.histories, "item_ids").lengths
    return CARD.format(
        metadata=_metadata(data, release),
        name=data.name,
        source=source[0].upper() + source[1:] if release is None else source,
        users=len(data.histories),
        movies=len(data.movies),
        interactions=int(lengths.sum()),
        repo_id=repo_id,
        rows="\n".join(_row(data, part) for part in PARTS),
        order=order,
        rule=_rule(data),
        shortest=int(lengths.min()),
        columns="; ".join(
            f"{name}: {', '.join(f'`{column}`' for column in table.column_names)}"
            for name, table in _tables(data).items()
        ),
        licence=f"{release.licence}\n\n{CITATION}" if release else "That of its owner.",
    )


def _rule(data: Prepared) -> str:
    """How the split was made, as its columns tell."""
    test = data.splits["test"]
    number = len(test[0]["targets"]) if "targets" in test.column_names else 1
    return next(rule for column, rule in RULES.items() if column in test.column_names).format(number=number)


def _release_of(data: Prepared) -> Release | None:
    return RELEASES.get(data.name.removesuffix(".txt"))


def _tables(data: Prepared) -> dict[str, Dataset]:
    return {**{part: data.splits[part] for part in PARTS}, "movies": data.movies}


def _row(data: Prepared, part: str) -> str:
    rows = data.splits[part]
    known = int(Ragged.from_column(rows, "item_ids").lengths.sum())
    digest = f"`{target_hash(rows)}`" if part != "train" else ""
    return f"| {part} | {len(rows):,} | {known:,} | {digest} |"


def _metadata(data: Prepared, release: Release | None) -> str:
    found: dict[str, Any] = {"tags": ["recommendation", "sequential-recommendation", "hf-bert4rec"]}
    if release is not None:
        found["tags"].append("movielens")
        found |= {"license": "other", "license_name": "movielens-terms-of-use", "license_link": HOMEPAGE}
    found["configs"] = [
        {"config_name": name, "data_files": [{"split": name, "path": f"data/{name}.parquet"}]}
        | ({"default": True} if name == "train" else {})
        for name in _tables(data)
    ]
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
