"""Histories in Arrow files that are memory-mapped, and their split; `prepared_folder.py` describes the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ..ragged import Array, IntArray, codes_with_events, offsets_of, repeated_rows
from ..splits import Block, SplitLengths, split_lengths
from ..user_split import held_out_masks
from .mapped_histories import ShardedArray

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
    """The histories of a folder: `batches` are its files, memory-mapped."""

    batches: Sequence[pa.RecordBatch]

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Histories:
        """Map files of `write_shard` to memory."""
        return cls([pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0) for path in paths])

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
        """Whether the folder has a column."""
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
            items = batch["items"].values.to_numpy()
            lengths = np.diff(batch["items"].offsets.to_numpy())
            rows = np.repeat(np.arange(len(lengths)), lengths)
            name = SHARD.format(number)
            if not len(items) or items.min() < 0 or items.max() >= num_items or not lengths.all():
                raise ValueError(f"{name} has no items, an item that is not in {ITEMS}, or a user without items")
            events = batch["events"].values.to_numpy() if "events" in batch.schema.names else None
            if not repeats and len(repeated_rows(rows, codes_with_events(items.astype(np.int64), events))):
                raise ValueError(f"{name}: an item is twice in a history")
            if "timestamps" in batch.schema.names:
                times = batch["timestamps"].values.to_numpy()
                if ((times[1:] < times[:-1]) & (rows[1:] == rows[:-1])).any():
                    raise ValueError(f"{name}: a history is not in the order of its times")


def compute_splits(histories: Histories, options: Mapping[str, Any]) -> SplitLengths:
    """The split of the users who are not held out; ValueError for an empty part or an option out of range."""
    training = held_out_masks(histories.user_ids, options["held_out_users"])["training"]
    target_events = options["target_events"] or None

    def blocks() -> Iterator[Block]:
        first = 0
        for batch in histories.batches:
            lists = {name: batch[name] for name in batch.schema.names}
            is_target = lists["events"].values.to_numpy() < len(target_events) if target_events else None  # come first
            times = lists["timestamps"].values.to_numpy() if "timestamps" in lists else None
            offsets = lists["items"].offsets.to_numpy().astype(np.int64)
            yield Block(offsets, training[first : first + len(batch)], times, is_target)
            first += len(batch)

    return split_lengths(blocks, options["split"], target_events, options["targets"], options["quantile"])


def target_positions(histories: Histories, splits: SplitLengths, part: str) -> IntArray:
    """The positions of the targets of a part in the arrays of `histories`, (users of the part, n)."""
    users = splits.users(part)
    return histories.starts[users, None] + splits.targets[part][users]
