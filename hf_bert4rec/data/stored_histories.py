"""Histories as columns of numbers, in memory or in Arrow files that are memory-mapped, and their split.

docs/large_data.md describes the folder of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset

from .arguments import DataArguments
from .ragged import Array, IntArray, LazyRows, Ragged, Rows, codes_with_events, flat_column, offsets_of, repeated_rows
from .splits import SplitLengths, split_lengths
from .tables import to_dataset, to_frame
from .transitions import item_counts
from .user_split import held_out_users

ITEMS, SHARD, SHARDS = "items.parquet", "histories-{:05}.arrow", "histories-*.arrow"
COLUMNS = ("items", "timestamps", "ratings", "events", "weights")  # lists of a shard, in their order


def event_indices(event_types: Sequence[str], event_names: Sequence[str]) -> Array:
    """The index of each of `event_types` in `event_names`, in the dtype of shards."""
    indices = [event_names.index(event_type) for event_type in event_types]
    return np.array(indices, dtype=np.min_scalar_type(len(event_names) - 1))


def write_shard(path: Path, user_ids: pa.Array, lengths: IntArray, values: Mapping[str, Array]) -> None:
    """Write histories of consecutive users.

    `user_ids` and `lengths` have shape (users,); `values` are items and, if known, the others of `COLUMNS`, (total,).
    """
    offsets = pa.array(offsets_of(lengths).astype(np.int32))
    id_type = pa.int64() if pa.types.is_integer(user_ids.type) else pa.string()
    columns: dict[str, Any] = {"user_id": user_ids.cast(id_type)}
    for name in COLUMNS:
        if name in values:
            columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values[name]))
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


@dataclass(frozen=True)
class Histories:
    """Histories of users, sorted by user: items are row numbers of the item table, with columns as in `COLUMNS`.

    `parts` are the files of a folder, memory-mapped, or all histories in memory.
    """

    user_ids: pl.Series
    parts: Sequence[Ragged]
    mapped: bool = False

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Histories:
        """Map files of `write_shard` to memory."""
        batches = [pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0) for path in paths]
        parts = []
        for batch in batches:
            columns = {name: batch[name].values.to_numpy() for name in COLUMNS if name in batch.schema.names}
            parts.append(Ragged(columns.pop("items"), batch["items"].offsets.to_numpy().astype(np.int64), columns))
        return cls(pl.Series("user_id", pa.chunked_array([batch["user_id"] for batch in batches])), parts, mapped=True)

    @classmethod
    def from_dataset(cls, histories: Dataset, item_ids: pa.Array, event_names: Sequence[str]) -> Histories:
        """The result of `build_histories`; items and events become their positions in `item_ids` and `event_names`."""
        items, offsets = flat_column(histories, "item_ids")
        columns = {name: flat_column(histories, name)[0] for name in COLUMNS if name in histories.column_names}
        if "events" in columns:
            columns["events"] = pa.compute.index_in(columns["events"], pa.array(event_names, pa.string()))
        items = pa.compute.index_in(items.cast(item_ids.type), item_ids).to_numpy()
        part = Ragged(items, offsets, {name: values.to_numpy() for name, values in columns.items()})
        return cls(to_frame(histories, ["user_id"])["user_id"], [part])

    @cached_property
    def lengths(self) -> IntArray:
        """Items of every user, (users,)."""
        return np.concatenate([part.lengths for part in self.parts])

    @cached_property
    def starts(self) -> IntArray:
        """The position of every user's first item, (users,)."""
        return offsets_of(self.lengths)[:-1]

    def has(self, column: str) -> bool:
        return column in self.parts[0].columns

    def rows(self, users: IntArray, lengths: IntArray, columns: Sequence[str]) -> Rows:
        """The first `lengths` items (users,) of these users, with those of `columns` that are known."""
        rows = self._at(self.starts[users], lengths, columns)
        return rows if self.mapped else rows.rows(0, len(rows))

    def entries(self, positions: IntArray, columns: Sequence[str] = ()) -> Ragged:
        """The items at positions (n,), counted over all histories, one in each row."""
        return self._at(positions, np.ones(len(positions), np.int64), columns).take(np.arange(len(positions)))

    def _at(self, starts: IntArray, lengths: IntArray, names: Sequence[str]) -> LazyRows:
        known = [name for name in names if self.has(name)]
        parts = [replace(part, columns={name: part.columns[name] for name in known}) for part in self.parts]
        return LazyRows(parts, starts, lengths)

    def check(self, num_items: int, repeats: bool) -> None:
        """Raise ValueError if users or times are not sorted, items not in the table or, without repeats, repeated."""
        if not (self.user_ids[1:] > self.user_ids[:-1]).all():
            raise ValueError("the users of the files are not in ascending order, or a user is in two files")
        for number, part in enumerate(self.parts):
            items, rows, name = part.values, part.row_ids, SHARD.format(number)
            if not len(items) or items.min() < 0 or items.max() >= num_items or not part.lengths.all():
                raise ValueError(f"{name} has no items, an item that is not in {ITEMS}, or a user without items")
            codes = codes_with_events(items.astype(np.int64), part.columns.get("events"))
            if not repeats and len(repeated_rows(rows, codes)):
                raise ValueError(f"{name}: an item is twice in a history")
            times = part.columns.get("timestamps", rows)  # rows ascend
            if ((times[1:] < times[:-1]) & (rows[1:] == rows[:-1])).any():
                raise ValueError(f"{name}: a history is not in the order of its times")


