"""From a table of any size to a folder of histories (`prepared_folder.py`), in bounded memory.

The table is read once, in portions. Ids become numbers, and rows are written to disk: first as they come, then
partitioned by ranges of users. Every partition is then sorted in memory. What grows with the table and stays in memory
is one entry for every user and every item. The result is that of `build_histories`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..arguments import DataArguments
from ..columns import as_events, as_ratings, as_weights_of_portion
from ..histories import check_filters, no_user_left, order_events, sort_rows, warn_of_repeats
from ..interactions import find_columns, read_item_table
from ..items import join_items
from ..ragged import Array, IntArray, offsets_of, row_sums
from ..stored_histories import SHARD, event_numbers, write_shard
from ..times import TimeReader
from .id_codes import IdCodes
from .prepared_folder import check_folders, finish_folder, new_folder
from .row_batches import RowBatches, open_batches
from .user_partitions import ColumnFiles, Core, HistoryFiles, Partitions, k_core

logger = logging.getLogger(__name__)

# Columns of the rows on disk: the column of the table, by our name, and the type.
ROW_TYPES: dict[str, tuple[str, Any]] = {
    "users": ("user_id", np.int32),
    "items": ("movie_id", np.int32),
    "timestamps": ("timestamp", np.int64),
    "ratings": ("rating", np.float32),
    "events": ("event", np.int32),
    "weights": ("weight", np.float32),
}
ROWS_PER_PARTITION = 1 << 23  # sorted in memory, in about 80 bytes for each


def prepare_folder(arguments: DataArguments, output_dir: str | Path) -> dict[str, Any]:
    """Write the histories of a table to a folder, which `ratings` then takes instead of the table.

    Everything is written to a temporary folder next to it, which replaces an earlier preparation at the end. What a
    killed process left is removed. Returns the manifest, the content of `prepared.json`.

    Raises:
        FileNotFoundError: a table does not exist.
        FileExistsError: `output_dir` holds something other than a preparation.
        ValueError: a table that cannot be read, no user left, or a split with an empty part.
        OSError: the disk is full, or another process is writing to `output_dir`.
    """
    check_filters(arguments.min_interactions, arguments.repeats)
    check_folders(arguments.ratings, output_dir)
    batches = open_batches(arguments.ratings, arguments)
    columns = find_table_columns(arguments, batches.schema.names(), batches.source, batches.form)
    item_table = read_item_table(arguments.items, columns["movie_id"], arguments.item_columns, arguments)
    with new_folder(output_dir) as (new, work):
        rows = _store(batches, columns, work)
        event_names = order_events(rows.events.ids, arguments) if rows.events is not None else []
        catalogue = _write_histories(rows, event_names, arguments, item_table, new)
        return finish_folder(new, arguments, columns["movie_id"], catalogue, event_names)


def find_table_columns(arguments: DataArguments, available: Sequence[str], source: str, form: str) -> dict[str, str]:
    """The names of the columns to read, by our names; ValueError if one is missing, as in `find_columns`."""
    columns = find_columns(available, source, form, arguments.requested_columns)
    if arguments.min_rating is not None and "rating" not in columns:
        raise ValueError(f"min_rating is {arguments.min_rating}, but {source} has no ratings")
    return columns


@dataclass(frozen=True)
class _Rows:
    """The rows of a table on disk: codes of ids and events, raw times, ratings, weights, in the order of the table."""

    files: ColumnFiles
    users: IdCodes
    items: IdCodes
    events: IdCodes | None
    times: TimeReader | None
    portions: list[tuple[int, Any]]  # rows, and the type of their times

    def read(self, *names: str) -> Iterator[dict[str, Array]]:
        """These columns of every portion; times as they were read."""
        start = 0
        for rows, kind in self.portions:
            columns = {name: self.files.read(name, start, rows) for name in names}
            if "timestamps" in columns:
                columns["timestamps"] = columns["timestamps"].view(kind)
            yield columns
            start += rows


def _store(batches: RowBatches, columns: dict[str, str], work: Path) -> _Rows:
    """Read the table once, and write its rows as numbers."""
    source = batches.source
    types = {name: kind for name, (role, kind) in ROW_TYPES.items() if role in columns}
    users, items = IdCodes(columns["user_id"], source), IdCodes(columns["movie_id"], source)
    events = IdCodes(columns["event"], source) if "event" in columns else None
    times = TimeReader(columns["timestamp"], source) if "timestamp" in columns else None
    rows = _Rows(ColumnFiles(work, "rows", types), users, items, events, times, [])
    weighted = "weight" not in columns
    for name, frame in batches.read(list(dict.fromkeys(columns.values()))):
        stored = {
            "users": users.codes(frame[columns["user_id"]], name),
            "items": items.codes(frame[columns["movie_id"]], name),
        }
        kind: Any = np.int64
        if times is not None:
            numbers = times.read(frame[columns["timestamp"]], name)
            kind, stored["timestamps"] = numbers.dtype, numbers.view(np.int64)
        if "rating" in columns:
            stored["ratings"] = as_ratings(frame[columns["rating"]], name).to_numpy()
        if events is not None:
            stored["events"] = events.codes(as_events(frame[columns["event"]], name), name)
        if "weight" in columns:
            stored["weights"] = as_weights_of_portion(frame[columns["weight"]], name).to_numpy()
            weighted |= bool(stored["weights"].any())
        rows.files.append(stored)
        rows.portions.append((frame.height, kind))
    if not rows.portions:
        raise ValueError(f"{source} has no rows")
    if not weighted:
        raise ValueError(f"{source}: column {columns['weight']!r} is 0 in all rows, but some weight must be above 0")
    return rows


def _write_histories(
    rows: _Rows, event_names: Sequence[str], arguments: DataArguments, item_table: pl.DataFrame | None, new: Path
) -> pl.DataFrame:
    """Write the files of histories to `new`, and return the catalogue; files in between are next to those of `rows`."""
    user_ids, user_numbers = rows.users.sorted_ids()
    item_ids, item_numbers = rows.items.sorted_ids()
    counts = sum(count for count, _ in rows.portions), len(user_ids), len(item_ids)
    logger.info("%s rows of %s users with %s items", *(f"{count:,}" for count in counts))
    numbers = {"users": user_numbers, "items": item_numbers}
    if rows.events is not None:
        numbers["events"] = event_numbers(rows.events.ids, event_names)
    partitions = _partition(rows, numbers)
    parts, item_counts = _sort(partitions, len(item_ids), arguments)
    core = k_core(parts, item_counts, arguments.min_interactions)
    if not core.users.any():
        raise ValueError(no_user_left(*counts, arguments.min_interactions, arguments.min_rating))
    catalogue, index = _catalogue(item_table, item_ids, core.items, rows.items.source)
    _write_shards(parts, core, user_ids, index, new)
    return catalogue


def _partition(rows: _Rows, numbers: Mapping[str, Array]) -> Partitions:
    """The rows with times in seconds and `numbers` in place of codes, by ranges of users; `rows` are removed."""
    types, convert = dict(rows.files.types), None
    if "events" in numbers:
        types["events"] = numbers["events"].dtype
    if rows.times is not None:
        convert = rows.times.conversion(lambda: (portion["timestamps"] for portion in rows.read("timestamps")))
        types["timestamps"] = convert(next(rows.read("timestamps"))["timestamps"]).dtype
    counts = np.zeros(int(numbers["users"].max()) + 1, dtype=np.int64)
    for columns in rows.read("users"):
        counts += np.bincount(numbers["users"][columns["users"]], minlength=len(counts))
    partitions = Partitions(rows.files.folder, counts, types, ROWS_PER_PARTITION)
    for columns in rows.read(*types):
        columns |= {name: of_codes[columns[name]] for name, of_codes in numbers.items()}
        if convert is not None:
            columns["timestamps"] = convert(columns["timestamps"])
        partitions.append(columns)
    rows.files.remove()
    return partitions


def _sort(partitions: Partitions, num_items: int, arguments: DataArguments) -> tuple[list[HistoryFiles], IntArray]:
    """Sort every partition, without what `min_rating` and `repeats` drop; also the interactions of every item."""
    parts, counts = [], np.zeros(num_items, dtype=np.int64)
    total_surplus = 0
    for (first, stop), files in zip(pairwise(partitions.bounds.tolist()), partitions.files, strict=True):
        columns = files.pop()
        lengths, surplus = sort_rows(columns, stop - first, arguments.min_rating, arguments.repeats)
        types = {name: values.dtype for name, values in columns.items()}
        part = HistoryFiles(ColumnFiles(files.folder, files.name, types), lengths, first)
        part.files.append(columns)
        parts.append(part)
        counts += np.bincount(columns["items"], minlength=num_items)
        total_surplus += surplus
    if total_surplus:
        warn_of_repeats(total_surplus, int(counts.sum()) + total_surplus, arguments.repeats)
    return parts, counts


def _catalogue(
    item_table: pl.DataFrame | None, item_ids: pl.Series, present: Array, source: str
) -> tuple[pl.DataFrame, Array]:
    """The items of the histories in the vocabulary's order, and the row of every item of `item_ids`, (items,)."""
    ids, movies = join_items(pl.DataFrame({"movie_id": item_ids}), item_table, source)
    catalogue = movies.join(ids.filter(pl.Series(present)), on="movie_id", how="semi", maintain_order="left")
    rows = catalogue.select("movie_id").with_row_index("row")
    index = ids.join(rows, on="movie_id", how="left", maintain_order="left")["row"]
    return catalogue, index.fill_null(0).to_numpy().astype(np.int32)


def _write_shards(parts: Sequence[HistoryFiles], core: Core, user_ids: pl.Series, index: Array, new: Path) -> None:
    number = 0
    for part in parts:
        columns = part.files.pop()
        in_core = core.rows(part, columns["items"])
        lengths = row_sums(in_core, offsets_of(part.lengths))
        users = np.flatnonzero(lengths)
        if len(users):
            columns = {name: values[in_core] for name, values in columns.items()}
            ids = user_ids.gather(part.first_user + users).to_arrow()
            shard = new / SHARD.format(number)
            columns["items"] = index[columns["items"]]
            write_shard(shard, ids, lengths[users], columns)
            number += 1
