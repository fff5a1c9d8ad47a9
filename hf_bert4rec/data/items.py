"""The item table of a custom data set: titles, years and genres in one form."""

import ast
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress

import polars as pl

from ..model.items_bert4rec import NO_GENRES, split_years
from ..model.tokenization_bert4rec import ANSWER_KEYS
from .columns import as_ids, is_text, refuse_rows

logger = logging.getLogger(__name__)

ITEM_COLUMNS = ("movie_id", "title", "year", "genres")
MAX_YEAR = 9999


def read_items(frame: pl.DataFrame, mapping: Mapping[str, str | None], source: str) -> pl.DataFrame:
    """Return the item table as movie_id, title, year and genres; `mapping` has the frame's columns by these names.

    None or "" skips a column. ValueError if a column is missing, an item is duplicate, or a value cannot be read.
    """
    columns = _columns_of(frame, mapping, source)
    if frame.is_empty():
        raise ValueError(f"{source} has no rows")
    ids = as_ids(frame[columns["movie_id"]], source)
    refuse_rows(ids, ~ids.is_first_distinct(), source, "an earlier row has this id: give each item one row")
    items = _untitled(ids.alias("movie_id").to_frame()).with_columns(title=pl.lit(None, pl.String))
    if "title" in columns:
        items = items.with_columns(title=_read_titles(frame[columns["title"]], source))
    if "year" in columns:
        items = items.with_columns(year=_read_years(frame[columns["year"]], source))
    titles, years = split_years(items["title"].to_list(), items["year"].to_list())
    items = items.with_columns(pl.Series("title", titles, pl.String), pl.Series("year", years, pl.Int64))
    if "genres" in columns:
        name = pl.element().str.strip_chars()
        genres = read_genres(frame[columns["genres"]], source)
        items = items.with_columns(genres=genres.list.eval(name.filter(~name.is_in(NO_GENRES))))
    titled = pl.when(pl.col("title").str.len_chars() > 0).then("title").otherwise(pl.col("movie_id").cast(pl.String))
    return items.with_columns(title=titled)


def _columns_of(frame: pl.DataFrame, mapping: Mapping[str, str | None], source: str) -> dict[str, str]:
    """Our names of the columns to read, each with the frame's own."""
    if unknown := set(mapping) - set(ITEM_COLUMNS):
        raise ValueError(f"item_columns maps {sorted(unknown)}, but only {list(ITEM_COLUMNS)} can be mapped")
    columns = {ours: theirs for ours in ITEM_COLUMNS if (theirs := mapping.get(ours, ours))}
    missing = [ours for ours, theirs in columns.items() if theirs not in frame.columns]
    unread = [name for name in frame.columns if name not in columns.values()]
    has_other_text = any(frame[name].dtype in (pl.String, pl.Categorical) for name in unread)
    for ours in missing:
        option = "item" if ours == "movie_id" else ours
        fix = f"Name the right one with item_columns={{{ours!r}: ...}} or --{option}_column"
        if ours in mapping or ours == "movie_id":
            raise ValueError(f"{source} has no column {columns[ours]!r}; it has {frame.columns}. {fix}.")
        if ours == "title" and has_other_text:
            fix += " (None, or --title_column '', if there is none)"
            raise ValueError(f"{source} has no column 'title'; it has {frame.columns}. {fix}.")
    if missing and unread:
        logger.warning("%s has no %s; its columns %s are not read", source, " and no ".join(missing), unread)
    return {ours: theirs for ours, theirs in columns.items() if ours not in missing}


def _read_titles(titles: pl.Series, source: str) -> pl.Series:
    """Titles as text; numbers are those of films such as "300"."""
    dtype = titles.dtype
    if dtype == pl.List(pl.String):  # a token_seq of RecBole
        return titles.list.join(" ")
    if not (is_text(dtype) or dtype == pl.Null or dtype.is_numeric()):
        raise ValueError(f"{source}: column {titles.name!r} is of type {dtype}; titles are text")
    text = titles.cast(pl.String)
    return text.str.strip_suffix(".0") if dtype.is_float() else text


