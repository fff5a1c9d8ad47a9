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
from ..histories import LISTS
from ..prepared import Prepared
from ..ragged import IntArray, Ragged
from ..splits import split_histories
from ..tables import to_dataset, to_frame
from ..user_split import held_out_masks
from .mapped_histories import Column, MappedHistories, Product, ShardedArray
from .prepared_folder import PreparedFolder, open_folder
from .stored_histories import part_histories, target_positions


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
                to_dataset(items),
                counts,
                item_id_name=folder.manifest["item_id_name"],
                event_names=folder.manifest["event_names"],
                num_target_events=len(folder.options["target_events"] or []),
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
        names = {"item_ids": "movie_id", "ratings": "rating", **{many: single for single, many in LISTS.items()}}
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
        return split_histories(self.histories, DataArguments(ratings=str(self.folder.path), **self.folder.options))

    @property
    def rated(self) -> bool:
        return self.folder.histories.array("ratings") is not None

    @cached_property
    def train_liked(self) -> npt.NDArray[np.bool_]:
        train, ratings = self._part("train"), self.folder.histories.array("ratings")
        positions = train.positions()
        liked = np.ones(len(positions), dtype=bool)
        if ratings is not None:
            liked = ratings.take(positions) >= np.float32(self.liked_rating)
        return liked & (train.columns.get("label_weights", np.ones(1)) > 0)

    @cached_property
    def train(self) -> Ragged:
        return self._part("train")

    @cached_property
    def timed_train(self) -> Ragged:
        return self._part("train", timed=True)

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        stored, histories = self.folder.histories, self._part(split, timed)
        positions = target_positions(stored, self.folder.splits, split)
        targets = self._input_ids[stored.items.take(positions.ravel())]
        if (events := stored.array("events")) is not None:
            histories = histories.with_queries(event_ids=self._event_ids[events.take(positions[:, 0])])
        return NextItemDataset(histories, Ragged(targets, np.arange(len(positions) + 1) * positions.shape[1]))

    def all_histories(self, timed: bool = False) -> MappedHistories:
        """The complete histories of all users as input ids, also of those who are held out."""
        stored = self.folder.histories
        return stored.first_items(slice(None), stored.lengths, self._input_ids, self._columns(timed))

    @cached_property
    def _input_ids(self) -> IntArray:
        """The input id of every row of the item table, (items,)."""
        return np.array(self.tokenizer.encode_items(self.folder.items["movie_id"].to_list()), dtype=np.int64)

    def _part(self, part: str, timed: bool = False) -> MappedHistories:
        return part_histories(self.folder.histories, self.folder.splits, part, self._input_ids, self._columns(timed))

    @cached_property
    def _event_ids(self) -> IntArray:
        """The model's number of every kind of event of the folder, (kinds,)."""
        return np.array(self.tokenizer.encode_events(self.folder.manifest["event_names"]), dtype=np.int64)

    def _columns(self, timed: bool) -> dict[str, Column]:
        """The columns of histories that `encode_histories` gives."""
        stored = self.folder.histories
        columns: dict[str, Column] = {}
        if (weights := stored.array("weights")) is not None:
            columns["label_weights"] = weights
        if (events := stored.array("events")) is not None:
            columns["event_ids"] = ShardedArray(events.parts, self._event_ids)
            are_targets = (self._event_ids < len(self.tokenizer.target_events)).astype(np.float32)
            labels: Column = ShardedArray(events.parts, are_targets)
            columns["label_weights"] = labels if weights is None else Product(weights, labels)
        if timed and (times := stored.array("timestamps")) is not None:
            columns["timestamps"] = ShardedArray(times.parts, dtype=np.int64)
        return columns

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
        for name in [*LISTS.values(), *(["ratings"] if with_ratings else [])]:
            if (array := stored.array(name)) is not None:
                values = pa.array(array.take(positions))
                if name == "events":
                    values = pa.array(self.folder.manifest["event_names"]).take(values)
                columns[name] = pa.LargeListArray.from_arrays(offsets, values)
        return to_dataset(pl.DataFrame(pa.table(columns)))
