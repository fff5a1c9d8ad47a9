"""A data set that is ready for training and evaluation: in memory, or in a folder that is memory-mapped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetDict

from ..model.tokenization_bert4rec import Bert4RecTokenizer
from .arguments import DataArguments
from .encoding import NextItemDataset, encode_indices
from .histories import LISTS
from .leakage import late_training_error, leakage_error, target_hash
from .ragged import Array, BoolArray, IntArray, Ragged, Rows
from .releases import Release
from .splits import ABSENT, HELD_OUT, split_datasets
from .stored_histories import SplitHistories
from .tables import to_dataset, to_frame
from .user_split import first_by_hash

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set: the catalogue's movies, the histories with their split, and the tokenizer.

    Histories are read as input ids. Those of a folder stay on disk: `blocks`, `rows` and `take` of the returned `Rows`
    load parts of them. The tables of the datasets library are made in memory when they are first used.
    """

    name: str
    movies: Dataset  # its rows are the items of the histories
    split: SplitHistories
    tokenizer: Bert4RecTokenizer
    event_names: Sequence[str] = ()  # of the histories
    release: Release | None = None  # of MovieLens; None for a custom table

    def with_held_out_users(self, share: float) -> PreparedData:
        """The same data with a share of the users held out; ValueError if a part is empty."""
        split = replace(self.split, arguments=replace(self.split.arguments, held_out_users=share))
        _ = split.lengths  # raises ValueError for an empty part
        return replace(self, split=split)

    @property
    def liked_rating(self) -> float:
        """The lowest rating of a like."""
        return self.split.arguments.liked_rating

    @property
    def exclude_seen(self) -> bool:
        """Whether items of a history are never recommended."""
        return self.split.arguments.repeats != "all"

    @property
    def timed(self) -> bool:
        """Whether histories have times."""
        return self.split.histories.has("timestamps")

    @property
    def rated(self) -> bool:
        """Whether there are ratings that separate likes from other interactions."""
        return self.split.histories.has("ratings")

    @property
    def holds_out_users(self) -> bool:
        """Whether there are new users, who are in no part of the split."""
        return bool(self.split.arguments.held_out_users)

    @property
    def history_lengths(self) -> IntArray:
        """Interactions of every user who is not held out, (users,)."""
        return self.split.histories.lengths[self.split.users["training"]]

    @cached_property
    def histories(self) -> Dataset:
        """The histories of users who are not held out, as `build_histories` returns them."""
        return self._table(self.split.users["training"])

    @cached_property
    def split_tables(self) -> DatasetDict:
        """`DatasetDict{train, validation, test}` of `histories`."""
        return split_datasets(self._table(np.arange(len(self.split.histories.lengths))), self.split.lengths)

    @cached_property
    def train(self) -> Rows:
        """Training histories as input ids, one row per user."""
        return self.timed_train.without("timestamps")

    @cached_property
    def timed_train(self) -> Rows:
        """`train` with times, if there are any."""
        return self._part("train", timed=True)

    @cached_property
    def train_liked(self) -> BoolArray:
        """Whether each interaction of `train` is a like, (total,); events that are context only are not."""
        liked = np.concatenate([self._liked(block) for block in self._part("train", rated=True).blocks()])
        if self.rated and not liked.any():
            logger.warning("no rating is a like, %g or more: give the lowest one by --liked_rating", self.liked_rating)
        return liked

    def train_likes(self) -> Rows:
        """The likes of the training histories."""
        return self._part("train", rated=True).map(self._likes)

    def new_user_likes(self, part: str, limit: int) -> tuple[pl.Series, Ragged]:
        """Ids of users held out for `part`, (users,), and their likes; of more than `limit` users those by hash.

        Likes are input ids, all interactions where there are no ratings; a row may be empty.
        """
        stored, users = self.split.histories, self.split.users[part]
        users = users[first_by_hash(stored.user_ids.gather(users), limit)]
        histories = self._first_items(users, stored.lengths, rated=True)
        return stored.user_ids.gather(users), self._likes(histories.rows(0, len(users)))

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        """The histories and targets of the validation or test split, with times if `timed`."""
        histories, positions = self._part(split, timed), self.split.target_positions(split)
        users, number = positions.shape
        targets = self._encode(self.split.histories.entries(positions.ravel(), ["events"]))
        if "event_ids" in targets.columns:
            histories = histories.with_queries(event_ids=targets.columns["event_ids"][::number])
        return NextItemDataset(histories, Ragged(targets.values, np.arange(users + 1) * number))

    def complete_histories(self, timed: bool = False) -> Rows:
        """All interactions of the users who are not held out, as input ids, with times if `timed`."""
        return self._first_items(self.split.users["training"], self.split.histories.lengths, timed)

    def known_interactions(self, part: str, timed: bool = False) -> Rows:
        """All interactions that precede the targets of `part`, input ids, one row per user.

        With a temporal split these are all interactions before the cut; otherwise the histories of `part`, and the
        training rows of all other users. With their times if `timed`.
        """
        known = self.split.lengths.known[part]
        return self._first_items(np.flatnonzero(known != ABSENT), known, timed)

    def target_times(self, part: str) -> Array:
        """The time of every row's first target, (rows,), where there are times."""
        first = self.split.target_positions(part)[:, 0]
        return self.split.histories.entries(first, ["timestamps"]).columns["timestamps"]

    def target_hash(self, part: str) -> str:
        """`leakage.target_hash` of validation or test."""
        return target_hash(self.split.targets(part, self._item_ids))

    def check_training(self, options: DataArguments) -> None:
        """Raise LeakageError if the training part of a split by `options` has a target of this one."""
        stored, lengths = self.split.histories, self.split.lengths
        train = self.split.lengths_by(options).train
        more = {"last-n": f" --targets {options.targets}", "temporal": f" --quantile {options.quantile}"}
        trained = f"--split {options.split}{more.get(options.split, '')}"
        fix = f"The model was trained with {trained}: evaluate it with the same, or train it with this split."
        for part, cut in zip(HELD_OUT, lengths.cuts, strict=True):
            users, positions = lengths.users(part), self.split.target_positions(part)
            leaked = lengths.targets[part][users] < train[users, None]  # (users of the part, targets)
            if leaked.any():
                first = int(leaked.any(1).argmax())
                items = stored.entries(positions[first][leaked[first]]).values
                item, user = self._item_ids.gather(items).min(), stored.user_ids[int(users[first])]
                where = "the same user's training history"
                raise leakage_error(int(leaked.sum()), leaked.size, f"{part} target", where, item, user, fix)
            late = np.flatnonzero(train > lengths.known[part])
            if cut is not None and len(late):
                last = stored.entries(stored.starts[late] + train[late] - 1, ["timestamps"])
                raise late_training_error(last.columns["timestamps"].max(), part, cut, fix)

    def _liked(self, histories: Ragged) -> BoolArray:
        """Whether each interaction of histories with ratings is a like, (total,)."""
        liked = np.ones(len(histories.values), dtype=bool)
        if "ratings" in histories.columns:
            liked &= histories.columns["ratings"] >= np.float32(self.liked_rating)
        if "label_weights" in histories.columns:
            liked &= histories.columns["label_weights"] > 0
        return liked

    def _likes(self, histories: Ragged) -> Ragged:
        return histories.where(self._liked(histories)).without("ratings")

    def _part(self, part: str, timed: bool = False, rated: bool = False) -> Rows:
        lengths = self.split.lengths
        return self._first_items(lengths.users(part), lengths.lengths(part), timed, rated)

    def _first_items(self, users: IntArray, lengths: IntArray, timed: bool = False, rated: bool = False) -> Rows:
        """The first `lengths`, (all users,), items of `users` as input ids; times if `timed`, ratings if `rated`."""
        columns = ["events", "weights", *(["timestamps"] if timed else []), *(["ratings"] if rated else [])]
        return self.split.histories.rows(users, lengths[users], columns).map(self._encode)

    @cached_property
    def _encode(self) -> Callable[[Ragged], Ragged]:
        input_ids = np.array(self.tokenizer.encode_items(self._item_ids.to_list()), dtype=np.int64)
        event_ids = np.array(self.tokenizer.encode_events([*self.event_names]), dtype=np.int64)
        targets = len(self.tokenizer.target_events)
        return partial(encode_indices, input_ids=input_ids, event_ids=event_ids, num_target_events=targets)

    @cached_property
    def _item_ids(self) -> pl.Series:
        return to_frame(self.movies, ["movie_id"])["movie_id"]

    def _table(self, users: IntArray) -> Dataset:
        """Histories with item ids, as `build_histories` returns them, of these users."""
        stored = self.split.histories
        rows = stored.rows(users, stored.lengths[users], [*LISTS.values()]).rows(0, len(users))
        items = self._item_ids.gather(rows.values).to_arrow()
        columns: dict[str, Any] = {"user_id": stored.user_ids.gather(users).to_arrow()}
        columns["item_ids"] = pa.LargeListArray.from_arrays(rows.offsets, items)
        for name, numbers in rows.columns.items():
            values = pa.array(self.event_names).take(pa.array(numbers)) if name == "events" else pa.array(numbers)
            columns[name] = pa.LargeListArray.from_arrays(rows.offsets, values)
        return to_dataset(pl.DataFrame(pa.table(columns)))


def build_tokenizer(
    movies: Dataset, counts: Sequence[int], id_name: str, event_names: Sequence[str], arguments: DataArguments
) -> Bert4RecTokenizer:
    """The tokenizer of a data set; `counts` (items,) are those of `movies` in the training histories."""
    return Bert4RecTokenizer.from_movies(
        movies,
        dict(zip(movies["movie_id"], counts, strict=True)),
        item_id_name=id_name,
        event_names=[*event_names],
        num_target_events=len(arguments.target_events or []),
    )
