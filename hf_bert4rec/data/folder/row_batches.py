"""A table in chunks of rows, so that it may be larger than memory.

Parquet and delimited text are read in chunks; other files, such as JSON and compressed text, one file at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from ...files import report_damage
from ..arguments import TableOptions
from ..delimited import PAIRS, SAMPLE, UTF8_MARK, Dialect, as_utf8, detect, read_delimited
from ..table_files import PARQUET, check_columns, describe_form, find_files, is_delimited, read_file
from ..tables import is_dataset, read_table

ROWS = 1 << 21  # of a chunk
TEXT_BLOCK = 1 << 26  # bytes of text that are parsed at once


@dataclass(frozen=True)
class RowBatches:
    """A table that is read a chunk at a time. `source` and `form` are those of `Table`; `frames` gives all rows."""

    source: str
    form: str
    schema: pl.Schema
    frames: Callable[[], Iterable[pl.LazyFrame | pl.DataFrame]]

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """These columns of every chunk, and the name of the chunk in errors; ValueError if a file is damaged."""
        types = {name: self.schema[name] for name in columns}
        first = 0
        for rows in self._chunks(list(types)):
            if rows.height:
                name = self.source if first == 0 else f"{self.source}, from row {first:,} on"
                yield name, rows.cast(types)  # type: ignore[arg-type]
                first += rows.height

    def _chunks(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        for frame in self.frames():
            with report_damage(f"{self.source} cannot be read"):
                yield from frame.lazy().select(columns).collect_batches(chunk_size=ROWS, maintain_order=True)


def open_batches(table: str | None, options: TableOptions) -> RowBatches:
    """Open a file, a folder, a glob, or a data set on the Hub; errors are those of `read_table`."""
    files = find_files(Path(table)) if table is not None and not is_dataset(table, options) else []
    large = sum(file.stat().st_size for file in files if not _head(file).startswith(PARQUET)) > TEXT_BLOCK
    if not large:
        read = read_table(table, "interactions", options)
        return RowBatches(read.source, read.form, read.frame.collect_schema(), lambda: [read.frame])
    starts = (next(_read_in_blocks(file, options)) for file in files)
    schemas, forms = zip(*((frame.collect_schema(), form) for frame, form in starts), strict=True)
    check_columns(files, [schema.names() for schema in schemas])
    empty = [pl.DataFrame(schema=schema).select(schemas[0].names()) for schema in schemas]
    schema = pl.concat(empty, how="vertical_relaxed").schema
    return RowBatches(
        str(table),
        describe_form(files, forms[0]),
        schema,
        lambda: (frame for file in files for frame, _ in _read_in_blocks(file, options)),
    )


def _head(file: Path) -> bytes:
    """The first bytes of a file, up to the end of a line."""
    with file.open("rb") as opened:
        data = opened.read(SAMPLE)
    return data[: data.rfind(b"\n") + 1] or data


def _read_in_blocks(file: Path, options: TableOptions) -> Iterator[tuple[pl.LazyFrame | pl.DataFrame, str]]:
    """The rows of a file and its form: of large delimited text all columns of a block at a time, else all at once."""
    if file.stat().st_size <= TEXT_BLOCK or not is_delimited(_head(file)) or not _extends_ascii(options.encoding):
        yield read_file(file, options)
        return
    dialect, rows = detect(as_utf8(_head(file), str(file), options.encoding), str(file), options)
    header, lines = b"", 0
    for number, block in enumerate(_record_blocks(file, dialect)):
        source = str(file) if number == 0 else f"{file}, after line {lines:,}"
        frame, form = read_delimited(header + block, source, options)
        yield frame, form
        if number == 0:
            options = replace(options, separator=dialect.separator)
            if form == PAIRS:
                options = replace(options, columns=["user_id", "movie_id"])
            elif options.columns is None and dialect.separator in "\t ":  # or lines may look like "user item"
                options = replace(options, columns=rows[0])
            elif options.columns is None:
                text = block.removeprefix(UTF8_MARK).lstrip(b"\r\n")  # blank lines may come first
                header = text[: _record_end(text, dialect, last=False)]
        lines += block.count(b"\n") - (1 if header and number == 0 else 0)


def _extends_ascii(encoding: str) -> bool:
    try:
        return '\n",'.encode(encoding) == b'\n",'
    except LookupError:
        return False


def _record_blocks(file: Path, dialect: Dialect) -> Iterator[bytes]:
    """The bytes of a delimited file in blocks that end where a row ends."""
    rest = b""
    with file.open("rb") as opened:
        while data := opened.read(TEXT_BLOCK):
            data = rest + data
            end = _record_end(data, dialect)
            rest = data[end:]
            if end:
                yield data[:end]
    if rest.strip():
        yield rest


def _record_end(data: bytes, dialect: Dialect, last: bool = True) -> int:
    """The position after the last row that ends in `data`, or after the first; 0 if none does."""
    quote = dialect.quote.encode()
    if not quote or quote not in data:
        return (data.rfind(b"\n") if last else data.find(b"\n")) + 1
    characters = np.frombuffer(dialect.without_escapes(data), np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    outside = ends[np.searchsorted(np.flatnonzero(characters == ord(quote)), ends) % 2 == 0]  # not within a field
    return int(outside[-1 if last else 0]) + 1 if len(outside) else 0
