"""Any table of interactions, and sequence files, in the shape that `load_movielens` gives."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict

from .columns import as_ids, as_ratings, as_seconds
from .movielens import read_movies
from .tables import clean_genres, read_any, read_rows, split_genres, split_years, to_dataset, to_frame

logger = logging.getLogger(__name__)

SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE = "ml-1m.txt", "item_mapping.txt", "movies.dat"
# Users, items and interactions of the file that published results are made with.
SEQUENCE_COUNTS = (6_040, 3_416, 999_611)
ITEM_COLUMNS = ("movie_id", "title", "year", "genres")


def read_interactions(
    table: Any,
    user_column: str = "user_id",
    item_column: str = "movie_id",
    time_column: str | None = "timestamp",
    rating_column: str | None = "rating",
    items: Any = None,
    item_columns: Mapping[str, str] | None = None,
) -> DatasetDict:
    """Read a table of interactions as `DatasetDict{ratings, movies}`, the shape of `load_movielens`.

    `table` is a CSV, TSV or Parquet file, or a pandas or polars DataFrame, or a `datasets.Dataset`; one row an
    interaction, in any order. The columns' names are mapped by the `*_column` options.

    - Ids: whole numbers become int64, anything else stays a string ("007" too). Empty ones are an error.
    - `time_column`: whole numbers stay as they are (unix seconds or any other unit, since only their order is
      used), fractions stay float64; dates, and strings such as "2024-05-01" or "2024-05-01T12:30:00+02:00",
      become unix seconds (int64, or float64 where there are fractions), as UTC where they name no zone. None: the
      table is in chronological order already; no timestamps are given, none invented.
    - `rating_column`: optional; without it (None, or no column "rating") there is no rating.
    - Repeated (user, item) pairs are kept here; `build_histories` keeps the first of each.

    `items`, in the same kinds of table, describes the items by movie_id, title, year and genres (a list, or
    "|"-separated); `item_columns` maps these names to the table's own, {"movie_id": "sku", "title": "name"}. Only
    the id is needed. Without a year column the year is split off titles such as "Heat (1995)". Items without a
    row, or without a title, get their id as title.

    Raises ValueError, with file, row and value, for an empty table, missing columns, ids or timestamps that are
    null, not finite or unreadable, and for items that stand twice; TypeError for a table of another kind.
    """
    wanted = {"user_id": user_column, "movie_id": item_column}
    if time_column is not None:
        wanted["timestamp"] = time_column
    frame, place = read_any(table, "interactions")
    if rating_column is not None and (rating_column != "rating" or "rating" in frame.columns):
        wanted["rating"] = rating_column
    frame = _renamed(frame, wanted, place, "_column")
    readers = {"user_id": as_ids, "movie_id": as_ids, "rating": as_ratings, "timestamp": as_seconds}
    order = [name for name in ("user_id", "movie_id", "rating", "timestamp") if name in wanted]
    ratings = pl.DataFrame([readers[name](frame[name], wanted[name], place) for name in order])
    movies = None if items is None else _read_items(items, item_columns or {})
    return _joined(ratings, movies, place)


def read_sequences(
    path: str | Path, items: Dataset | pl.DataFrame | None = None, id_mapping: str | Path | None = None
) -> DatasetDict:
    """Read a file with "user item" on each line, in chronological order for each user.

    The order of lines is kept and no timestamp or rating is invented: `ratings` has user_id and movie_id alone.
    `id_mapping` is a file of "item id in the sequence file, movie id" lines: movie_id is the latter (without it,
    the file's own). `items` is a movies table with movie_id, title, year and genres, such as
    `load_movielens(...)["movies"]`; without it, ids serve as titles. The whole of it is returned.

    Raises ValueError with file and line for a line that is not two fields, an item without a mapping, or a
    mapping that gives two items one id.
    """
    path = Path(path)
    ratings = _read_pairs(path, ("user_id", "movie_id"))
    if id_mapping is not None:
        ratings = _mapped(ratings, path, Path(id_mapping))
    return _joined(ratings, to_frame(items) if isinstance(items, Dataset) else items, str(path))


def load_ml1m_sequences(folder: str | Path) -> DatasetDict:
    """The ML-1M sequences that published BERT4Rec and SASRec results use, with GroupLens' ids and titles.

    `folder` holds ml-1m.txt, item_mapping.txt (its item ids → GroupLens') and the release's movies.dat. Raises
    FileNotFoundError that names a missing file, and ValueError where the counts are not those of the known file.
    """
    folder = Path(folder)
    if missing := [name for name in (SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    movies = read_movies(folder / MOVIES_FILE, "ml-1m")
    tables = read_sequences(folder / SEQUENCE_FILE, movies, folder / MAPPING_FILE)
    ratings = to_frame(tables["ratings"])
    found = (ratings["user_id"].n_unique(), ratings["movie_id"].n_unique(), ratings.height)
    if found != SEQUENCE_COUNTS:
        raise ValueError(
            f"{folder / SEQUENCE_FILE} has (users, items, interactions) {found}, but the file of published results "
            f"has {SEQUENCE_COUNTS}: take the original, or read another file with read_sequences"
        )
    return tables


def _renamed(frame: pl.DataFrame, wanted: Mapping[str, str], place: str, option: str) -> pl.DataFrame:
    """The wanted columns under our names; ValueError that says how to map where one is missing."""
    if missing := {ours: theirs for ours, theirs in wanted.items() if theirs not in frame.columns}:
        options = {"user_id": "user_column", "movie_id": "item_column", "timestamp": "time_column"}
        how = " and ".join(
            f"{options.get(ours, 'rating_column')}=..." if option else f"item_columns={{{ours!r}: ...}}"
            for ours in missing
        )
        none = " (time_column=None where rows are in order already)" if "timestamp" in missing and option else ""
        raise ValueError(
            f"{place} has no column {', '.join(map(repr, missing.values()))}; it has {frame.columns}. "
            f"Name the right one with {how}{none}."
        )
    if frame.is_empty():
        raise ValueError(f"{place} has no rows")
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items())


def _read_items(items: Any, mapping: Mapping[str, str]) -> pl.DataFrame:
    """The items' table as movie_id, title, year, genres."""
    if strange := set(mapping) - set(ITEM_COLUMNS):
        raise ValueError(f"item_columns maps {sorted(strange)}, but only {list(ITEM_COLUMNS)} can be mapped")
    frame, place = read_any(items, "items")
    wanted = {name: mapping.get(name, name) for name in ITEM_COLUMNS}
    present = {
        ours: theirs for ours, theirs in wanted.items() if ours in ("movie_id", *mapping) or theirs in frame.columns
    }
    frame = _renamed(frame, present, place, "")
    ids = as_ids(frame["movie_id"], wanted["movie_id"], place)
    if ids.is_duplicated().any():
        twice = ids.filter(ids.is_duplicated())[0]
        raise ValueError(f"{place}: item {twice!r} stands in more than one row; keep one row an item")
    frame = frame.with_columns(ids)
    if "title" not in present:
        frame = frame.with_columns(title=pl.lit(None, pl.String))
    frame = frame.with_columns(pl.col("title").cast(pl.String))
    if "year" in present:
        frame = frame.with_columns(pl.col("title").str.strip_chars(), _as_year(frame["year"], place))
    else:
        frame = split_years(frame)
    if "genres" not in present:
        genres = pl.lit([], pl.List(pl.String)).alias("genres")
    elif isinstance(frame["genres"].dtype, pl.List):
        genres = clean_genres(pl.col("genres").cast(pl.List(pl.String)).fill_null([]))
    else:
        genres = split_genres()
    return frame.select("movie_id", _title_or_id(), "year", genres)


def _as_year(years: pl.Series, place: str) -> pl.Series:
    text = years.cast(pl.String).str.strip_chars().str.replace(r"\.0$", "")
    text = pl.select(pl.when(text.is_in(["", "nan", "NaN"])).then(None).otherwise(text)).to_series()
    found = text.cast(pl.Int64, strict=False)
    if (bad := found.is_null() & text.is_not_null()).any():
        row = bad.arg_true()[0]
        raise ValueError(f"{place}, row {row} (counted from 0): year {text[row]!r} is not a whole number")
    return found.alias("year")


def _title_or_id() -> pl.Expr:
    title = pl.col("title")
    return pl.when(title.str.len_chars() > 0).then(title).otherwise(pl.col("movie_id").cast(pl.String)).alias("title")


def _joined(ratings: pl.DataFrame, movies: pl.DataFrame | None, place: str) -> DatasetDict:
    """Both tables as datasets, with ids of one type and a movies row for every item that was met."""
    met = ratings.select(pl.col("movie_id").unique()).sort("movie_id")
    if movies is None:
        return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(_only_ids(met)))
    if met["movie_id"].dtype != movies["movie_id"].dtype:
        # One of them holds whole numbers alone: as strings they can still be the same ids.
        text = pl.col("movie_id").cast(pl.String)
        ratings, met, movies = ratings.with_columns(text), met.with_columns(text), movies.with_columns(text)
    bare = met.join(movies, on="movie_id", how="anti").sort("movie_id")
    if bare.height == met.height:
        raise ValueError(
            f"{place}: none of its {met.height:,} items stands in the items' table; ids are like "
            f"{met['movie_id'][0]!r} here and like {movies['movie_id'].head(1).to_list()} there. "
            "Map the right id column."
        )
    if bare.height:
        first = bare["movie_id"][0]
        logger.warning("%s: %d items have no row in the items' table (the first is %r)", place, bare.height, first)
    whole = pl.concat([movies.select(ITEM_COLUMNS), _only_ids(bare)])
    return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(whole))


