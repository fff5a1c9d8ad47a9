"""Histories in memory-mapped arrays, with the interface of `Ragged`: only what is read is loaded."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .ragged import Array, IntArray, Ragged, offsets_of


class ShardedArray:
    """One-dimensional arrays that are indexed as one.

    What is read is what `convert` makes of the values; of several columns at the same positions, each in arrays of the
    same lengths, `convert` gets the values of all.
    """

    def __init__(self, *columns: Sequence[Array], convert: Callable[..., Array] = np.asarray) -> None:
        self.columns, self.convert = columns, convert
        self.offsets = offsets_of([len(part) for part in columns[0]])  # (parts + 1,)

    def span(self, start: int, stop: int) -> Array:
        """The values at the positions `start` to `stop` (exclusive), all in one array."""
        number = self._part_of(start)
        first = self.offsets[number]
        return self.convert(*(parts[number][start - first : stop - first] for parts in self.columns))

    def take(self, positions: IntArray) -> Array:
        """The values at these positions (n,)."""
        return self.convert(*(self._gathered(parts, positions) for parts in self.columns))

    def _gathered(self, parts: Sequence[Array], positions: IntArray) -> Array:
        if not len(positions):
            return parts[0][:0]
        first, last = self._part_of(positions.min()), self._part_of(positions.max())
        if first == last:
            return parts[first][positions - self.offsets[first]]
        values = np.empty(len(positions), dtype=parts[0].dtype)
        numbers = np.searchsorted(self.offsets, positions, side="right") - 1
        for number in range(first, last + 1):
            chosen = numbers == number
            values[chosen] = parts[number][positions[chosen] - self.offsets[number]]
        return values

    def _part_of(self, position: int) -> int:
        return min(int(np.searchsorted(self.offsets, position, side="right")), len(self.offsets) - 1) - 1


class MappedHistories(Ragged):
    """Row i has the values of a `ShardedArray` from position `starts[i]` on, `lengths[i]` of them.

    Columns are in other arrays at the same positions. Rows are in the order of their positions, and each is within one
    array. `values`, each of `columns`, `where` and `with_columns` copy everything to memory; `blocks`, `rows` and
    `take` give a part of the rows as `Ragged`.
    """

    _array: ShardedArray
    _columns: Mapping[str, ShardedArray]

    def __init__(
        self,
        array: ShardedArray,
        starts: IntArray,
        lengths: IntArray,
        columns: Mapping[str, ShardedArray] | None = None,
        queries: Mapping[str, Array] | None = None,
    ) -> None:
        self.__dict__.update(
            _array=array, _columns=columns or {}, starts=starts, lengths=lengths, queries=queries or {}
        )

    def span(self, start: int, stop: int) -> Array:
        return self._array.span(start, stop)

    def span_of_columns(self, start: int, stop: int) -> dict[str, Array]:
        return {name: column.span(start, stop) for name, column in self._columns.items()}

    @property
    def offsets(self) -> IntArray:
        """Offsets (rows + 1,) of the rows in `values`."""
        return offsets_of(self.lengths)

    @property
    def values(self) -> Array:
        """All values, (total,), in memory."""
        return self._array.take(self.positions())

    @property
    def columns(self) -> Mapping[str, Array]:
        """All values of a column, (total,), in memory, when it is read."""
        return LazyColumns(self._columns, self.positions)

    def positions(self) -> IntArray:
        """The position in the array of every value, (total,)."""
        return self._positions(np.arange(len(self)))

    def blocks(self) -> Iterator[Ragged]:
        bounds = np.searchsorted(self.starts, self._array.offsets)
        for low, high in pairwise(bounds):
            if low < high:
                yield self.rows(low, high)

    def rows(self, start: int, stop: int) -> Ragged:
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: IntArray) -> Ragged:
        positions = self._positions(rows)
        columns = {name: column.take(positions) for name, column in self._columns.items()}
        queries = {name: query[rows] for name, query in self.queries.items()}
        return Ragged(self._array.take(positions), offsets_of(self.lengths[rows]), columns, queries)

    def with_queries(self, **queries: Array) -> MappedHistories:
        queries = {**self.queries, **queries}
        return MappedHistories(self._array, self.starts, self.lengths, self._columns, queries)

    def without(self, name: str) -> MappedHistories:
        columns = {other: column for other, column in self._columns.items() if other != name}
        queries = {other: query for other, query in self.queries.items() if other != name}
        return MappedHistories(self._array, self.starts, self.lengths, columns, queries)


class LazyColumns(UserDict[str, Any]):
    """Arrays by name, each at `positions()`, read when they are looked up."""

    def __init__(self, arrays: Mapping[str, ShardedArray], positions: Callable[[], IntArray]) -> None:
        super().__init__(arrays)
        self._positions = positions

    def __getitem__(self, name: str) -> Array:
        return super().__getitem__(name).take(self._positions())
