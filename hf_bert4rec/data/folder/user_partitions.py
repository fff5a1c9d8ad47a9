"""Interactions on disk, partitioned by ranges of users, so that each partition is sorted and filtered in memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..ragged import Array, BoolArray, IntArray, Ragged, row_blocks, row_sums
from ..stored_histories import Histories


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

    def chunks(self, column: str) -> Iterator[Array]:
        """The array of a column in every `append`."""
        with self._path(column).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while file.tell() < size:
                yield np.load(file)

    def pop(self) -> dict[str, Array]:
        """All rows of all columns; deletes the files."""
        rows = {column: np.concatenate(list(self.chunks(column))) for column in self.columns}
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
        dtype = np.uint16 if len(self.files) <= 1 << 16 else np.int64  # 16 bits are sorted by radix
        self._of_user: Array = np.repeat(np.arange(len(self.files), dtype=dtype), np.diff(self.bounds))  # (users,)

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


def k_core(histories: Histories, counts: IntArray, k: int) -> tuple[BoolArray, BoolArray]:
    """The users, (users,), and items, (items,), of the k-core, as masks; `counts` (items,) are all interactions."""
    users, items = histories.lengths >= k, counts >= k
    complete = (users | (histories.lengths == 0)).all() and (items | (counts == 0)).all()
    while not complete:
        counts, first = np.zeros_like(counts), 0
        for part in histories.parts:
            of_part = users[first : first + len(part)]
            of_part &= row_sums(in_core(part, of_part, items), part.offsets) >= k
            counts += np.bincount(part.values[in_core(part, of_part, items)], minlength=len(counts))
            first += len(part)
        complete = (items == (counts >= k)).all()
        items = counts >= k
    return users, items


def in_core(histories: Ragged, users: BoolArray, items: BoolArray) -> BoolArray:
    """The interactions, (total,), of users and items that are true in the masks (users,) and (items,), as a mask."""
    return items[histories.values] & np.repeat(users, histories.lengths)
