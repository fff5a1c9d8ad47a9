"""Conversions between files, data frames and datasets."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, IterableDataset, List, Value
from datasets.fingerprint import generate_random_fingerprint

from ..files import report_damage
from .arguments import TableOptions
from .ragged import arrow_table
from .table_files import read_files


def to_dataset(frame: pl.DataFrame, info: DatasetInfo | None = None) -> Dataset:
    """A `datasets.Dataset` over the frame's memory, with plain `string` and `list` features."""
    features = {name: feature_of(dtype) for name, dtype in frame.schema.items()}
    return dataset_of(frame.to_arrow(), Features(features), info)


def dataset_of(table: pa.Table, features: Features, info: DatasetInfo | None = None) -> Dataset:
    """A `datasets.Dataset` over the table's memory, cast to `features`.

    The fingerprint is random: the default one pickles the table, which takes seconds and gigabytes for a large release.
    """
    # `datasets` writes the features into its info: give it a copy.
    info = dataclasses.replace(info or DatasetInfo(), features=features)
    return Dataset(table.cast(features.arrow_schema), info=info, fingerprint=generate_random_fingerprint())


def feature_of(dtype: pl.DataType) -> Any:
    """The feature of a column of numbers, text, or lists of these."""
    return List(feature_of(dtype.inner)) if isinstance(dtype, pl.List) else Value(str(dtype).lower())  # type: ignore[arg-type]


def to_frame(dataset: Dataset | IterableDataset, columns: list[str] | None = None) -> pl.DataFrame:
    """The dataset, or some of its columns, as a polars frame, without a copy if the types allow it."""
    selected = dataset if columns is None else dataset.select_columns(columns)
    return pl.from_arrow(arrow_table(selected))  # type: ignore[return-value]


@dataclass(frozen=True)
class Table:
    """A table that was read: its rows, its name in errors, and a description of its form."""

    frame: pl.LazyFrame
    source: str
    form: str

    def rows(self, columns: list[str] | None = None) -> pl.DataFrame:
        """All rows, of these columns only if they are named; ValueError if a file is damaged."""
        frame = self.frame if columns is None else self.frame.select(columns)
        with report_damage(f"{self.source} cannot be read"):
            return frame.collect()


def read_table(table: Any, what: str, options: TableOptions) -> Table:
    """Read a table in one of the forms that `read_interactions` names; `what` it holds is for errors.

    Fields of text files stay text ("007" is not 7), empty ones are null. A named index of pandas becomes columns.

    Raises:
        FileNotFoundError: no such file or data set. ValueError: the table cannot be read. TypeError: it is not a table.
    """
    if not isinstance(table, str | Path):
        source = f"the table of {what}"
        if isinstance(table, dict):  # of splits
            table = table.get(options.dataset_split, table)
        return Table(_from_memory(table, source).lazy(), source, type(table).__name__)
    if is_dataset(table, options):
        return _load_dataset(str(table), options)
    frame, form = read_files(Path(table), options)
    return Table(frame, str(table), form)


def is_dataset(table: str | Path, options: TableOptions) -> bool:
    """Whether a table is a data set on the Hub or a folder of one, for `load_dataset`."""
    return bool(options.dataset_config or options.dataset_split) or is_hub_name(table)


def is_hub_name(table: str | Path) -> bool:
    """Whether a table is "user/name", a data set on the Hub, and not a path."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", str(table))) and not Path(table).parent.is_dir()


def table_name(table: str) -> str:
    """The name of a file or folder without its ending, or that of the last folder above a glob."""
    return next(Path(part).stem for part in reversed(Path(table).resolve().parts) if not set(part) & set("*?["))


def _load_dataset(name: str, options: TableOptions) -> Table:
    try:
        loaded = datasets.load_dataset(name, options.dataset_config, split=options.dataset_split)
    except (OSError, ValueError) as error:  # of the Hub, of the network, or a config or split that does not exist
        error_type = FileNotFoundError if isinstance(error, OSError) else ValueError
        raise error_type(f"{name} cannot be loaded as a data set on the Hub, or a folder of one: {error}") from error
    return Table(_single_split(loaded, name).lazy(), name, "data set")


def _single_split(dataset: Any, source: str) -> pl.DataFrame:
    if isinstance(dataset, dict):
        if len(dataset) != 1:
            raise ValueError(
                f"{source} has the splits {', '.join(dataset)}: name one by dataset_split=... (--dataset_split)"
            )
        (dataset,) = dataset.values()
    return to_frame(dataset)


def _from_memory(table: Any, source: str) -> pl.DataFrame | pl.LazyFrame:
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table
    if isinstance(table, Dataset | IterableDataset | datasets.DatasetDict | datasets.IterableDatasetDict):
        return _single_split(table, source)
    if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
        return _from_pandas(table, source)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):  # of pyarrow, DuckDB, …
        return pl.DataFrame(pa.table(table))
    rows = list(table) if isinstance(table, Iterable) else [table]
    if not all(isinstance(row, dict) for row in rows):
        raise TypeError(
            f"{source} is a {type(table).__name__}; give a path, the name of a data set on the Hub, a DataFrame of "
            "pandas or Polars, an Arrow table, a Dataset, or dictionaries, one for each row"
        )
    with report_damage(f"{source}: a column mixes types, or holds what no table can"):
        return pl.DataFrame(rows, infer_schema_length=None)


def _from_pandas(table: Any, source: str) -> pl.DataFrame:
    if any(name is not None and name not in table.columns for name in table.index.names):
        table = table.reset_index()
    with report_damage(f"{source}: a column mixes types, or holds what no table can"):
        frame = pl.from_pandas(table)
    for (name, dtype), column in zip(frame.schema.items(), table.columns, strict=True):
        if dtype == pl.Date and any(isinstance(value, datetime) for value in table[column]):
            # Arrow takes the type of the first value, and drops the time of day of the others.
            raise ValueError(f"{source}: column {name!r} mixes dates and datetimes; convert it with pandas.to_datetime")
    return frame
