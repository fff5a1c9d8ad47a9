"""A data set that is ready for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from datasets import Dataset, DatasetDict, concatenate_datasets

from ..model.tokenization_bert4rec import Bert4RecTokenizer
from .arguments import DataArguments
from .encoding import NextItemDataset, add_times, encode_histories, encode_targets
from .leakage import check_leakage, target_hash, target_times
from .ragged import Array, BoolArray, IntArray, Ragged, Rows, labels_of
from .releases import Release
from .splits import TARGET_COLUMNS, split_histories
from .tables import to_frame
from .user_split import first_by_hash, hold_out_users


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: the catalogue's movies, ratings, histories, their split, and the tokenizer.

    `new_users` is `DatasetDict{validation, test}`, the histories of users who are in neither `histories` nor `splits`;
    None unless `held_out_users` is set.
    """

    name: str
    movies: Dataset
    ratings: Dataset
    histories: Dataset
    splits: DatasetDict
    tokenizer: Bert4RecTokenizer
    release: Release | None = None  # of MovieLens; None for a table of the user's own
    exclude_seen: bool = True  # whether items of a history are never recommended
    new_users: DatasetDict | None = None
    liked_rating: float = 4.0

    def with_tokenizer(self, tokenizer: Bert4RecTokenizer) -> Prepared:
        """The same data for another tokenizer of the same catalogue."""
        return replace(self, tokenizer=tokenizer)

    def with_held_out_users(self, share: float, options: DataArguments) -> Prepared:
        """The same data, split by `options`, with a share of the users held out; ValueError if a part is empty."""
        histories, new_users = hold_out_users(self.histories, share)
        return replace(self, histories=histories, splits=split_histories(histories, options), new_users=new_users)

    @property
    def timed(self) -> bool:
        """Whether histories have times."""
        return "timestamps" in self.histories.column_names

    @property
    def holds_out_users(self) -> bool:
        """Whether there are `new_users`."""
        return self.new_users is not None

    @cached_property
    def history_lengths(self) -> IntArray:
        """Interactions of every user who is not held out, (users,)."""
        return Ragged.from_column(self.histories, "item_ids").lengths

    @property
    def rated(self) -> bool:
        """Whether there are ratings that separate likes from other interactions."""
        return "rating" in self.ratings.column_names

    @cached_property
    def train_liked(self) -> BoolArray:
        """Whether each interaction of `train` is a like, (total,); events of kinds that are context are not."""
        liked = liked_mask(self.splits["train"], self.ratings, self.liked_rating)
        return liked & (self.train.columns.get("label_weights", np.ones(1)) > 0)

    def train_likes(self) -> Rows:
        """The likes of the training histories."""
        return self.train.where(self.train_liked)

    def new_user_likes(self, part: str, limit: int) -> tuple[pl.Series, Ragged]:
        """Ids of users held out for `part`, (users,), and their likes; of more than `limit` users those by hash.

        Likes are input ids, all interactions where there are no ratings; a row may be empty.
        """
        assert self.new_users is not None
        users = to_frame(self.new_users[part], ["user_id"])["user_id"]
        chosen = first_by_hash(users, limit)
        histories = self.new_users[part].select(chosen)
        liked = liked_mask(histories, self.ratings, self.liked_rating)
        return users.gather(chosen), labels_of(encode_histories(histories, self.tokenizer).where(liked))

    @cached_property
    def train(self) -> Ragged:
        """Training histories as input ids, one row per user."""
        return encode_histories(self.splits["train"], self.tokenizer)

    @cached_property
    def timed_train(self) -> Ragged:
        """`train` with times, if there are any."""
        return add_times(self.train, self.splits["train"])

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        """The histories and targets of the validation or test split, with times if `timed`."""
        rows = self.splits[split]
        return NextItemDataset(encode_histories(rows, self.tokenizer, timed), encode_targets(rows, self.tokenizer))

    def complete_histories(self, timed: bool = False) -> Ragged:
        """All interactions of the users who are not held out, as input ids, with times if `timed`."""
        return encode_histories(self.histories, self.tokenizer, timed)

    def known_interactions(self, part: str, timed: bool = False) -> Ragged:
        """All interactions that precede the targets of `part`, input ids, one row per user.

        With a temporal split these are all interactions before the cut; otherwise the histories of `part`, and the
        training rows of all other users. With their times if `timed`.
        """
        rows, train = self.splits[part], self.splits["train"]
        if "cut" in rows.column_names:
            histories = self.complete_histories(timed)
            early = histories.where(Ragged.from_column(self.histories, "timestamps").values < rows[0]["cut"])
            return early.take(np.flatnonzero(early.lengths))
        evaluated = np.isin(np.asarray(train["user_id"]), np.asarray(rows["user_id"]))
        columns = [name for name in TARGET_COLUMNS if name in rows.column_names]
        others = train.select(np.flatnonzero(~evaluated)).select_columns(columns)
        known = encode_histories(concatenate_datasets([rows.select_columns(columns), others]), self.tokenizer, timed)
        in_order = np.argsort(np.argsort(~evaluated, kind="stable"))  # as the users are in the training part
        return known if evaluated.all() else known.take(in_order)

    def target_times(self, part: str) -> Array | None:
        """The time of every row's first target, (rows,); None without times."""
        return target_times(self.splits[part])

    def target_hash(self, part: str) -> str:
        """`leakage.target_hash` of validation or test."""
        return target_hash(self.splits[part])

    def check_training(self, options: DataArguments) -> None:
        """Raise LeakageError if the training part of a split by `options` has a target of this one."""
        train = split_histories(self.histories, options)["train"]
        check_leakage(DatasetDict(self.splits | {"train": train}), repeats=not self.exclude_seen)


def liked_mask(histories: Dataset, ratings: Dataset, liked_rating: float) -> BoolArray:
    """Whether each interaction of the histories, (total,), is rated `liked_rating` or more.

    Without ratings all are. The first of several ratings of an item counts.
    """
    pairs = to_frame(histories, ["user_id", "item_ids"]).explode("item_ids").rename({"item_ids": "movie_id"})
    if "rating" not in ratings.column_names:
        return np.ones(pairs.height, dtype=bool)
    rated = to_frame(ratings, ["user_id", "movie_id", "rating"]).cast(dict(pairs.schema))  # type: ignore[arg-type]
    rated = rated.unique(["user_id", "movie_id"], keep="first", maintain_order=True)
    joined = pairs.join(rated, on=["user_id", "movie_id"], how="left", maintain_order="left")
    return (joined["rating"] >= liked_rating).fill_null(False).to_numpy()
