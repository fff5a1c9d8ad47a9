"""Rows of different lengths as two flat arrays: the form of histories after `build_histories`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`.

    `values` has shape (total,), `offsets` (rows + 1,) with `offsets[0] == 0` and `offsets[-1] == total`.
    """

    values: npt.NDArray[Any]
    offsets: IntArray

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[Any]], dtype: npt.DTypeLike = np.int64) -> Ragged:
        """Build from a sequence of sequences."""
        arrays = [np.asarray(row, dtype=dtype).reshape(-1) for row in rows]
        return cls(np.concatenate([np.empty(0, dtype), *arrays]), offsets_of([len(row) for row in arrays]))

    @classmethod
    def from_column(cls, dataset: Any, name: str) -> Ragged:
        """Read a list column of a `datasets.Dataset`; values keep its type, text becomes an object array."""
        values, offsets = flat_column(dataset, name)
        return cls(values.to_numpy(zero_copy_only=False), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def starts(self) -> IntArray:
        """Position of the first value of every row, shape (rows,); `span` takes these positions."""
        return self.offsets[:-1]

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Values at the positions `start` to `stop` (exclusive) of one row."""
        return self.values[start:stop]

    def blocks(self) -> Iterator[Ragged]:
        """The rows in portions that fit in memory, in their order; here all at once."""
        yield self

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> IntArray:
        """Length of every row, shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def row_ids(self) -> IntArray:
        """The row of every value, shape (total,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def rows(self, start: int, stop: int) -> Ragged:
        """Rows `start` to `stop` (exclusive), as a view."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def where(self, mask: npt.NDArray[np.bool_]) -> Ragged:
        """The same rows with the values for which `mask` (total,) is true; a row may become empty."""
        lengths = np.bincount(self.row_ids[mask], minlength=len(self))
        return Ragged(self.values[mask], offsets_of(lengths))

    def take(self, rows: IntArray) -> Ragged:
        """These rows, in this order, as a copy."""
        return Ragged(self.values[self._positions(rows)], offsets_of(self.lengths[rows]))

    def _positions(self, rows: IntArray) -> IntArray:
        """Indices in `values` of everything in these rows."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(offsets_of(lengths)[:-1], lengths)
        return np.repeat(self.starts[rows], lengths) + within

    def with_values(self, values: npt.NDArray[Any]) -> Ragged:
        """The same rows with other values of the same total length."""
        return Ragged(values, self.offsets)


@dataclass(frozen=True)
class TimedHistories(Ragged):
    """Histories with `times` (total,), the seconds since 1970 of every value, int64.

    `query_times` (rows,) are the times at which the next item is predicted, None if they are unknown.
    """

    times: IntArray
    query_times: IntArray | None = None

    def rows(self, start: int, stop: int) -> TimedHistories:
        plain = super().rows(start, stop)
        times = self.times[self.offsets[start] : self.offsets[start] + len(plain.values)]
        query_times = None if self.query_times is None else self.query_times[start:stop]
        return TimedHistories(plain.values, plain.offsets, times, query_times)

    def where(self, mask: npt.NDArray[np.bool_]) -> TimedHistories:
        plain = super().where(mask)
        return TimedHistories(plain.values, plain.offsets, self.times[mask], self.query_times)

    def take(self, rows: IntArray) -> TimedHistories:
        plain = super().take(rows)
        query_times = None if self.query_times is None else self.query_times[rows]
        return TimedHistories(plain.values, plain.offsets, self.times[self._positions(rows)], query_times)

    def times_of_row(self, row: int) -> IntArray:
        """The seconds of row `row`."""
        return self.times[self.offsets[row] : self.offsets[row + 1]]

    def span_of_times(self, start: int, stop: int) -> IntArray:
        """The seconds of `span(start, stop)`."""
        return self.times[start:stop]

    def with_query_times(self, query_times: IntArray) -> TimedHistories:
        """The same histories with these query times (rows,)."""
        return replace(self, query_times=query_times)


def flat_column(dataset: Any, name: str) -> tuple[pa.Array, IntArray]:
    """The values of a list column of a `datasets.Dataset` (total,), without a copy, and the offsets (rows + 1,)."""
    column = arrow_table(dataset)[name].combine_chunks()
    offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return column.values[offsets[0] : offsets[-1]], offsets - offsets[0]


def arrow_table(dataset: Any) -> pa.Table:
    """The table of a `datasets.Dataset`, without a copy, or of an `IterableDataset`, which is read to its end.

    Raises:
        ValueError: a transform (`set_transform`), which would not be applied.
    """
    if getattr(dataset, "format", {"type": None})["type"] == "custom":
        raise ValueError("the dataset has a transform, which is not applied to tables: apply it by dataset.map(…)")
    import pyarrow as pa  # arrays do not need it

    formatted = dataset.with_format("arrow")
    return formatted[:] if hasattr(dataset, "format") else pa.concat_tables(formatted.iter(batch_size=10_000))


def require_times(histories: Ragged) -> TimedHistories:
    """Return the histories, which must have times.

    Raises:
        ValueError: They have none.
    """
    if not isinstance(histories, TimedHistories):
        raise ValueError(
            "these histories have no times, which a model with time_aware: true needs: give a time column, or train "
            "with --time_aware false"
        )
    return histories


def no_items(rows: int) -> Ragged:
    """Empty rows of input ids."""
    return Ragged(np.empty(0, dtype=np.int64), np.zeros(rows + 1, dtype=np.int64))


def offsets_of(lengths: Sequence[int] | IntArray) -> IntArray:
    """Offsets (rows + 1,) of rows of these lengths (rows,)."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)


def run_lengths(codes: IntArray) -> IntArray:
    """Lengths of the runs of equal codes, shape (runs,)."""
    ends = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    return np.diff(ends, prepend=0, append=len(codes)) if len(codes) else ends


def repeated_rows(codes: IntArray, others: IntArray) -> IntArray:
    """The rows with both codes of an earlier row, in no order; codes are those of `codes_of`."""
    pairs = codes * (others.max() + 1) + others
    ordered = np.sort(pairs)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, dtype=np.int64)
    order = np.argsort(pairs, kind="stable")  # several times slower, but stable: the first row comes first
    ordered = pairs[order]
    return order[1:][ordered[1:] == ordered[:-1]]
