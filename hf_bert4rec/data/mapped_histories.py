"""Histories in memory-mapped arrays, with the interface of `Ragged`: only what is read is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .ragged import IntArray, Ragged, TimedHistories, offsets_of


class ShardedArray:
    """One-dimensional arrays that are indexed as one. What is read is a copy.

    Args:
        parts: the arrays.
        lookup: what is read instead of each value, (values,); None reads the values.
    """

    def __init__(self, parts: Sequence[npt.NDArray[Any]], lookup: IntArray | None = None) -> None:
        self.parts, self.lookup = list(parts), lookup
        self.offsets = offsets_of([len(part) for part in self.parts])  # (parts + 1,)

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The values at the positions `start` to `stop` (exclusive), all in one array."""
        number = self._part_of(start)
        first = self.offsets[number]
        return self._converted(self.parts[number][start - first : stop - first])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def take(self, positions: IntArray) -> npt.NDArray[Any]:
        """The values at these positions (n,)."""
        if not len(positions):
            return self._converted(self.parts[0][:0])
        first, last = self._part_of(positions.min()), self._part_of(positions.max())
        if first == last:
            return self._converted(self.parts[first][positions - self.offsets[first]])
        values = np.empty(len(positions), dtype=self.parts[0].dtype)
        numbers = np.searchsorted(self.offsets, positions, side="right") - 1
        for number in range(first, last + 1):
            chosen = numbers == number
            values[chosen] = self.parts[number][positions[chosen] - self.offsets[number]]
        return self._converted(values)

    def _part_of(self, position: int) -> int:
        return min(int(np.searchsorted(self.offsets, position, side="right")), len(self.parts)) - 1

    def _converted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values.copy() if self.lookup is None else self.lookup[values]


class MappedHistories(Ragged):
    """Row i has the values of a `ShardedArray` from position `starts[i]` on, `lengths[i]` of them.

    Rows are in the order of their positions, and each is within one array. `values` and `where` copy everything to
    memory; `blocks`, `rows` and `take` give a part of the rows as `Ragged`.
    """

    _array: ShardedArray
    _starts: IntArray
    _lengths: IntArray

    def __init__(self, array: ShardedArray, starts: IntArray, lengths: IntArray) -> None:
        self.__dict__.update(_array=array, _starts=starts, _lengths=lengths)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        return self.span(self._starts[row], self._starts[row] + self._lengths[row])

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        return self._array.span(start, stop)

    @property
    def starts(self) -> IntArray:
        return self._starts

    @property
    def lengths(self) -> IntArray:
        return self._lengths

    @property
    def offsets(self) -> IntArray:
        """Offsets (rows + 1,) of the rows in `values`."""
        return offsets_of(self._lengths)

    @property
    def values(self) -> npt.NDArray[Any]:
        """All values, (total,), in memory."""
        return self._array.take(self.positions())

    def positions(self) -> IntArray:
        """The position in the array of every value, (total,)."""
        return self._positions(np.arange(len(self)))

    def blocks(self) -> Iterator[Ragged]:
        bounds = np.searchsorted(self._starts, self._array.offsets)
        for low, high in pairwise(bounds):
            if low < high:
                yield self.rows(low, high)

    def rows(self, start: int, stop: int) -> Ragged:
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: IntArray) -> Ragged:
        return Ragged(self._array.take(self._positions(rows)), offsets_of(self._lengths[rows]))

    def where(self, mask: npt.NDArray[np.bool_]) -> Ragged:
        return self.take(np.arange(len(self))).where(mask)


class TimedMappedHistories(MappedHistories, TimedHistories):
    """`MappedHistories` with times, which are in a `ShardedArray` of the same positions."""

    _times: ShardedArray

    def __init__(
        self,
        array: ShardedArray,
        times: ShardedArray,
        starts: IntArray,
        lengths: IntArray,
        query_times: IntArray | None = None,
    ) -> None:
        super().__init__(array, starts, lengths)
        self.__dict__.update(_times=times, query_times=query_times)

    @property
    def times(self) -> IntArray:
        """The times of all values, (total,), in memory."""
        return self._times.take(self.positions()).astype(np.int64)

    def times_of_row(self, row: int) -> IntArray:
        return self.span_of_times(self._starts[row], self._starts[row] + self._lengths[row])

    def span_of_times(self, start: int, stop: int) -> IntArray:
        return self._times.span(start, stop).astype(np.int64)

    def rows(self, start: int, stop: int) -> TimedHistories:
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: IntArray) -> TimedHistories:
        positions = self._positions(rows)
        query_times = None if self.query_times is None else self.query_times[rows]
        times = self._times.take(positions).astype(np.int64)
        return TimedHistories(self._array.take(positions), offsets_of(self._lengths[rows]), times, query_times)

    def where(self, mask: npt.NDArray[np.bool_]) -> TimedHistories:
        return self.take(np.arange(len(self))).where(mask)

    def with_query_times(self, query_times: IntArray) -> TimedMappedHistories:
        return TimedMappedHistories(self._array, self._times, self._starts, self._lengths, query_times)
