"""From a table of any size to a folder of histories (`prepared_folder.py`), in bounded memory.

The table is read once, in portions. Ids become numbers, and rows are written to disk: first as they come, then
partitioned by ranges of users. Every partition is then sorted in memory. What grows with the table and stays in memory
is one entry for every user and every item. The result is that of `build_histories`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...model.tokenization_bert4rec import ANSWER_KEYS
from ..arguments import DataArguments, TextOptions
from ..columns import as_ratings
from ..histories import check_filters, no_user_left, warn_of_repeats
from ..interactions import find_columns, joined, read_item_table
from ..prepare import item_columns, table_name
from ..ragged import IntArray
from ..tables import Table, to_frame
from .id_codes import IdCodes
from .prepared_folder import OPTIONS, check_replaceable, finish_folder, new_folder
from .row_batches import RowBatches, open_batches
from .spilled_times import TimeReader
from .stored_histories import SHARD, write_shard
from .user_partitions import Array, ColumnFiles, Core, Partitions, k_core, row_sums, sort_rows

logger = logging.getLogger(__name__)

ROWS_PER_PARTITION = 1 << 23  # sorted in memory, in about 80 bytes for each
ROWS_PER_PORTION = 1 << 22  # partitioned at once


def prepare_folder(
    arguments: DataArguments, output_dir: str | Path, interactions: Any = None, items: Any = None
) -> dict[str, Any]:
    """Write the histories of a table to a folder, which `ratings` then takes instead of the table.

    Everything is written to a temporary folder next to it, which replaces an earlier preparation at the end. What a
    killed process left is removed.

    Args:
        arguments: the table, and the options of its histories and their split.
        interactions, items: tables in memory, instead of the files that `arguments` name.

    Returns:
        The manifest, the content of `prepared.json`.

    Raises:
        FileNotFoundError: a table does not exist.
        FileExistsError: `output_dir` holds something other than a preparation.
        ValueError: a table that cannot be read, no user left, or a split with an empty part.
        OSError: the disk is full, or another process is writing to `output_dir`.
    """
    check_options(arguments)
    check_replaceable(output_dir)
    table = _Source.open(arguments, interactions, items)
    with new_folder(output_dir) as (new, work):
        return _write(table, new, work)


def check_options(arguments: DataArguments) -> None:
    """Raise ValueError for an option that a folder cannot have."""
    if named := [name for name in ("event_column", "weight_column") if getattr(arguments, name)]:
        raise ValueError(f"{named[0]}: folders have no kinds of events and weights; train on the table itself")
    check_filters(arguments.min_interactions, arguments.repeats)


@dataclass(frozen=True)
class _Source:
    """The tables to prepare: interactions in portions, the columns to read by our names, and the item table."""

    arguments: DataArguments
    batches: RowBatches
    columns: dict[str, str]
    items: pl.DataFrame | None

    @classmethod
    def open(cls, arguments: DataArguments, interactions: Any, items: Any) -> _Source:
        options = TextOptions(**{option.name: getattr(arguments, option.name) for option in fields(TextOptions)})
        table = arguments.ratings if interactions is None else interactions
        batches = open_batches(table, options, arguments.dataset_config, arguments.dataset_split)
        requested = {
            "user_id": arguments.user_column,
            "movie_id": arguments.item_column,
            "rating": arguments.rating_column or None,
            "timestamp": arguments.time_column or None,
        }
        described = Table(pl.LazyFrame(schema=batches.schema), batches.source, batches.form)
        columns = find_columns(described, requested)
        if arguments.min_rating is not None and "rating" not in columns:
            raise ValueError(f"min_rating is {arguments.min_rating}, but {batches.source} has no ratings")
        item_table = arguments.items if items is None else items
        described_items = read_item_table(item_table, columns["movie_id"], item_columns(arguments), options)
        return cls(arguments, batches, columns, described_items)


@dataclass(frozen=True)
class _Rows:
    """The rows of a table on disk: codes of users and items, raw times and ratings, in the order of the table."""

    files: ColumnFiles
    users: IdCodes
    items: IdCodes
    times: TimeReader | None
    portions: list[tuple[int, Any]]  # rows, and the type of their times

    def raw_times(self) -> Iterator[Array]:
        """The times of every portion as they were read."""
        start = 0
        for rows, kind in self.portions:
            yield self.files.read("times", start, rows).view(kind)
            start += rows


def _store(table: _Source, work: Path) -> _Rows:
    """Read the table once, and write its rows as numbers."""
    source, columns = table.batches.source, table.columns
    types: dict[str, Any] = {"users": np.int32, "items": np.int32}
    types |= {"times": np.int64} if "timestamp" in columns else {}
    types |= {"ratings": np.float32} if "rating" in columns else {}
    rows = _Rows(
        ColumnFiles(work, "rows", types),
        IdCodes(columns["user_id"], source),
        IdCodes(columns["movie_id"], source),
        TimeReader(columns["timestamp"], source) if "timestamp" in columns else None,
        [],
    )
    for name, frame in table.batches.read(list(dict.fromkeys(columns.values()))):
        stored = {
            "users": rows.users.codes(frame[columns["user_id"]], name),
            "items": rows.items.codes(frame[columns["movie_id"]], name),
        }
        kind: Any = np.int64
        if rows.times is not None:
            times = rows.times.read(frame[columns["timestamp"]], name)
            kind, stored["times"] = times.dtype, times.view(np.int64)
        if "rating" in columns:
            stored["ratings"] = as_ratings(frame[columns["rating"]], columns["rating"], name).to_numpy()
        rows.files.append(stored)
        rows.portions.append((frame.height, kind))
    if not rows.portions:
        raise ValueError(f"{source} has no rows")
    return rows


def _write(table: _Source, new: Path, work: Path) -> dict[str, Any]:
    """All steps from the table to a complete folder `new`; `work` is for files in between."""
    arguments = table.arguments
    rows = _store(table, work)
    user_ids, user_numbers = rows.users.sorted_ids()
    item_ids, item_numbers = rows.items.sorted_ids()
    logger.info("%s rows of %s users with %s items", *(f"{n:,}" for n in _size(rows, user_ids, item_ids)))
    partitions = _partition(rows, user_numbers, item_numbers, work)
    lengths, counts = _sort(partitions, len(item_ids), arguments)
    parts = list(zip(partitions.files, lengths, strict=True))
    core = k_core(parts, counts, arguments.min_interactions)
    if not core.users.any():
        size = _size(rows, user_ids, item_ids)
        raise ValueError(no_user_left(*size, arguments.min_interactions, arguments.min_rating))
    catalogue, index = _catalogue(table, item_ids, _present(parts, core, len(item_ids)))
    _write_shards(parts, core, user_ids, index, new)
    column = table.columns["movie_id"]
    name = table_name(arguments.ratings) if arguments.ratings else "interactions"
    options = {option: getattr(arguments, option) for option in OPTIONS}
    return finish_folder(new, name, "item_id" if column in ANSWER_KEYS else column, catalogue, options)


def _size(rows: _Rows, user_ids: pl.Series, item_ids: pl.Series) -> tuple[int, int, int]:
    """Rows, users and items of a table."""
    return sum(count for count, _ in rows.portions), len(user_ids), len(item_ids)


def _partition(rows: _Rows, user_numbers: IntArray, item_numbers: IntArray, work: Path) -> Partitions:
    """The rows with numbers of sorted ids and times in seconds, by ranges of users; `rows` are removed."""
    convert = None if rows.times is None else rows.times.conversion(rows.raw_times)
    types = dict(rows.files.types)
    if convert is not None:
        types["times"] = convert(next(rows.raw_times())).dtype
    counts, start = np.zeros(int(user_numbers.max()) + 1, dtype=np.int64), 0
    for number, _ in rows.portions:
        counts += np.bincount(user_numbers[rows.files.read("users", start, number)], minlength=len(counts))
        start += number
    partitions = Partitions(work, counts, types, ROWS_PER_PARTITION)
    start = 0
    for number, kind in rows.portions:
        columns = {name: rows.files.read(name, start, number) for name in types}
        columns["users"], columns["items"] = user_numbers[columns["users"]], item_numbers[columns["items"]]
        if convert is not None:
            columns["times"] = convert(columns["times"].view(kind))
        partitions.append(columns)
        start += number
    rows.files.remove()
    return partitions


def _sort(partitions: Partitions, num_items: int, arguments: DataArguments) -> tuple[list[IntArray], IntArray]:
    """Sort every partition and drop what is not to be counted; lengths of the histories of each, counts of items."""
    lengths, counts = [], np.zeros(num_items, dtype=np.int64)
    surplus = candidates = 0
    for number, files in enumerate(partitions.files):
        columns = {name: files.read(name) for name in files.types}
        files.remove()
        users = int(partitions.bounds[number + 1] - partitions.bounds[number])
        histories = sort_rows(columns, users, arguments.min_rating, arguments.repeats)
        partitions.files[number] = ColumnFiles(
            files.folder, files.name, {name: values.dtype for name, values in histories.columns.items()}
        )
        partitions.files[number].append(histories.columns)
        lengths.append(histories.lengths)
        counts += np.bincount(histories.columns["items"], minlength=num_items)
        surplus, candidates = surplus + histories.surplus, candidates + histories.candidates
    if surplus:
        warn_of_repeats(surplus, candidates, arguments.repeats)
    return lengths, counts


def _present(parts: list[tuple[ColumnFiles, IntArray]], core: Core, num_items: int) -> Array:
    """Whether each item is in a history, (items,)."""
    present, first = np.zeros(num_items, dtype=bool), 0
    for files, lengths in parts:
        items = files.read("items")
        present[items[core.rows(items, lengths, first)]] = True
        first += len(lengths)
    return present


def _catalogue(table: _Source, item_ids: pl.Series, present: Array) -> tuple[pl.DataFrame, Array]:
    """The items of the histories in the vocabulary's order, and the row of every item of `item_ids`, (items,)."""
    tables = joined(pl.DataFrame({"movie_id": item_ids}), table.items, table.batches.source)
    movies, ids = to_frame(tables["movies"]), to_frame(tables["ratings"])["movie_id"]
    catalogue = movies.join(ids.filter(present).to_frame(), on="movie_id", how="semi", maintain_order="left")
    rows = catalogue.select("movie_id").with_row_index("row")
    index = ids.to_frame().join(rows, on="movie_id", how="left", maintain_order="left")["row"]
    return catalogue, index.fill_null(0).to_numpy().astype(np.int32)


def _write_shards(
    parts: list[tuple[ColumnFiles, IntArray]], core: Core, user_ids: pl.Series, index: Array, new: Path
) -> None:
    number = first = 0
    for files, lengths in parts:
        columns = {name: files.read(name) for name in files.types}
        files.remove()
        keep = core.rows(columns["items"], lengths, first)
        kept_lengths = row_sums(keep, lengths)
        users = np.flatnonzero(kept_lengths)
        if len(users):
            columns = {name: values[keep] for name, values in columns.items()}
            ids = user_ids.gather(first + users).to_arrow()
            items = index[columns["items"]]
            shard = new / SHARD.format(number)
            write_shard(shard, ids, kept_lengths[users], items, columns.get("times"), columns.get("ratings"))
            number += 1
        first += len(lengths)