@dataclass(frozen=True)
class SplitHistories:
    """Histories, and their split by the options in `arguments`."""

    histories: Histories
    arguments: DataArguments

    @cached_property
    def users(self) -> dict[str, IntArray]:
        """The users in "training", and those held out for "validation" and "test", in ascending order."""
        return held_out_users(self.histories.user_ids, self.arguments.held_out_users)

    @cached_property
    def lengths(self) -> SplitLengths:
        """How many items of every history are in each part; ValueError for an empty part or an option out of range."""
        return self.lengths_by(self.arguments)

    def lengths_by(self, arguments: DataArguments) -> SplitLengths:
        """`lengths` of the same users by the rule of other options."""
        users, target_events = self.users["training"], arguments.target_events or None
        columns = [*(["timestamps"] if arguments.split == "temporal" else []), *(["events"] if target_events else [])]
        rows = self.histories.rows(users, self.histories.lengths[users], columns)
        if target_events:  # their numbers come first
            rows = rows.map(lambda part: part.with_columns(is_target=part.columns["events"] < len(target_events)))
        split = split_lengths(rows, arguments.split, target_events, arguments.targets, arguments.quantile)
        return split.expanded(users, len(self.histories.lengths))

    def label_counts(self, num_items: int) -> IntArray:
        """Interactions of every item in the training histories, (items,), that may be labels."""
        users, targets = self.lengths.users("train"), len(self.arguments.target_events or [])
        train = self.histories.rows(users, self.lengths.train[users], ["events", "weights"])
        if self.histories.has("events"):
            train = train.map(lambda rows: rows.where(rows.columns["events"] < targets))
        if self.histories.has("weights"):
            train = train.map(lambda rows: rows.where(rows.columns["weights"] > 0))
        return item_counts(train, num_items)

    def target_positions(self, part: str) -> IntArray:
        """The positions of the targets of a part, counted over all histories, (users of the part, n)."""
        users = self.lengths.users(part)
        return self.histories.starts[users, None] + self.lengths.targets[part][users]

    def targets(self, part: str, item_ids: pl.Series) -> Dataset:
        """The users of a part with their target or targets, as `split_datasets` returns them."""
        positions = self.target_positions(part)
        targets = item_ids.gather(self.histories.entries(positions.ravel()).values)
        column = {"target": targets}
        if self.lengths.listed:
            column = {"targets": targets.reshape(positions.shape).arr.to_list()}
        return to_dataset(pl.DataFrame({"user_id": self.histories.user_ids.gather(self.lengths.users(part)), **column}))
