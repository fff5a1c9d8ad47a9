"""A data set that is ready for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetDict

from ..model.tokenization_bert4rec import Bert4RecTokenizer
from .encoding import NextItemDataset, add_times, encode_histories, encode_targets
from .ragged import Ragged, labels_of
from .tables import to_frame


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
    custom: bool = False  # a table of the user's own, not a MovieLens release
    exclude_seen: bool = True  # whether items of a history are never recommended
    new_users: DatasetDict | None = None
    liked_rating: float = 4.0

    def with_tokenizer(self, tokenizer: Bert4RecTokenizer) -> Prepared:
        """The same data for another tokenizer of the same catalogue."""
        return replace(self, tokenizer=tokenizer)

    def with_changes(self, **changes: Any) -> Prepared:
        """The same data in memory, with other values of these fields."""
        return Prepared(**{entry.name: getattr(self, entry.name) for entry in fields(Prepared)} | changes)

    @property
    def rated(self) -> bool:
        """Whether there are ratings that separate likes from other interactions."""
        return "rating" in self.ratings.column_names

    @cached_property
    def train_liked(self) -> npt.NDArray[np.bool_]:
        """Whether each interaction of `train` is a like, (total,); events of kinds that are context are not."""
        liked = liked_mask(self.splits["train"], self.ratings, self.liked_rating)
        return liked & (self.train.columns.get("label_weights", np.ones(1)) > 0)

    def likes(self, histories: Dataset) -> Ragged:
        """The likes of every history as input ids, all interactions where there are no ratings; a row may be empty."""
        encoded = encode_histories(histories, self.tokenizer)
        return labels_of(encoded.where(liked_mask(histories, self.ratings, self.liked_rating)))

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


def liked_mask(histories: Dataset, ratings: Dataset, liked_rating: float) -> npt.NDArray[np.bool_]:
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
