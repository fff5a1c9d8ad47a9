"""Interactions on disk, partitioned by ranges of users, so that each partition is sorted and filtered in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ragged import IntArray, offsets_of, repeated_rows
from ..sorting import stable_order

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ColumnFiles:
    """Columns of equal length, each in a file of numbers that grows; `types` are theirs by name."""

    folder: Path
    name: str
    types: Mapping[str, Any]

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows."""
        for column, kind in self.types.items():
            with self._path(column).open("ab") as file:
                file.write(np.ascontiguousarray(columns[column], dtype=kind).data)

    def read(self, column: str, start: int = 0, rows: int = -1) -> Array:
        """Rows of a column, by default all."""
        kind = np.dtype(self.types[column])
        return np.fromfile(self._path(column), dtype=kind, count=rows, offset=start * kind.itemsize)

    def remove(self) -> None:
        """Delete the files."""
        for column in self.types:
            self._path(column).unlink()

    def _path(self, column: str) -> Path:
        return self.folder / f"{self.name}-{column}"


class Partitions:
    """Rows of ranges of users: partition i has the users from `bounds[i]` to `bounds[i + 1]` (exclusive).

    Args:
        counts: rows of every user, (users,).
        types: of the columns `users`, `items` and, if there are any, `times` and `ratings`.
        size: rows of a partition, approximately; those of one user stay together.
    """

    def __init__(self, folder: Path, counts: IntArray, types: Mapping[str, Any], size: int) -> None:
        ends = np.cumsum(counts)
        starts = np.searchsorted(ends, np.arange(0, ends[-1], size), side="right")
        self.bounds = np.unique(np.append(starts, len(counts)))
        self.files = [ColumnFiles(folder, f"{number:05}", types) for number in range(len(self.bounds) - 1)]

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def _of_user(self) -> Array:
        """The partition of every user, (users,); 16 bits are sorted by radix."""
        kind = np.uint16 if len(self) <= 1 << 16 else np.int64
        return np.repeat(np.arange(len(self), dtype=kind), np.diff(self.bounds))

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows to the partitions of their users; the rows of a partition keep their order."""
        numbers = self._of_user[columns["users"]]
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            columns, numbers = {name: values[order] for name, values in columns.items()}, numbers[order]
        ends = np.searchsorted(numbers, np.arange(len(self) + 1))
        for number, (start, stop) in enumerate(pairwise(ends)):
            if start < stop:
                rows = {name: values[start:stop] for name, values in columns.items()}
                rows["users"] = rows["users"] - self.bounds[number]
                self.files[number].append(rows)


@dataclass(frozen=True)
class SortedRows:
    """The histories of one partition; columns other than `users`, of which `lengths` (users,) remains."""

    lengths: IntArray
    columns: dict[str, Array]
    surplus: int  # repeats that were dropped
    candidates: int  # rows before that


def sort_rows(columns: dict[str, Array], users: int, min_rating: float | None, repeats: str) -> SortedRows:
    """Steps 1 and 2 of `build_histories` for the rows of one partition, in the order of the table.

    `ratings` become those of the first row with the same user and item.
    """
    columns = _with_first_ratings(columns)
    if min_rating is not None:
        columns = _selected(columns, columns["ratings_of_rows"] >= min_rating)
    columns.pop("ratings_of_rows", None)
    candidates, surplus = len(columns["users"]), 0
    if candidates:
        columns = _selected(columns, stable_order(columns["users"].astype(np.int64), columns.get("times")))
        keys = columns["users"].astype(np.int64), columns["items"].astype(np.int64)
        if repeats == "last":
            repeated = candidates - 1 - repeated_rows(keys[0][::-1], keys[1][::-1])
        else:
            repeated = repeated_rows(*keys)
        if repeats != "all" and len(repeated):
            surplus = len(repeated)
            columns = {name: np.delete(values, repeated) for name, values in columns.items()}
    lengths = np.bincount(columns.pop("users"), minlength=users)
    return SortedRows(lengths, columns, surplus, candidates)


def _selected(columns: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    return {name: values[rows] for name, values in columns.items()}


def _with_first_ratings(columns: dict[str, Array]) -> dict[str, Array]:
    if "ratings" not in columns:
        return columns
    columns = {**columns, "ratings_of_rows": columns["ratings"]}
    users, items = columns["users"].astype(np.int64), columns["items"].astype(np.int64)
    if len(users) and len(repeated_rows(users, items)):
        _, first, inverse = np.unique(users * (items.max() + 1) + items, return_index=True, return_inverse=True)
        columns["ratings"] = columns["ratings"][first[inverse]]
    return columns


@dataclass(frozen=True)
class Core:
    """Which users and which items the k-core keeps."""

    users: Bools
    items: Bools

    def rows(self, items: Array, lengths: IntArray, first: int) -> Bools:
        """Which interactions of a partition are in it: their items, the users' lengths, and the first user's number."""
        return self.items[items] & np.repeat(self.users[first : first + len(lengths)], lengths)


def k_core(parts: list[tuple[ColumnFiles, IntArray]], counts: IntArray, k: int) -> Core:
    """Users and items with at least `k` interactions with each other, of histories on disk.

    Args:
        parts: the histories of each partition, and their lengths.
        counts: interactions of every item, (items,).
    """
    lengths = np.concatenate([lengths for _, lengths in parts])
    core = Core(lengths >= k, counts >= k)
    complete = (core.users | (lengths == 0)).all() and (core.items | (counts == 0)).all()
    while not complete:
        counts, first = np.zeros_like(counts), 0
        for files, part_lengths in parts:
            items, own = files.read("items"), slice(first, first + len(part_lengths))
            core.users[own] &= row_sums(core.rows(items, part_lengths, first), part_lengths) >= k
            counts += np.bincount(items[core.rows(items, part_lengths, first)], minlength=len(counts))
            first = own.stop
        complete = (core.items == (counts >= k)).all()
        core = Core(core.users, counts >= k)
    return core


def row_sums(mask: Bools, lengths: IntArray) -> IntArray:
    """The number of true values in each of consecutive rows of these lengths, (rows,)."""
    sums, offsets = offsets_of(mask.astype(np.int64)), offsets_of(lengths)
    return sums[offsets[1:]] - sums[offsets[:-1]]
