"""`Prepared` on a folder that `prepare_folder` wrote: training reads it memory-mapped."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetDict

from ...model.tokenization_bert4rec import Bert4RecTokenizer
from ..arguments import DataArguments
from ..encoding import NextItemDataset
from ..prepared import Prepared
from ..ragged import IntArray, Ragged
from ..splits import split_histories
from ..tables import to_dataset, to_frame
from ..user_split import held_out_masks
from .mapped_histories import MappedHistories
from .prepared_folder import PreparedFolder, open_folder
from .stored_histories import part_histories, part_targets


def open_data(arguments: DataArguments) -> MappedData:
    """Open the folder that `arguments.ratings` names; ValueError if it is damaged or has other options."""
    assert arguments.ratings is not None
    folder = open_folder(arguments.ratings)
    used = {"last-n": {"targets"}, "temporal": {"quantile"}}.get(arguments.split, set())
    without_effect = {"targets", "quantile"} - used
    different = [
        f"{name} is {getattr(arguments, name)}, and the folder was prepared with {value}"
        for name, value in folder.options.items()
        if getattr(arguments, name) != value and name not in without_effect
    ]
    if different:
        raise ValueError(
            f"{folder.path}: {'; '.join(different)}. Use its options, or prepare the table again with these"
        )
    if named := [name for name in ("event_column", "weight_column") if getattr(arguments, name)]:
        raise ValueError(f"{named[0]}: {folder.path} has no kinds of events and weights; train on the table itself")
    if arguments.items is not None:
        raise ValueError(f"{folder.path} has its own table of items: leave out items, or prepare the table with it")
    return MappedData(folder, arguments.liked_rating)


class MappedData(Prepared):
    """A data set in a folder. The tables of the datasets library are made in memory when they are first used."""

    def __init__(self, folder: PreparedFolder, liked_rating: float, tokenizer: Bert4RecTokenizer | None = None) -> None:
        if tokenizer is None:
            items = folder.items.select("movie_id", "title", "year", "genres")
            counts = dict(zip(folder.items["movie_id"].to_list(), folder.items["count"].to_list(), strict=True))
            tokenizer = Bert4RecTokenizer.from_movies(
                to_dataset(items), counts, item_id_name=folder.manifest["item_id_name"]
            )
        self.__dict__.update(
            folder=folder,
            name=folder.manifest["name"],
            tokenizer=tokenizer,
            custom=True,
            exclude_seen=folder.options["repeats"] != "all",
            liked_rating=liked_rating,
        )

    folder: PreparedFolder

    def with_tokenizer(self, tokenizer: Bert4RecTokenizer) -> MappedData:
        return MappedData(self.folder, self.liked_rating, tokenizer)

    @cached_property
    def movies(self) -> Dataset:
        return to_dataset(self.folder.items.select("movie_id", "title", "year", "genres"))

    @cached_property
    def ratings(self) -> Dataset:
        """The interactions of the histories; rows that the filters dropped are not in the folder."""
        histories = self._tables(np.arange(len(self.folder.histories.lengths)), with_ratings=True)
        names = {"item_ids": "movie_id", "timestamps": "timestamp", "ratings": "rating"}
        names = {name: single for name, single in names.items() if name in histories.column_names}
        return to_dataset(to_frame(histories).explode(list(names)).rename(names))

    @cached_property
    def histories(self) -> Dataset:
        return self._tables(np.flatnonzero(self._users_of("training")))

    @cached_property
    def new_users(self) -> DatasetDict | None:
        if not self.folder.options["held_out_users"]:
            return None
        return DatasetDict(
            {part: self._tables(np.flatnonzero(self._users_of(part))) for part in ("validation", "test")}
        )

    @cached_property
    def splits(self) -> DatasetDict:
        return split_histories(self.histories, DataArguments(**self.folder.options))

    @property
    def rated(self) -> bool:
        return self.folder.histories.array("ratings") is not None

    @cached_property
    def train_liked(self) -> npt.NDArray[np.bool_]:
        train, ratings = self._part("train"), self.folder.histories.array("ratings")
        if ratings is None:
            return np.ones(int(train.lengths.sum()), dtype=bool)
        return ratings.take(train.positions()) >= np.float32(self.liked_rating)

    @cached_property
    def train(self) -> Ragged:
        return self._part("train")

    @cached_property
    def timed_train(self) -> Ragged:
        return self._part("train", timed=True)

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        folder = self.folder
        targets = self._input_ids[part_targets(folder.histories, folder.splits, split)]
        ends = np.arange(len(targets) // folder.splits.targets + 1) * folder.splits.targets
        return NextItemDataset(self._part(split, timed), Ragged(targets, ends))

    def all_histories(self, timed: bool = False) -> MappedHistories:
        """The complete histories of all users as input ids, also of those who are held out."""
        stored = self.folder.histories
        return stored.first_items(slice(None), stored.lengths, self._input_ids, timed)

    @cached_property
    def _input_ids(self) -> IntArray:
        """The input id of every row of the item table, (items,)."""
        return np.array(self.tokenizer.encode_items(self.folder.items["movie_id"].to_list()), dtype=np.int64)

    def _part(self, part: str, timed: bool = False) -> MappedHistories:
        return part_histories(self.folder.histories, self.folder.splits, part, self._input_ids, timed)

    def _users_of(self, part: str) -> npt.NDArray[np.bool_]:
        return held_out_masks(self.folder.histories.user_ids, self.folder.options["held_out_users"])[part]

    def _tables(self, rows: IntArray, with_ratings: bool = False) -> Dataset:
        """Histories with item ids, as `build_histories` returns them, of these users."""
        stored = self.folder.histories
        mapped = stored.first_items(rows, stored.lengths[rows])
        positions, offsets = mapped.positions(), mapped.offsets
        items = self.folder.items["movie_id"].gather(stored.items.take(positions))
        columns: dict[str, Any] = {"user_id": stored.user_ids.gather(rows).to_arrow()}
        columns["item_ids"] = pa.LargeListArray.from_arrays(offsets, items.to_arrow())
        for name in ("timestamps", "ratings") if with_ratings else ("timestamps",):
            if (array := stored.array(name)) is not None:
                columns[name] = pa.LargeListArray.from_arrays(offsets, pa.array(array.take(positions)))
        return to_dataset(pl.DataFrame(pa.table(columns)))