def _only_ids(ids: pl.DataFrame) -> pl.DataFrame:
    return ids.select(
        "movie_id",
        pl.col("movie_id").cast(pl.String).alias("title"),
        pl.lit(None, pl.Int64).alias("year"),
        pl.lit([], pl.List(pl.String)).alias("genres"),
    )


def _read_pairs(path: Path, names: tuple[str, str]) -> pl.DataFrame:
    """A file of two fields a line, separated by one space or tab."""
    data = path.read_bytes().replace(b"\t", b" ")
    if not data.strip():
        raise ValueError(f"{path} has no rows")
    frame = read_rows(data, dict.fromkeys(names, pl.String), " ", path)
    return pl.DataFrame([as_ids(frame[name], name, str(path)) for name in names])


def _mapped(ratings: pl.DataFrame, path: Path, id_mapping: Path) -> pl.DataFrame:
    mapping = _read_pairs(id_mapping, ("movie_id", "mapped"))
    for name in mapping.columns:
        if mapping[name].is_duplicated().any():
            twice = mapping[name].filter(mapping[name].is_duplicated())[0]
            raise ValueError(f"{id_mapping}: the id {twice!r} stands on more than one line")
    if ratings["movie_id"].dtype != mapping["movie_id"].dtype:
        ratings = ratings.with_columns(pl.col("movie_id").cast(pl.String))
        mapping = mapping.with_columns(pl.col("movie_id").cast(pl.String))
    mapped = ratings.join(mapping, on="movie_id", how="left", maintain_order="left")
    if (unknown := mapped["mapped"].is_null()).any():
        line = unknown.arg_true()[0]
        raise ValueError(f"{path}, line {line + 1}: item {ratings['movie_id'][line]!r} is not in {id_mapping}")
    return mapped.select("user_id", pl.col("mapped").alias("movie_id"))