def _read_years(years: pl.Series, source: str) -> pl.Series:
    if isinstance(years.dtype, pl.Date | pl.Datetime):
        return years.dt.year().cast(pl.Int64)
    text = years.cast(pl.String).str.strip_chars().str.replace(r"\.0$", "")
    text = text.replace(["", "nan", "NaN"], None)
    numbers = text.cast(pl.Int64, strict=False)
    bad = (numbers.is_null() & text.is_not_null()) | (numbers.abs() > MAX_YEAR).fill_null(False)
    refuse_rows(text, bad, source, f"a year is an integer up to {MAX_YEAR}")
    return numbers


def read_genres(values: pl.Series, source: str) -> pl.Series:
    """Return genres as lists of text, from lists or JSON lists of names or of objects with a name, or from text.

    The separator of text is the first of "|", ";" and "," that the column contains. ValueError for other lists.
    """
    if isinstance(values.dtype, pl.List | pl.Array):
        lists = values.cast(pl.List(values.dtype.inner))
        if isinstance(values.dtype.inner, pl.Struct):
            if "name" not in values.dtype.inner.to_schema():
                raise ValueError(f"{source}: genres are objects without a name, of type {values.dtype.inner}")
            lists = lists.list.eval(pl.element().struct.field("name"))
        return lists.cast(pl.List(pl.String)).fill_null([])
    text = values.cast(pl.String).fill_null("").str.strip_chars()
    if text.str.starts_with("[").any():
        return pl.Series([_parse_list(value, row, source) for row, value in enumerate(text)], dtype=pl.List(pl.String))
    separator = next((mark for mark in "|;," if text.str.contains(mark, literal=True).any()), "|")
    return text.str.split(separator)


def _parse_list(text: str, row: int, source: str) -> list[str]:
    """The names in a list that JSON, Python or numpy wrote."""
    if not text:
        return []
    # Python would read the names of ['Crime' 'Drama'], as numpy writes a list, as one.
    for parse, form in ((json.loads, text), (ast.literal_eval, re.sub(r"(['\"])\s+(['\"])", r"\1, \2", text))):
        with suppress(ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            entries = parse(form)
            if not isinstance(entries, dict | str):
                known = [entry for entry in entries if entry is not None]
                return [entry["name"] if isinstance(entry, dict) else str(entry) for entry in known]
    row_name = f"{source}, row {row} (counted from 0)"
    raise ValueError(f"{row_name}: genres {text:.80} is not a list of names, as other rows are")


def join_items(ratings: pl.DataFrame, movies: pl.DataFrame | None, source: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables with ids of one type and a movies row for every item of the ratings."""
    rated = ratings.select(pl.col("movie_id").unique()).sort("movie_id")
    if movies is None:
        return ratings, _untitled(rated)
    ratings, rated, movies = with_ids_of_one_type(ratings, rated, movies)
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
    return ratings, pl.concat([movies.select(ITEM_COLUMNS), _untitled(missing)])


def with_ids_of_one_type(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    """The frames with their `movie_id` as text if only some of them hold integers: they can still be the same ids."""
    same = len({frame["movie_id"].dtype for frame in frames}) == 1
    return [frame if same else frame.with_columns(pl.col("movie_id").cast(pl.String)) for frame in frames]


def _untitled(ids: pl.DataFrame) -> pl.DataFrame:
    """Rows for items with a known id only, which becomes the title."""
    return ids.select(
        "movie_id",
        title=pl.col("movie_id").cast(pl.String),
        year=pl.lit(None, pl.Int64),
        genres=pl.lit([], pl.List(pl.String)),
    )


def item_id_name(item_column: str) -> str:
    """What the pipeline calls item ids: the column of the table, unless an answer has another key of that name."""
    return "item_id" if item_column in ANSWER_KEYS else item_column
