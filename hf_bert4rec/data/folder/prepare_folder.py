"""From a table of any size to a folder of histories (`prepared_folder.py`), in bounded memory.

The table is read once, in chunks. Ids become numbers, and rows are written to disk: first as they come, then
partitioned by ranges of users. Every partition is then sorted in memory. What grows with the table and stays in memory
is one entry for every user and every item. The result is that of `build_histories`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..arguments import DataArguments
from ..columns import as_events, as_ratings, as_weights_of_chunk
from ..histories import CODES, NUMBERS, check_filters, no_user_message, order_events, sort_rows, warn_of_repeats
from ..interactions import find_columns, read_item_table
from ..items import join_items
from ..ragged import Array, BoolArray, IntArray
from ..stored_histories import SHARD, Histories, event_indices, write_shard
from ..times import TimeReader
from .id_codes import IdCodes
from .prepared_folder import check_folders, finish_folder, new_folder
from .row_batches import RowBatches, open_batches
from .user_partitions import ColumnFiles, Partitions, in_core, k_core

logger = logging.getLogger(__name__)

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
        event_names = order_events(rows.codes["events"].ids, arguments) if "events" in rows.codes else []
        catalogue = _write_histories(rows, event_names, arguments, item_table, new)
        return finish_folder(new, arguments, columns["movie_id"], catalogue, event_names)


def find_table_columns(arguments: DataArguments, available: Sequence[str], source: str, form: str) -> dict[str, str]:
    """The names of the columns to read, by our names; ValueError if one is missing, as in `find_columns`."""
    columns = find_columns(available, source, form, arguments.requested_columns)
    if arguments.min_rating is not None and "rating" not in columns:
        raise ValueError(f"min_rating is {arguments.min_rating}, but {source} has no ratings")
    return columns


@dataclass(frozen=True)
class _StoredRows:
    """The rows of a table on disk: codes of ids and events, raw times, ratings, weights, in the order of the table."""

    files: ColumnFiles
    height: int
    codes: Mapping[str, IdCodes]
    times: TimeReader | None


def _store(batches: RowBatches, columns: dict[str, str], work: Path) -> _StoredRows:
    """Read the table once, and write its rows as numbers."""
    stored = {name: columns[role] for name, role in (CODES | NUMBERS).items() if role in columns}
    codes = {name: IdCodes(stored[name], batches.source) for name in CODES if name in stored}
    times = TimeReader(stored["timestamps"], batches.source) if "timestamps" in stored else None
    readers: dict[str, Callable[[pl.Series, str], Any]] = {name: ids.codes for name, ids in codes.items()}
    readers |= {"ratings": as_ratings, "weights": as_weights_of_chunk}
    if "events" in stored:
        readers["events"] = lambda values, source: codes["events"].codes(as_events(values, source), source)
    if times is not None:
        readers["timestamps"] = times.read
    files, height = ColumnFiles(work, "rows", list(stored)), 0
    for source, frame in batches.read(list(dict.fromkeys(stored.values()))):
        files.append({name: readers[name](frame[column], source) for name, column in stored.items()})
        height += frame.height
    if not height:
        raise ValueError(f"{batches.source} has no rows")
    if "weights" in stored and not any(weights.any() for weights in files.chunks("weights")):
        raise ValueError(
            f"{batches.source}: column {stored['weights']!r} is 0 in all rows, but some weight must be above 0"
        )
    return _StoredRows(files, height, codes, times)


def _write_histories(
    rows: _StoredRows, event_names: Sequence[str], arguments: DataArguments, item_table: pl.DataFrame | None, new: Path
) -> pl.DataFrame:
    """Write the files of histories to `new`, and return the catalogue; files in between are next to those of `rows`."""
    user_ids, user_numbers = rows.codes["users"].sorted_ids()
    item_ids, item_numbers = rows.codes["items"].sorted_ids()
    counts = rows.height, len(user_ids), len(item_ids)
    logger.info("%s rows of %s users with %s items", *(f"{count:,}" for count in counts))
    numbers = {"users": user_numbers.astype(np.int32), "items": item_numbers.astype(np.int32)}
    if "events" in rows.codes:
        numbers["events"] = event_indices(rows.codes["events"].ids, event_names)
    paths, item_counts = _sort(_partition(rows, numbers), user_ids, len(item_ids), arguments)
    users, items = k_core(Histories.open(paths), item_counts, arguments.min_interactions)
    if not users.any():
        raise ValueError(no_user_message(*counts, arguments.min_interactions, arguments.min_rating))
    catalogue, index = _catalogue(item_table, item_ids, items, rows.codes["items"].source)
    _write_shards(paths, users, items, index, new)
    return catalogue


def _partition(rows: _StoredRows, numbers: Mapping[str, Array]) -> Partitions:
    """The rows with times in seconds and `numbers` in place of codes, by ranges of users; `rows` are removed."""
    files = rows.files
    counts = np.zeros(int(numbers["users"].max()) + 1, dtype=np.int64)
    for users in files.chunks("users"):
        counts += np.bincount(numbers["users"][users], minlength=len(counts))
    partitions = Partitions(files.folder, counts, files.columns, ROWS_PER_PARTITION)
    convert: dict[str, Callable[..., Array]] = {name: of_codes.take for name, of_codes in numbers.items()}
    if rows.times is not None:
        convert["timestamps"] = rows.times.conversion(lambda: files.chunks("timestamps"))
    for chunk in zip(*map(files.chunks, files.columns), strict=True):
        columns = dict(zip(files.columns, chunk, strict=True))
        partitions.append({name: convert.get(name, np.asarray)(values) for name, values in columns.items()})
    files.remove()
    return partitions


def _sort(
    partitions: Partitions, user_ids: pl.Series, num_items: int, arguments: DataArguments
) -> tuple[list[Path], IntArray]:
    """Write a shard of every partition, without what `min_rating` and `repeats` drop; also the counts of all items.

    A user may have no items, which are numbers of all ids.
    """
    paths: list[Path] = []
    counts, total_surplus = np.zeros(num_items, dtype=np.int64), 0
    for (first, stop), files in zip(pairwise(partitions.bounds), partitions.files, strict=True):
        columns = files.pop()
        lengths, surplus = sort_rows(columns, stop - first, arguments.min_rating, arguments.repeats)
        paths.append(files.folder / SHARD.format(len(paths)))
        write_shard(paths[-1], user_ids[first:stop].to_arrow(), lengths, columns)
        counts += np.bincount(columns["items"], minlength=num_items)
        total_surplus += surplus
    if total_surplus:
        warn_of_repeats(total_surplus, int(counts.sum()) + total_surplus, arguments.repeats)
    return paths, counts


def _catalogue(
    item_table: pl.DataFrame | None, item_ids: pl.Series, present: Array, source: str
) -> tuple[pl.DataFrame, Array]:
    """The items of the histories in the vocabulary's order, and the row of every item of `item_ids`, (items,)."""
    ids, movies = join_items(pl.DataFrame({"movie_id": item_ids}), item_table, source)
    catalogue = movies.join(ids.filter(pl.Series(present)), on="movie_id", how="semi", maintain_order="left")
    rows = catalogue.select("movie_id").with_row_index("row")
    index = ids.join(rows, on="movie_id", how="left", maintain_order="left")["row"]
    return catalogue, index.fill_null(0).to_numpy().astype(np.int32)


def _write_shards(paths: Sequence[Path], users: BoolArray, items: BoolArray, index: Array, new: Path) -> None:
    """Write the histories of `paths`, which are removed, without users and items that are false; items by `index`."""
    number = first = 0
    for path in paths:
        histories = Histories.open([path])
        (part,) = histories.parts
        core = part.where(in_core(part, users[first : first + len(part)], items))
        rows = np.flatnonzero(core.lengths)
        if len(rows):
            columns = {"items": index[core.values], **core.columns}
            ids = histories.user_ids.gather(rows).to_arrow()
            write_shard(new / SHARD.format(number), ids, core.lengths[rows], columns)
            number += 1
        first += len(part)
        with suppress(PermissionError):  # Windows keeps a mapped file; the folder is removed at the end
            path.unlink()
