"""Conversions between files, data frames and datasets."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, List, Value
from datasets.fingerprint import generate_random_fingerprint
from polars.exceptions import PolarsError

from ..model.items_bert4rec import NO_GENRES, split_year
from .delimited import read_delimited
from .ragged import arrow_table


def split_years(frame: pl.DataFrame) -> pl.DataFrame:
    """Split the `title` column into a title without year and a `year`, null if there is none."""
    pairs = [split_year(title) if title is not None else (None, None) for title in frame["title"]]
    titles, years = [title for title, _ in pairs], [year for _, year in pairs]
    return frame.with_columns(pl.Series("title", titles, pl.String), pl.Series("year", years, pl.Int64))


def split_genres(genres: str = "genres") -> pl.Expr:
    """Expression for the lists of genres of a "|"-separated column; "(no genres listed)" and "unknown" give []."""
    lists = pl.col(genres).fill_null("").str.strip_chars().str.split("|")
    return clean_genres(lists).alias("genres")


def clean_genres(lists: pl.Expr) -> pl.Expr:
    """Strip blanks in lists of text and drop the words that mean "no genre"."""
    stripped = lists.list.eval(pl.element().str.strip_chars())
    return stripped.list.eval(pl.element().filter(~pl.element().is_in(NO_GENRES)))


def to_dataset(frame: pl.DataFrame, info: DatasetInfo | None = None) -> Dataset:
    """A `datasets.Dataset` over the frame's memory, with plain `string` and `list` features."""
    kinds = {name: _feature(kind) for name, kind in frame.schema.items()}
    return dataset_of(frame.to_arrow(), Features(kinds), info)


def dataset_of(table: pa.Table, features: Features, info: DatasetInfo | None = None) -> Dataset:
    """A `datasets.Dataset` over the table's memory, cast to `features`.

    The fingerprint is random: the default one pickles the table, which takes seconds and gigabytes for a large release.
    """
    # `datasets` writes the features into its info: give it a copy.
    info = dataclasses.replace(info or DatasetInfo(), features=features)
    return Dataset(table.cast(features.arrow_schema), info=info, fingerprint=generate_random_fingerprint())


def _feature(kind: pl.DataType) -> Any:
    if isinstance(kind, pl.List):
        return List(_feature(kind.inner))  # type: ignore[arg-type]
    names = {pl.Int64(): "int64", pl.Float32(): "float32", pl.Float64(): "float64", pl.String(): "string"}
    return Value(names[kind])


def to_frame(dataset: Dataset, columns: list[str] | None = None) -> pl.DataFrame:
    """The dataset, or some of its columns, as a polars frame, without a copy if the types allow it."""
    selected = dataset if columns is None else dataset.select_columns(columns)
    frame = pl.from_arrow(arrow_table(selected))
    assert isinstance(frame, pl.DataFrame)
    return frame


def read_table(
    table: Any, what: str, quote_char: str | None = None, escape_char: str | None = None
) -> tuple[pl.DataFrame, str]:
    """Return a file or data frame as a polars frame, and its name for errors.

    Fields of text files stay text, so that an id "007" does not become 7; empty ones are null. A named index of a
    pandas DataFrame becomes columns. `quote_char` and `escape_char` are those of `read_delimited`.

    Raises:
        ValueError: The file or frame cannot be read. TypeError: `table` is neither.
    """
    if isinstance(table, str | Path):
        return _read_file(Path(table), quote_char, escape_char), str(table)
    source = f"the table of {what}"
    if isinstance(table, pl.DataFrame):
        return table, source
    if isinstance(table, Dataset):
        return to_frame(table), source
    if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
        return _from_pandas(table, source), source
    raise TypeError(
        f"{source} is a {type(table).__name__}; give a path to a CSV, TSV or Parquet file, "
        "or a pandas or polars DataFrame"
    )


def _from_pandas(table: Any, source: str) -> pl.DataFrame:
    if any(name is not None and name not in table.columns for name in table.index.names):
        table = table.reset_index()
    try:
        frame = pl.from_pandas(table)
    except (TypeError, ValueError, OverflowError, pa.ArrowException, PolarsError) as error:
        raise ValueError(f"{source}: a column mixes types, or holds what no table can: {error}") from error
    for name, kind in frame.schema.items():
        if kind == pl.Date and any(isinstance(value, datetime) for value in table[name]):
            # Arrow takes the type of the first value, and drops the time of day of the others.
            raise ValueError(f"{source}: column {name!r} mixes dates and datetimes; convert it with pandas.to_datetime")
    return frame


def _read_file(path: Path, quote_char: str | None, escape_char: str | None) -> pl.DataFrame:
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix not in ("csv", "tsv", "parquet", "pq"):
        raise ValueError(f"{path}: the name must end in .csv, .tsv (either with .gz), .parquet or .pq, not .{suffix}")
    if suffix in ("csv", "tsv"):
        return read_delimited(path, quote_char, escape_char)
    try:
        return pl.read_parquet(path)
    except PolarsError as error:
        raise ValueError(f"{path} cannot be read as .{suffix}: {str(error).splitlines()[0]}") from error
