"""Histories as columns of numbers, in memory or in Arrow files that are memory-mapped, and their split.

`folder/prepared_folder.py` describes the folder of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset

from .arguments import DataArguments
from .mapped_histories import MappedHistories, ShardedArray
from .ragged import Array, IntArray, arrow_table, codes_with_events, flat_column, offsets_of, repeated_rows
from .splits import Block, SplitLengths, split_lengths
from .tables import to_dataset
from .transitions import label_counts
from .user_split import held_out_users

ITEMS, SHARD, SHARDS = "items.parquet", "histories-{:05}.arrow", "histories-*.arrow"
COLUMNS = ("items", "timestamps", "ratings", "events", "weights")  # of lists in a shard, in their order


def event_numbers(kinds: Sequence[str], event_names: Sequence[str]) -> Array:
    """The number of each of `kinds` in `event_names`, in the type that shards have."""
    numbers = [event_names.index(kind) for kind in kinds]
    return np.array(numbers, dtype=np.min_scalar_type(len(event_names) - 1))


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
    """Histories of users: `batches` are the files of a folder, memory-mapped, or one batch in memory."""

    batches: Sequence[pa.RecordBatch]
    mapped: bool = False

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Histories:
        """Map files of `write_shard` to memory."""
        return cls([pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0) for path in paths], mapped=True)

    @classmethod
    def of(cls, histories: Dataset, item_ids: pa.Array, event_names: Sequence[str]) -> Histories:
        """The result of `build_histories`; items and events become their positions in `item_ids` and `event_names`."""
        known = {"items": item_ids, "events": pa.array(event_names, pa.string())}
        columns = {"user_id": arrow_table(histories)["user_id"].combine_chunks()}
        for name in COLUMNS:
            if (list_name := "item_ids" if name == "items" else name) in histories.column_names:
                values, offsets = flat_column(histories, list_name)
                if name in known:
                    values = pa.compute.index_in(values.cast(known[name].type), known[name])
                columns[name] = pa.LargeListArray.from_arrays(offsets, values)
        return cls([pa.record_batch(columns)])

    @cached_property
    def user_ids(self) -> pl.Series:
        """The ids of all users, (users,), sorted."""
        return pl.Series("user_id", pa.chunked_array([batch["user_id"] for batch in self.batches]))

    @cached_property
    def lengths(self) -> IntArray:
        """Items of every user, (users,)."""
        return np.concatenate([np.diff(batch["items"].offsets.to_numpy()) for batch in self.batches]).astype(np.int64)

    @cached_property
    def starts(self) -> IntArray:
        """The position of every user's first item, (users,)."""
        return offsets_of(self.lengths)[:-1]

    def has(self, column: str) -> bool:
        return column in self.batches[0].schema.names

    def array(self, *columns: str, convert: Callable[..., Array] = np.asarray) -> ShardedArray:
        """All values of list columns, as `convert` makes one of them; items are row numbers of the item table."""
        parts = ([batch[column].values.to_numpy() for batch in self.batches] for column in columns)
        return ShardedArray(*parts, convert=convert)

    def check(self, num_items: int, repeats: bool) -> None:
        """Raise ValueError if users or times are not sorted, items not in the table or, without repeats, repeated."""
        if not (self.user_ids[1:] > self.user_ids[:-1]).all():
            raise ValueError("the users of the files are not in ascending order, or a user is in two files")
        for number, batch in enumerate(self.batches):
            offsets, columns = lists_of(batch)
            items, lengths = columns["items"], np.diff(offsets)
            rows = np.repeat(np.arange(len(lengths)), lengths)
            name = SHARD.format(number)
            if not len(items) or items.min() < 0 or items.max() >= num_items or not lengths.all():
                raise ValueError(f"{name} has no items, an item that is not in {ITEMS}, or a user without items")
            codes = codes_with_events(items.astype(np.int64), columns.get("events"))
            if not repeats and len(repeated_rows(rows, codes)):
                raise ValueError(f"{name}: an item is twice in a history")
            times = columns.get("timestamps", rows)  # rows ascend
            if ((times[1:] < times[:-1]) & (rows[1:] == rows[:-1])).any():
                raise ValueError(f"{name}: a history is not in the order of its times")


def lists_of(batch: pa.RecordBatch) -> tuple[IntArray, dict[str, Array]]:
    """Offsets (histories + 1,) and the values (total,) of every list column of some histories, without a copy."""
    values = {name: batch[name].values.to_numpy() for name in COLUMNS if name in batch.schema.names}
    return batch["items"].offsets.to_numpy().astype(np.int64), values


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
        target_events = arguments.target_events or None
        present = np.zeros(len(self.histories.lengths), dtype=bool)
        present[self.users["training"]] = True

        def blocks() -> Iterator[Block]:
            first = 0
            for batch in self.histories.batches:
                offsets, columns = lists_of(batch)
                # The numbers of target events come first.
                is_target = columns["events"] < len(target_events) if target_events else None
                yield Block(offsets, present[first : first + len(batch)], columns.get("timestamps"), is_target)
                first += len(batch)

        return split_lengths(blocks, arguments.split, target_events, arguments.targets, arguments.quantile)

    def label_counts(self, num_items: int) -> IntArray:
        """Interactions of every item in the training histories, (items,), of kinds that are targets."""
        users, columns = self.lengths.users("train"), {}
        if self.histories.has("events"):
            is_target = partial(np.greater, len(self.arguments.target_events or []))
            columns["label_weights"] = self.histories.array("events", convert=is_target)
        starts, lengths = self.histories.starts[users], self.lengths.train[users]
        return label_counts(MappedHistories(self.histories.array("items"), starts, lengths, columns), num_items)

    def target_positions(self, part: str) -> IntArray:
        """The positions of the targets of a part in the arrays of `histories`, (users of the part, n)."""
        users = self.lengths.users(part)
        return self.histories.starts[users, None] + self.lengths.targets[part][users]

    def targets(self, part: str, item_ids: pl.Series) -> Dataset:
        """The users of a part with their target or targets, as `split_datasets` returns them."""
        positions = self.target_positions(part)
        targets = item_ids.gather(self.histories.array("items").take(positions.ravel()))
        column = {"target": targets}
        if self.lengths.listed:
            column = {"targets": targets.reshape(positions.shape).arr.to_list()}
        return to_dataset(pl.DataFrame({"user_id": self.histories.user_ids.gather(self.lengths.users(part)), **column}))
