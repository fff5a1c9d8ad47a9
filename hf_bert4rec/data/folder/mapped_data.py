"""`Prepared` on a folder that `prepare_folder` wrote: training reads it memory-mapped."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
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
from ..leakage import late_training_error, leakage_error
from ..prepared import Prepared
from ..ragged import Array, BoolArray, IntArray, Ragged, Rows, TransformedRows
from ..splits import ABSENT, HELD_OUT, SPLIT_OPTIONS, split_histories
from ..tables import to_dataset, to_frame
from ..user_split import first_by_hash, held_out_masks
from .mapped_histories import MappedHistories, ShardedArray
from .prepared_folder import PreparedFolder, open_folder
from .stored_histories import compute_splits, target_positions


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
            tokenizer = Bert4RecTokenizer.from_movies(
                to_dataset(folder.items.drop("count")),
                dict(folder.items.select("movie_id", "count").iter_rows()),
                item_id_name=folder.manifest["item_id_name"],
                event_names=folder.manifest["event_names"],
                num_target_events=len(folder.options["target_events"] or []),
            )
        self.__dict__.update(
            folder=folder,
            name=folder.manifest["name"],
            tokenizer=tokenizer,
            exclude_seen=folder.options["repeats"] != "all",
            liked_rating=liked_rating,
        )

    folder: PreparedFolder

    def with_tokenizer(self, tokenizer: Bert4RecTokenizer) -> MappedData:
        return MappedData(self.folder, self.liked_rating, tokenizer)

    def with_held_out_users(self, share: float, options: DataArguments) -> MappedData:
        """The same folder with a share of the users held out; the folder's own options decide the split."""
        manifest = {**self.folder.manifest, "options": {**self.folder.options, "held_out_users": share}}
        folder = replace(self.folder, manifest=manifest)
        _ = folder.splits  # raises ValueError for an empty part
        return MappedData(folder, self.liked_rating, self.tokenizer)

    @cached_property
    def movies(self) -> Dataset:
        return to_dataset(self.folder.items.drop("count"))

    @cached_property
    def ratings(self) -> Dataset:
        """The interactions of the histories; rows that the filters dropped are not in the folder."""
        histories = self._tables(np.arange(len(self.folder.histories.lengths)), with_ratings=True)
        names = {"item_ids": "movie_id", "ratings": "rating", **{many: single for single, many in LISTS.items()}}
        names = {name: single for name, single in names.items() if name in histories.column_names}
        return to_dataset(to_frame(histories).explode(list(names)).rename(names))

    @cached_property
    def histories(self) -> Dataset:
        return self._tables(self._users_of("training"))

    @cached_property
    def new_users(self) -> DatasetDict | None:
        if not self.holds_out_users:
            return None
        return DatasetDict({part: self._tables(self._users_of(part)) for part in HELD_OUT})

    @cached_property
    def splits(self) -> DatasetDict:
        return split_histories(self.histories, DataArguments(ratings=str(self.folder.path), **self.folder.options))

    @property
    def timed(self) -> bool:
        return self.folder.histories.has("timestamps")

    @property
    def holds_out_users(self) -> bool:
        return bool(self.folder.options["held_out_users"])

    @cached_property
    def history_lengths(self) -> IntArray:
        return self.folder.histories.lengths[self._users_of("training")]

    @property
    def rated(self) -> bool:
        return self.folder.histories.has("ratings")

    @cached_property
    def train_liked(self) -> BoolArray:
        train = self._part("train", rated=True)
        return np.concatenate([self._liked(block) for block in train.blocks()])

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

    def train_likes(self) -> Rows:
        return TransformedRows(self._part("train", rated=True), self._likes)

    def new_user_likes(self, part: str, limit: int) -> tuple[pl.Series, Ragged]:
        stored, rows = self.folder.histories, self._users_of(part)
        rows = rows[first_by_hash(stored.user_ids.gather(rows), limit)]
        histories = self._first_items(rows, stored.lengths, rated=True)
        return stored.user_ids.gather(rows), self._likes(histories.rows(0, len(rows)))

    @cached_property
    def train(self) -> Ragged:
        return self._part("train")

    @cached_property
    def timed_train(self) -> Ragged:
        return self._part("train", timed=True)

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        stored, histories = self.folder.histories, self._part(split, timed)
        positions = self._target_positions(split)
        targets = stored.array("items", convert=self._input_ids.take).take(positions.ravel())
        if stored.has("events"):
            events = stored.array("events", convert=self._event_ids.take)
            histories = histories.with_queries(event_ids=events.take(positions[:, 0]))
        return NextItemDataset(histories, Ragged(targets, np.arange(len(positions) + 1) * positions.shape[1]))

    def all_histories(self, timed: bool = False) -> MappedHistories:
        """The complete histories of all users as input ids, also of those who are held out."""
        return self._first_items(slice(None), self.folder.histories.lengths, timed)

    def complete_histories(self, timed: bool = False) -> MappedHistories:
        return self._first_items(self._users_of("training"), self.folder.histories.lengths, timed)

    def known_interactions(self, part: str, timed: bool = False) -> MappedHistories:
        known = self.folder.splits.known[part]
        return self._first_items(np.flatnonzero(known != ABSENT), known, timed)

    def target_times(self, part: str) -> Array | None:
        if not self.timed:
            return None
        return self.folder.histories.array("timestamps").take(self._target_positions(part)[:, 0])

    def target_hash(self, part: str) -> str:
        return str(self.folder.manifest["splits"][part]["targets_sha256"])

    def check_training(self, options: DataArguments) -> None:
        stored, splits = self.folder.histories, self.folder.splits
        changed = {name: getattr(options, name) for name in SPLIT_OPTIONS}
        train = compute_splits(stored, {**self.folder.options, **changed}).train
        for part, cut in zip(HELD_OUT, splits.cuts, strict=True):
            self._check_training(part, train)
            late = np.flatnonzero(train > np.maximum(splits.known[part], 0))
            if cut is not None and len(late):
                latest = stored.array("timestamps").take(stored.starts[late] + train[late] - 1).max()
                raise late_training_error(latest, part, cut)

    def _check_training(self, part: str, train: IntArray) -> None:
        """Raise LeakageError if a target of a part is among the first `train` items, (users,), of its history."""
        stored, splits = self.folder.histories, self.folder.splits
        users, positions = splits.users(part), self._target_positions(part)
        leaked = splits.targets[part][users] < train[users, None]  # (users of the part, targets)
        if leaked.any():
            first = int(leaked.any(1).argmax())
            items = stored.array("items").take(positions[first][leaked[first]])
            item, user = self.folder.items["movie_id"].gather(items).min(), stored.user_ids[int(users[first])]
            where = "the same user's training history"
            raise leakage_error(int(leaked.sum()), leaked.size, f"{part} target", where, item, user)

    @cached_property
    def _input_ids(self) -> IntArray:
        """The input id of every row of the item table, (items,)."""
        return np.array(self.tokenizer.encode_items(self.folder.items["movie_id"].to_list()), dtype=np.int64)

    def _target_positions(self, part: str) -> IntArray:
        return target_positions(self.folder.histories, self.folder.splits, part)

    def _first_items(
        self, users: IntArray | slice, lengths: IntArray, timed: bool = False, rated: bool = False
    ) -> MappedHistories:
        """The first `lengths`, (all users,), items of `users` as input ids; times if `timed`, ratings if `rated`."""
        stored = self.folder.histories
        items = stored.array("items", convert=self._input_ids.take)
        return MappedHistories(items, stored.starts[users], lengths[users], self._columns(timed, rated))

    def _part(self, part: str, timed: bool = False, rated: bool = False) -> MappedHistories:
        splits = self.folder.splits
        return self._first_items(splits.users(part), splits.lengths(part), timed, rated)

    @cached_property
    def _event_ids(self) -> IntArray:
        """The model's number of every kind of event of the folder, (kinds,)."""
        return np.array(self.tokenizer.encode_events(self.folder.manifest["event_names"]), dtype=np.int64)

    def _columns(self, timed: bool, rated: bool) -> dict[str, ShardedArray]:
        """The columns of histories that `encode_histories` gives, and ratings if `rated`."""
        stored, columns = self.folder.histories, {}
        weights = ["weights"] if stored.has("weights") else []
        if stored.has("events"):
            columns["event_ids"] = stored.array("events", convert=self._event_ids.take)
            are_targets = (self._event_ids < len(self.tokenizer.target_events)).astype(np.float32)
            columns["label_weights"] = stored.array("events", *weights, convert=partial(_label_weights, are_targets))
        elif weights:
            columns["label_weights"] = stored.array("weights")
        if timed and self.timed:
            columns["timestamps"] = stored.array("timestamps", convert=partial(np.asarray, dtype=np.int64))
        if rated and self.rated:
            columns["ratings"] = stored.array("ratings")
        return columns

    def _users_of(self, part: str) -> IntArray:
        masks = held_out_masks(self.folder.histories.user_ids, self.folder.options["held_out_users"])
        return np.flatnonzero(masks[part])

    def _tables(self, rows: IntArray, with_ratings: bool = False) -> Dataset:
        """Histories with item ids, as `build_histories` returns them, of these users."""
        stored = self.folder.histories
        mapped = MappedHistories(stored.array("items"), stored.starts[rows], stored.lengths[rows])
        positions, offsets = mapped.positions(), mapped.offsets
        items = self.folder.items["movie_id"].gather(mapped.values)
        columns: dict[str, Any] = {"user_id": stored.user_ids.gather(rows).to_arrow()}
        columns["item_ids"] = pa.LargeListArray.from_arrays(offsets, items.to_arrow())
        for name in [*LISTS.values(), *(["ratings"] if with_ratings else [])]:
            if stored.has(name):
                values = pa.array(stored.array(name).take(positions))
                if name == "events":
                    values = pa.array(self.folder.manifest["event_names"]).take(values)
                columns[name] = pa.LargeListArray.from_arrays(offsets, values)
        return to_dataset(pl.DataFrame(pa.table(columns)))


def _label_weights(are_targets: npt.NDArray[np.float32], events: IntArray, weights: Any = 1) -> npt.NDArray[np.float32]:
    """Weights in the loss, 0 where the kind of event is false in `are_targets` (kinds,); (n,) all."""
    return weights * are_targets.take(events)
