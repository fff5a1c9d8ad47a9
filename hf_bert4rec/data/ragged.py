"""Rows of different lengths as two flat arrays: the form of histories after `build_histories`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`.

    `values` has shape (total,), `offsets` (rows + 1,) with `offsets[0] == 0` and `offsets[-1] == total`.

    Histories may have more about each item in `columns`, (total,) each, and about the requested item in `queries`,
    (rows,) each:

    - "timestamps": seconds since 1970, int64;
    - "event_ids": event types, int64;
    - "label_weights": weights in the loss, float32; 0 for items that are never labels. Not in `queries`.
    """

    values: Array
    offsets: IntArray
    columns: Mapping[str, Array] = field(default_factory=dict)
    queries: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[Any]], dtype: npt.DTypeLike = np.int64) -> Ragged:
        arrays = [np.asarray(row, dtype=dtype).reshape(-1) for row in rows]
        return cls(np.concatenate([np.empty(0, dtype), *arrays]), offsets_of([len(row) for row in arrays]))

    @classmethod
    def from_column(cls, dataset: Any, name: str) -> Ragged:
        """Read a list column of a `datasets.Dataset`; values keep its type, text becomes an object array."""
        values, offsets = flat_column(dataset, name)
        return cls(values.to_numpy(zero_copy_only=False), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def lengths(self) -> IntArray:
        """Length of every row, shape (rows,)."""
        return np.diff(self.offsets)

    def blocks(self) -> Iterator[Ragged]:
        """The rows in chunks that fit in memory, in their order; here all at once."""
        yield self

    @property
    def row_ids(self) -> IntArray:
        """The row of every value, shape (total,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, row: int) -> Ragged:
        """One row, as a view."""
        return self.rows(row, row + 1)

    def rows(self, start: int, stop: int) -> Ragged:
        """Rows `start` to `stop` (exclusive), as a view."""
        offsets = self.offsets[start : stop + 1]
        return self._selected(slice(offsets[0], offsets[-1]), offsets - offsets[0], slice(start, stop))

    def where(self, mask: BoolArray) -> Ragged:
        """The same rows with the values for which `mask` (total,) is true; a row may become empty."""
        return self._selected(mask, offsets_of(row_sums(mask, self.offsets)), slice(None))

    def take(self, rows: IntArray) -> Ragged:
        """These rows, in this order, as a copy."""
        lengths = self.lengths[rows]
        return self._selected(positions_of(self.offsets[rows], lengths), offsets_of(lengths), rows)

    def map(self, transform: Callable[[Ragged], Ragged]) -> Ragged:
        return transform(self)

    def _selected(self, entries: Any, offsets: IntArray, rows: Any) -> Ragged:
        return Ragged(self.values[entries], offsets, _indexed(self.columns, entries), _indexed(self.queries, rows))

    def with_columns(self, **columns: Array) -> Ragged:
        """The same rows with more columns, (total,) each."""
        return Ragged(self.values, self.offsets, {**self.columns, **columns}, self.queries)

    def with_queries(self, **queries: Array) -> Ragged:
        """The same rows with more values of the queries, (rows,) each."""
        return replace(self, queries={**self.queries, **queries})

    def without(self, name: str) -> Ragged:
        """The same rows without this column and query."""
        columns, queries = (
            {other: values for other, values in part.items() if other != name} for part in (self.columns, self.queries)
        )
        return replace(self, columns=columns, queries=queries)


@dataclass(frozen=True)
class LazyRows:
    """Rows of arrays that may be larger than memory; `transforms` are applied to those that are read.

    Row i has the `lengths[i]` entries from position `starts[i]` on, counted over all `parts`; it is within one part.
    """

    parts: Sequence[Ragged]
    starts: IntArray
    lengths: IntArray
    queries: Mapping[str, Array] = field(default_factory=dict)
    transforms: Sequence[Callable[[Ragged], Ragged]] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> Array:
        return self.row(row).values

    def __iter__(self) -> Iterator[Array]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def part_starts(self) -> IntArray:
        """The position of the first value of every part, (parts,)."""
        return offsets_of([len(part.values) for part in self.parts])[:-1]

    def row(self, row: int) -> Ragged:
        return self.rows(row, row + 1)

    def rows(self, start: int, stop: int) -> Ragged:
        return self.take(np.arange(start, min(stop, len(self))))

    def take(self, rows: IntArray) -> Ragged:
        """These rows, in this order, in memory."""
        part_of = np.searchsorted(self.part_starts, self.starts[rows], side="right") - 1  # of every row
        taken = [self._take_from(part, rows[part_of == part]) for part in np.unique(part_of).tolist() or [0]]
        joined = taken[0] if len(taken) == 1 else concatenate(taken)  # part after part
        in_order = (part_of[1:] >= part_of[:-1]).all()
        return joined if in_order else joined.take(np.argsort(np.argsort(part_of, kind="stable")))

    def _take_from(self, index: int, rows: IntArray) -> Ragged:
        part, starts, lengths = self.parts[index], self.starts[rows] - self.part_starts[index], self.lengths[rows]
        stops = starts + lengths
        without_gaps = len(rows) and (starts[1:] == stops[:-1]).all()
        entries: Any = slice(starts[0], stops[-1]) if without_gaps else positions_of(starts, lengths)
        columns, queries = _indexed(part.columns, entries), _indexed(self.queries, rows)
        taken = Ragged(part.values[entries], offsets_of(lengths), columns, queries)
        for transform in self.transforms:
            taken = transform(taken)
        return taken

    def blocks(self) -> Iterator[Ragged]:
        """The rows of one part after the other; `starts` must ascend."""
        for start, stop in pairwise([*np.searchsorted(self.starts, self.part_starts), len(self)]):
            if start < stop:
                yield self.rows(start, stop)

    def map(self, transform: Callable[[Ragged], Ragged]) -> LazyRows:
        """Apply `transform` to the rows that are read; `lengths` remain those before it."""
        return replace(self, transforms=[*self.transforms, transform])

    def with_queries(self, **queries: Array) -> LazyRows:
        return replace(self, queries={**self.queries, **queries})

    def without(self, name: str) -> LazyRows:
        return self.map(partial(Ragged.without, name=name))


Rows: TypeAlias = Ragged | LazyRows  # histories that may be larger than memory
SomeRows = TypeVar("SomeRows", Ragged, LazyRows, Ragged | LazyRows)


def slices(histories: Rows, rows: IntArray, starts: IntArray, lengths: IntArray) -> LazyRows:
    """Parts of rows: the `lengths[i]` values of row `rows[i]` that begin at its position `starts[i]`."""
    if isinstance(histories, Ragged):
        histories = LazyRows([histories], histories.offsets[:-1], histories.lengths)
    return replace(histories, starts=histories.starts[rows] + starts, lengths=lengths, queries={})


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, with the columns and queries that all of them have."""
    return Ragged(
        np.concatenate([part.values for part in parts]),
        offsets_of(np.concatenate([part.lengths for part in parts])),
        _concatenate_common([part.columns for part in parts]),
        _concatenate_common([part.queries for part in parts]),
    )


def _indexed(arrays: Mapping[str, Array], index: Any) -> dict[str, Array]:
    return {name: values[index] for name, values in arrays.items()}


def _concatenate_common(tables: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    names = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: np.concatenate([table[name] for table in tables]) for name in names}


def labels_of(histories: Ragged) -> Ragged:
    """The items that may be labels and targets: those with a weight above 0, or all where there are no weights."""
    weights = histories.columns.get("label_weights")
    return histories if weights is None else histories.where(weights > 0)


def seen_items(histories: SomeRows, exclude_seen: bool = True) -> SomeRows:
    """Items that may not be recommended, one row per history; none without `exclude_seen`.

    These are the items of the history; where there are event types, only those of the requested type.
    """
    return histories.map(_of_requested_type if exclude_seen else _without_items)


def _of_requested_type(histories: Ragged) -> Ragged:
    if "event_ids" not in histories.columns:
        return histories
    query_events = histories.queries.get("event_ids", np.zeros(len(histories), dtype=np.int64))
    return histories.where(histories.columns["event_ids"] == np.repeat(query_events, histories.lengths))


def _without_items(histories: Ragged) -> Ragged:
    return Ragged(np.empty(0, dtype=np.int64), np.zeros(len(histories) + 1, dtype=np.int64))


def sample_rows(lengths: IntArray, maximum: int, seed: int) -> IntArray:
    """Rows with at most `maximum` values together, in ascending order, chosen at random if all have more."""
    if lengths.sum() <= maximum:
        return np.arange(len(lengths))
    order = np.random.default_rng(seed).permutation(len(lengths))
    return np.sort(order[np.cumsum(lengths[order]) <= maximum])


def codes_with_events(items: IntArray, events: npt.NDArray[np.integer] | None) -> IntArray:
    """Integers (total,) that are equal for the same item and event type; the items without `events`."""
    return items if events is None else items * (int(events.max(initial=0)) + 1) + events


def flat_column(dataset: Any, name: str) -> tuple[pa.Array, IntArray]:
    """The values of a list column of a `datasets.Dataset` (total,), without a copy, and the offsets (rows + 1,)."""
    column = arrow_table(dataset)[name].combine_chunks()
    offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return column.values[offsets[0] : offsets[-1]], offsets - offsets[0]


def flat_targets(dataset: Any, name: str) -> tuple[pa.Array, IntArray] | None:
    """`flat_column` of `name` with one value per row, or of the list column `name` + "s"; None if there is neither."""
    if f"{name}s" in dataset.column_names:
        return flat_column(dataset, f"{name}s")
    if name not in dataset.column_names:
        return None
    values = arrow_table(dataset)[name].combine_chunks()
    return values, np.arange(len(values) + 1)


def arrow_table(dataset: Any) -> pa.Table:
    """The table of a `Dataset`, without a copy, or of an `IterableDataset`; ValueError if it has a transform."""
    if getattr(dataset, "format", {"type": None})["type"] == "custom":
        raise ValueError("the dataset has a transform, which is not applied to tables: apply it by dataset.map(…)")
    import pyarrow as pa  # arrays do not need it

    formatted = dataset.with_format("arrow")
    return formatted[:] if hasattr(dataset, "format") else pa.concat_tables(formatted.iter(batch_size=10_000))


def require_times(histories: Ragged) -> IntArray:
    """The times of histories, (total,); ValueError if they have none."""
    if "timestamps" not in histories.columns:
        raise ValueError(
            "these histories have no times, which a model with time_aware: true needs: give a time column, or train "
            "with --time_aware false"
        )
    return histories.columns["timestamps"]


def offsets_of(lengths: Sequence[int] | Array) -> IntArray:
    """Offsets (rows + 1,) of rows of these lengths (rows,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def positions_of(starts: IntArray, lengths: IntArray) -> IntArray:
    """The positions (total,) of the values of rows that begin at `starts` (rows,)."""
    within = np.arange(lengths.sum()) - np.repeat(offsets_of(lengths)[:-1], lengths)
    return np.repeat(starts, lengths) + within


def row_blocks(lengths: IntArray, size: int) -> IntArray:
    """Bounds of blocks of rows with about `size` values each: block i has the rows from `bounds[i]` to `bounds[i + 1]`.

    Rows of these `lengths` are not divided.
    """
    ends = np.cumsum(lengths)
    starts = np.searchsorted(ends, np.arange(0, ends[-1], size), side="right")
    return np.unique(np.append(starts, len(lengths)))


def row_sums(mask: BoolArray, offsets: IntArray) -> IntArray:
    """The number of true values in every row, (rows,), of rows with these offsets (rows + 1,)."""
    sums = offsets_of(mask)
    return sums[offsets[1:]] - sums[offsets[:-1]]


def run_lengths(codes: IntArray) -> IntArray:
    """Lengths of the runs of equal codes, shape (runs,)."""
    ends = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    return np.diff(ends, prepend=0, append=len(codes)) if len(codes) else ends


def repeated_rows(codes: IntArray, others: IntArray) -> IntArray:
    """The rows with both codes of an earlier row, in no order; codes are those of `codes_of`."""
    pairs = codes * (others.max(initial=0) + 1) + others
    ordered = np.sort(pairs)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, dtype=np.int64)
    order = np.argsort(pairs, kind="stable")  # several times slower, but stable: the first row comes first
    ordered = pairs[order]
    return order[1:][ordered[1:] == ordered[:-1]]
