"""The users of a table to recommend to, with what they have seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..data.arguments import DataArguments
from ..data.encoding import encode_histories
from ..data.folder.prepared_folder import is_prepared, open_folder, read_manifest
from ..data.histories import build_histories
from ..data.prepare import check_options, load
from ..data.ragged import Ragged, Rows, seen_items
from ..data.tables import to_dataset
from ..model.tokenization_bert4rec import Bert4RecTokenizer

logger = logging.getLogger(__name__)

UNFILTERED: dict[str, Any] = {"min_interactions": 1, "min_rating": None, "repeats": "all"}
# Ids of the users, their histories, and the ratings of the interactions, (total,), where they are known and needed.
RatedHistories: TypeAlias = tuple[pa.Array, Rows, npt.NDArray[np.float32] | None]


@dataclass(frozen=True)
class Users:
    """Users to recommend to, one row each, as input ids of items in the model's catalogue, oldest first.

    `liked` is the model's input, with times if it uses them. `seen`, not recommended, adds items below `min_rating`.
    """

    user_ids: pa.Array
    liked: Rows
    seen: Rows

    def __len__(self) -> int:
        return len(self.user_ids)

    def rows(self, start: int, stop: int) -> Users:
        return Users(self.user_ids[start:stop], self.liked.rows(start, stop), self.seen.rows(start, stop))


def read_users(
    data: DataArguments, tokenizer: Bert4RecTokenizer, timed: bool = False, exclude_seen: bool = True
) -> Users:
    """Every user of a table with all interactions, in the order of time, then of rows.

    `min_interactions` and repeats are not filtered. Interactions rated below `min_rating` are seen, not liked; those
    without a rating are liked. Items outside the model's catalogue are left out, with a warning. Without `exclude_seen`
    nothing counts as seen. A folder of `prepare_folder` is memory-mapped; a warning names filters of its preparation.
    """
    read = _read_folder if is_prepared(data.ratings) else _read_table
    user_ids, histories, ratings = read(data, tokenizer, timed)
    unknown = tokenizer.unk_token_id
    if data.min_rating is None and all((block.values != unknown).all() for block in histories.blocks()):
        return Users(user_ids, histories, seen_items(histories, exclude_seen))
    everything = histories.rows(0, len(histories))
    known = everything.values != unknown  # (interactions,)
    liked = known
    if data.min_rating is not None and ratings is not None:
        liked = known & ~(ratings < np.float32(data.min_rating))
    elif data.min_rating is not None:
        logger.warning("the table has no ratings: min_rating %g is not applied", data.min_rating)
    if not known.all():
        logger.warning(
            "%d of %d interactions are with items outside the model's catalogue; %d users have nothing else and get "
            "popular movies%s",
            (~known).sum(),
            len(known),
            len(user_ids) - len(np.unique(everything.row_ids[known])),
            "" if known.any() else "; none is known: was the model trained on another data set?",
        )
    return Users(user_ids, everything.where(liked), seen_items(everything.where(known), exclude_seen))


def _read_table(data: DataArguments, tokenizer: Bert4RecTokenizer, timed: bool) -> RatedHistories:
    rows = build_histories(load(data)["ratings"], **UNFILTERED, with_ratings=True)
    ratings = Ragged.from_column(rows, "ratings").values if "ratings" in rows.column_names else None  # float32
    user_ids = rows.with_format("arrow")[:]["user_id"].combine_chunks()
    return user_ids, encode_histories(rows, tokenizer, timed), ratings


def _read_folder(data: DataArguments, tokenizer: Bert4RecTokenizer, timed: bool) -> RatedHistories:
    assert data.ratings is not None
    manifest = read_manifest(Path(data.ratings))
    check_options(data, manifest, ["event_column"])
    if filters := [
        f"{name} {value}" for name, value in manifest["options"].items() if UNFILTERED.get(name, value) != value
    ]:
        logger.warning(
            "%s was prepared with %s: users and items without enough interactions are missing, and the histories are "
            "shorter. Prepare the table with --min_interactions 1 --repeats all to answer everyone",
            data.ratings,
            ", ".join(filters),
        )
    everyone = open_folder(data.ratings, replace(data, held_out_users=0.0), tokenizer)
    stored, histories, ratings = everyone.split.histories, everyone.complete_histories(timed), None
    if data.min_rating is not None:
        rated = stored.rows(np.arange(len(histories)), histories.lengths, ["ratings"])
        ratings = rated.rows(0, len(rated)).columns.get("ratings")
    user_ids = to_dataset(stored.user_ids.to_frame()).with_format("arrow")[:]["user_id"].combine_chunks()
    return user_ids, histories, ratings
