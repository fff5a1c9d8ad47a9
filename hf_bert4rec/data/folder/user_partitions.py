"""Interactions on disk, partitioned by ranges of users, so that each partition is sorted and filtered in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..ragged import Array, BoolArray, IntArray, offsets_of, row_blocks, row_sums


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

    def pop(self) -> dict[str, Array]:
        """All rows of all columns; deletes the files."""
        columns = {name: self.read(name) for name in self.types}
        self.remove()
        return columns

    def remove(self) -> None:
        """Delete the files."""
        for column in self.types:
            self._path(column).unlink()

    def _path(self, column: str) -> Path:
        return self.folder / f"{self.name}-{column}"


class Partitions:
    """Rows of ranges of users: partition i has the users from `bounds[i]` to `bounds[i + 1]` (exclusive).

    Each has about `size` rows of the columns in `types`; `counts` (users,) are the rows of every user.
    """

    def __init__(self, folder: Path, counts: IntArray, types: Mapping[str, Any], size: int) -> None:
        self.bounds = row_blocks(counts, size)
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
class HistoryFiles:
    """Sorted histories of consecutive users on disk, and their lengths (users,)."""

    files: ColumnFiles
    lengths: IntArray
    first_user: int

    @property
    def users(self) -> slice:
        """The numbers of the users."""
        return slice(self.first_user, self.first_user + len(self.lengths))


@dataclass(frozen=True)
class Core:
    """Whether each user, (users,), and each item, (items,), is in the k-core."""

    users: BoolArray
    items: BoolArray

    def rows(self, part: HistoryFiles, items: Array) -> BoolArray:
        """Whether each interaction of a part, with one of these items, is in the core."""
        return self.items[items] & np.repeat(self.users[part.users], part.lengths)


def k_core(parts: Sequence[HistoryFiles], counts: IntArray, k: int) -> Core:
    """Users and items with at least `k` interactions with each other; `counts` (items,) are those of every item."""
    lengths = np.concatenate([part.lengths for part in parts])
    core = Core(lengths >= k, counts >= k)
    complete = (core.users | (lengths == 0)).all() and (core.items | (counts == 0)).all()
    while not complete:
        counts = np.zeros_like(counts)
        for part in parts:
            items = part.files.read("items")
            core.users[part.users] &= row_sums(core.rows(part, items), offsets_of(part.lengths)) >= k
            counts += np.bincount(items[core.rows(part, items)], minlength=len(counts))
        complete = (core.items == (counts >= k)).all()
        core = Core(core.users, counts >= k)
    return core
