"""Interactions on disk, partitioned by ranges of users, so that each partition is sorted and filtered in memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..ragged import Array, BoolArray, IntArray, offsets_of, row_blocks, row_sums


@dataclass(frozen=True)
class ColumnFiles:
    """Columns of equal length on disk, each in a file of one array after the other."""

    folder: Path
    name: str
    columns: Sequence[str]

    def append(self, rows: Mapping[str, Array]) -> None:
        for column in self.columns:
            with self._path(column).open("ab") as file:
                np.save(file, rows[column])

    def portions(self, column: str) -> Iterator[Array]:
        """The array of a column in every `append`."""
        with self._path(column).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while file.tell() < size:
                yield np.load(file)

    def read(self, column: str) -> Array:
        return np.concatenate(list(self.portions(column)))

    def pop(self) -> dict[str, Array]:
        """All rows of all columns; deletes the files."""
        rows = {column: self.read(column) for column in self.columns}
        self.remove()
        return rows

    def remove(self) -> None:
        for column in self.columns:
            self._path(column).unlink()

    def _path(self, column: str) -> Path:
        return self.folder / f"{self.name}-{column}"


class Partitions:
    """Rows of ranges of users: partition i has the users from `bounds[i]` to `bounds[i + 1]` (exclusive).

    Each has about `size` rows; `counts` (users,) are the rows of every user.
    """

    def __init__(self, folder: Path, counts: IntArray, columns: Sequence[str], size: int) -> None:
        self.bounds: list[int] = row_blocks(counts, size).tolist()
        self.files = [ColumnFiles(folder, f"{number:05}", columns) for number in range(len(self.bounds) - 1)]
        kind = np.uint16 if len(self.files) <= 1 << 16 else np.int64  # 16 bits are sorted by radix
        self._of_user: Array = np.repeat(np.arange(len(self.files), dtype=kind), np.diff(self.bounds))  # (users,)

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows to the partitions of their users; the rows of a partition keep their order."""
        numbers = self._of_user[columns["users"]]
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            columns, numbers = {name: values[order] for name, values in columns.items()}, numbers[order]
        ends = np.searchsorted(numbers, np.arange(len(self.bounds)))
        for number, (start, stop) in enumerate(pairwise(ends)):
            if start < stop:
                rows = {name: values[start:stop] for name, values in columns.items()}
                rows["users"] = rows["users"] - self.bounds[number]
                self.files[number].append(rows)


@dataclass(frozen=True)
class HistoryFiles:
    """Sorted histories of consecutive users on disk, and their lengths (users,)."""

    files: ColumnFiles
    users: slice
    lengths: IntArray


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
