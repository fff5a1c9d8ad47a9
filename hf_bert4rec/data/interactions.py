"""Any table of interactions, and sequence files, as the tables that `load_movielens` returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict

from .columns import INTEGER, as_ids, as_ratings, as_seconds
from .delimited import UTF8_MARK, Dialect, read_rows
from .items import ITEM_COLUMNS, read_items
from .movielens import read_movies
from .tables import read_table, to_dataset, to_frame

logger = logging.getLogger(__name__)

SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE = "ml-1m.txt", "item_mapping.txt", "movies.dat"
# Users, items and interactions of the file that published results are made with.
SEQUENCE_COUNTS = (6_040, 3_416, 999_611)
# Fields of a header line, to tell one from a first interaction between words.
HEADER_WORDS = frozenset(
    {"user", "user_id", "userid", "uid", "item", "item_id", "itemid", "iid", "movie", "movie_id", "movieid"}
)


def read_interactions(
    table: Any,
    user_column: str = "user_id",
    item_column: str = "movie_id",
    time_column: str | None = "timestamp",
    rating_column: str | None = "rating",
    items: Any = None,
    item_columns: Mapping[str, str | None] | None = None,
    quote_char: str | None = None,
    escape_char: str | None = None,
) -> DatasetDict:
    """Read a table of interactions as `DatasetDict{ratings, movies}`, the result of `load_movielens`.

    - Ids: blanks around an id are removed; a column of integers becomes int64, any other text ("007" too).
    - Times become seconds since 1970, int64 or, if one has a fraction of a second, float64. Dates, datetimes and ISO
      text are UTC unless they name a zone. The unit of numbers, seconds to nanoseconds, follows from their magnitude.
    - Repeated (user, item) pairs stay; `build_histories` keeps the first of each.

    Args:
        table: a CSV, TSV or Parquet file, a pandas or polars DataFrame, or a `datasets.Dataset`, with one row per
            interaction in any order.
        time_column: None if the rows are in chronological order; the result then has no timestamps.
        rating_column: None to read no ratings; a table without a column "rating" needs no option.
        items: a table of the same kinds with movie_id and, if known, title, year and genres (lists, JSON, or text with
            "|", ";" or "," between them). Without a year column the year is split off titles such as "Heat (1995)".
            An item without a row or a title has its id as title.
        item_columns: columns of `items` by our names, such as {"movie_id": "sku", "title": "name"}; None for a
            column that is not to be read.
        quote_char: the character around fields of text files, "" for none; see `read_delimited`.
        escape_char: the character before quote marks inside such fields.

    Raises:
        ValueError: An empty table, a missing column, an id, time or rating that is missing or unreadable, or a
            duplicate item; the message names file, row and value.
        TypeError: A table of another kind.
    """
    columns = {"user_id": user_column, "movie_id": item_column}
    frame, source = read_table(table, "interactions", quote_char, escape_char)
    if rating_column is not None and (rating_column != "rating" or "rating" in frame.columns):
        columns["rating"] = rating_column
    if time_column is not None:
        columns["timestamp"] = time_column
    frame = _select(frame, columns, source)
    readers = {"user_id": as_ids, "movie_id": as_ids, "rating": as_ratings, "timestamp": as_seconds}
    ratings = pl.DataFrame([readers[name](frame[name], columns[name], source) for name in columns])
    if items is None:
        return _joined(ratings, None, source)
    described, items_source = read_table(items, "items", quote_char, escape_char)
    return _joined(ratings, read_items(described, item_columns or {}, items_source), source)


def read_sequences(
    path: str | Path, items: Dataset | pl.DataFrame | None = None, id_mapping: str | Path | None = None
) -> DatasetDict:
    """Read a file with "user item" on each line, in chronological order for each user, without a header.

    `ratings` has user_id and movie_id only, in the order of the lines.

    Args:
        items: a movies table with movie_id, title, year and genres, such as `load_movielens(...)["movies"]`, all of
            which is returned; without it, ids serve as titles.
        id_mapping: a file of "item id in the sequence file, movie id" lines; without it the file's ids are movie ids.

    Raises:
        ValueError: A line that is not two fields, a header, an item without a mapping, or a mapping that gives two
            items one id; the message names file and line.
    """
    path = Path(path)
    ratings = _read_pairs(path, ("user_id", "movie_id"))
    if id_mapping is not None:
        ratings = _mapped(ratings, path, Path(id_mapping))
    return _joined(ratings, to_frame(items) if isinstance(items, Dataset) else items, str(path))


def load_ml1m_sequences(folder: str | Path) -> DatasetDict:
    """Read the ML-1M sequences that published BERT4Rec and SASRec results use, with GroupLens' ids and titles.

    `folder` holds ml-1m.txt, item_mapping.txt (its item ids → GroupLens') and the release's movies.dat.

    Raises:
        FileNotFoundError: A file is missing. ValueError: The counts are not those of the published file.
    """
    folder = Path(folder)
    if missing := [name for name in (SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    movies = read_movies(folder / MOVIES_FILE, "ml-1m")
    tables = read_sequences(folder / SEQUENCE_FILE, movies, folder / MAPPING_FILE)
    ratings = to_frame(tables["ratings"])
    counts = (ratings["user_id"].n_unique(), ratings["movie_id"].n_unique(), ratings.height)
    if counts != SEQUENCE_COUNTS:
        raise ValueError(
            f"{folder / SEQUENCE_FILE} has (users, items, interactions) {counts}, but the file of published results "
            f"has {SEQUENCE_COUNTS}: take the original, or read another file with read_sequences"
        )
    return tables


def _select(frame: pl.DataFrame, columns: Mapping[str, str], source: str) -> pl.DataFrame:
    """The columns under our names; ValueError that says how to map them if one is missing."""
    if missing := {ours: theirs for ours, theirs in columns.items() if theirs not in frame.columns}:
        options = {"user_id": "user", "movie_id": "item", "timestamp": "time", "rating": "rating"}
        how = " and ".join(f"{options[ours]}_column=..." for ours in missing)
        none = " (time_column=None if the rows are in order already)" if "timestamp" in missing else ""
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing.values()))}; it has {frame.columns}. "
            f"Name the right one with {how}{none}.{_header_hint(frame.columns)}"
        )
    if frame.is_empty():
        raise ValueError(f"{source} has no rows")
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in columns.items())


def _header_hint(names: list[str]) -> str:
    """What is probably wrong with a text file whose first line gives these names."""
    if len(names) == 1 and (marks := [mark for mark in ";\t|," if mark in names[0]]):
        return f" Are its fields separated by {marks[0]!r}? A .csv file has ',' and a .tsv file a tab between fields."
    if any(name.startswith(('"', "'")) for name in names):
        return f" Are its fields quoted? Give quote_char={names[0][0]!r}."
    if any(name.strip().lstrip("-").replace(".", "", 1).isdigit() for name in names):
        return " Its first line must name the columns."
    return ""


def _joined(ratings: pl.DataFrame, movies: pl.DataFrame | None, source: str) -> DatasetDict:
    """Both tables as datasets, with ids of one type and a movies row for every item of the ratings."""
    rated = ratings.select(pl.col("movie_id").unique()).sort("movie_id")
    if movies is None:
        return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(_undescribed(rated)))
    ratings, rated, movies = _with_ids_of_one_type(ratings, rated, movies)
    missing = rated.join(movies, on="movie_id", how="anti").sort("movie_id")
    if missing.height == rated.height:
        raise ValueError(
            f"{source}: none of its {rated.height:,} items is in the items' table; ids are like "
            f"{rated['movie_id'][0]!r} here and like {movies['movie_id'].head(1).to_list()} there. "
            "Map the right id column."
        )
    if missing.height:
        first = missing["movie_id"][0]
        logger.warning("%s: %d items have no row in the items' table (the first is %r)", source, missing.height, first)
    catalogue = pl.concat([movies.select(ITEM_COLUMNS), _undescribed(missing)])
    return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(catalogue))


def _with_ids_of_one_type(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    """The frames with their `movie_id` as text if only some of them hold integers: they can still be the same ids."""
    same = len({frame["movie_id"].dtype for frame in frames}) == 1
    return [frame if same else frame.with_columns(pl.col("movie_id").cast(pl.String)) for frame in frames]


def _undescribed(ids: pl.DataFrame) -> pl.DataFrame:
    """Rows for items of which only the id is known; it serves as title."""
    return ids.select(
        "movie_id",
        pl.col("movie_id").cast(pl.String).alias("title"),
        pl.lit(None, pl.Int64).alias("year"),
        pl.lit([], pl.List(pl.String)).alias("genres"),
    )


def _read_pairs(path: Path, names: tuple[str, str]) -> pl.DataFrame:
    """A file of two fields per line, separated by one space or tab."""
    data = path.read_bytes().removeprefix(UTF8_MARK).replace(b"\t", b" ")
    if not data.strip():
        raise ValueError(f"{path} has no rows")
    frame = read_rows(data, dict.fromkeys(names, pl.String), Dialect(" "), path)
    _refuse_header(frame, path)
    return pl.DataFrame([as_ids(frame[name], name, str(path)) for name in names])


def _refuse_header(frame: pl.DataFrame, path: Path) -> None:
    """Raise ValueError if the first line names columns: text above integers, or words for user and item."""
    first, rest = frame.row(0), frame.slice(1)
    integers = [column.str.contains(INTEGER) for column in frame]
    text_above_integers = rest.height and any(not column[0] and column.slice(1).all() for column in integers)
    if text_above_integers or HEADER_WORDS.issuperset(name.lower() for name in first):
        raise ValueError(f"{path}, line 1: {' '.join(first)!r} looks like a header; remove this line")


def _mapped(ratings: pl.DataFrame, path: Path, id_mapping: Path) -> pl.DataFrame:
    mapping = _read_pairs(id_mapping, ("movie_id", "mapped"))
    for name in mapping.columns:
        if (repeated := ~mapping[name].is_first_distinct()).any():
            line = repeated.arg_true()[0] + 1
            raise ValueError(f"{id_mapping}, line {line}: duplicate id {mapping[name][line - 1]!r}")
    ratings, mapping = _with_ids_of_one_type(ratings, mapping)
    mapped = ratings.join(mapping, on="movie_id", how="left", maintain_order="left")
    if (unknown := mapped["mapped"].is_null()).any():
        line = unknown.arg_true()[0]
        raise ValueError(f"{path}, line {line + 1}: item {ratings['movie_id'][line]!r} is not in {id_mapping}")
    return mapped.select("user_id", pl.col("mapped").alias("movie_id"))
