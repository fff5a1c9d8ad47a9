"""Delimited text: CSV and TSV files of any origin, and the files of releases, which have known columns."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
from polars.exceptions import PolarsError

# Valid fields by type. int() and float() are less strict: they accept "nan", " 5" and "1_000".
_PATTERNS: dict[Any, tuple[str, re.Pattern[str]]] = {
    pl.Int64: ("an integer", re.compile(r"-?\d{1,18}")),
    pl.Float32: ("a number", re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")),
    pl.String: ("text", re.compile(r".*", re.DOTALL)),
}

UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Dialect:
    """The characters between fields, around them ("" for none), and before a quote mark inside a field."""

    separator: str
    quote: str = ""
    escape: str | None = None

    def rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of every row, by Python's slow parser."""
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.separator,
            quotechar=self.quote or None,
            escapechar=self.escape,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        for fields in reader:
            yield reader.line_num, fields


def read_delimited(path: Path, quote_char: str | None = None, escape_char: str | None = None) -> pl.DataFrame:
    r"""Read a CSV or TSV file, plain or with .gz. Every column is text; empty fields are null; blank lines are skipped.

    Args:
        quote_char: the character around fields, "" if quote marks are ordinary characters. By default '"' in a CSV
            file, where a quote mark inside a field is doubled, and "" in a TSV file.
        escape_char: the character before a quote mark inside a field: "\\" in files that Spark or MySQL write.

    Raises:
        ValueError: The file is empty, damaged or not UTF-8, a quote mark is inside a field, a row has too many fields,
            or two columns have one name. The message names the line.
    """
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    usual_quote = "" if is_tsv else '"'
    quote = usual_quote if quote_char is None else quote_char
    for option, value in (("quote_char", quote), ("escape_char", escape_char or "")):
        if len(value.encode()) > 1:
            raise ValueError(f"{option} is {value!r}; it must be one ASCII character")
    dialect = Dialect("\t" if is_tsv else ",", quote, escape_char or None)
    data = _contents(path)
    _check_quotes(data, dialect, path)
    _check_header(data, dialect, path)
    try:
        frame = _parse(data, dialect)
    except (PolarsError, pa.ArrowInvalid) as error:
        raise ValueError(_parse_failure(data, dialect, path, error)) from error
    if frame.height and frame.to_series(0).has_nulls():
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    return frame


def _contents(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} cannot be decompressed: {error}") from error
    if data.startswith(UTF16_MARKS):
        raise ValueError(f"{path} is UTF-16; save it as UTF-8")
    data = data.removeprefix(UTF8_MARK)
    if not data.strip():
        raise ValueError(f"{path} is empty")
    return data


def _check_quotes(data: bytes, dialect: Dialect, source: str | Path) -> None:
    """Raise ValueError unless every quoted field ends before a separator: a parser would join rows without notice."""
    quote = dialect.quote.encode()
    if not quote or quote not in data:
        return
    text = data
    if dialect.escape:
        text = re.sub(re.escape(dialect.escape.encode()) + b".", b"..", data, flags=re.DOTALL)  # positions do not move
    characters = np.frombuffer(b"\n" + text + b"\n", np.uint8)
    quotes = np.flatnonzero(characters == ord(quote))
    neighbours = np.frombuffer(dialect.separator.encode() + b"\r\n" + quote, np.uint8)
    outside = characters[quotes + np.where(np.arange(len(quotes)) % 2, 1, -1)]  # before an opening, after a closing one
    wrong = ~np.isin(outside, neighbours)
    if not wrong.any() and len(quotes) % 2 == 0:
        return
    position = int(quotes[wrong.argmax() if wrong.any() else -1]) - 1
    line = data.count(b"\n", 0, position) + 1
    content = data.split(b"\n", line)[line - 1].decode("utf-8", "replace").strip()
    raise ValueError(
        f"{source}, line {line}: a quote mark inside a field, or one that is not closed: {content:.80}. Double it, or "
        r"give escape_char='\\' (--escape_char '\') if the file escapes it by a backslash, or quote_char='' "
        "(--quote_char '') if quote marks are ordinary characters"
    )


def _check_header(data: bytes, dialect: Dialect, path: Path) -> None:
    """Raise ValueError for two columns of one name: Polars would rename one of them."""
    first_line = data.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8", "replace")
    names = next((fields for _, fields in dialect.rows(first_line)), [])
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        raise ValueError(f"{path}, line 1: two columns are called {repeated[0]!r}; rename one")


def _parse(data: bytes, dialect: Dialect) -> pl.DataFrame:
    if not dialect.escape:
        return pl.read_csv(data, separator=dialect.separator, quote_char=dialect.quote or None, infer_schema=False)
    # Polars has no escape character.
    parse_options = pa.csv.ParseOptions(
        delimiter=dialect.separator,
        quote_char=dialect.quote or False,
        escape_char=dialect.escape,
        newlines_in_values=True,
    )
    with pa.csv.open_csv(pa.BufferReader(data), parse_options=parse_options) as reader:
        names = reader.schema.names
    convert_options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    table = pa.csv.read_csv(pa.BufferReader(data), parse_options=parse_options, convert_options=convert_options)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _parse_failure(data: bytes, dialect: Dialect, path: Path, error: Exception) -> str:
    """Why a file does not parse, with the line if it is not UTF-8 or a row has another number of fields."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"{path}, {_bad_byte(fault)}; save the file as UTF-8"
    columns = None
    for line, fields in dialect.rows(text):
        columns = columns or len(fields)
        if len(fields) > columns or (dialect.escape and 0 < len(fields) < columns):
            return f"{path}, line {line}: {len(fields)} fields, but the header has {columns}: {fields}"
    return f"{path} cannot be read: {str(error).splitlines()[0]}"


def read_rows(
    data: bytes, schema: dict[str, Any], dialect: Dialect, source: str | Path, header: str = ""
) -> pl.DataFrame:
    """Parse delimited UTF-8 text into a frame with the columns of `schema`, without missing fields.

    Args:
        source: the file's name in errors.
        header: the file's first line, "" for none.

    Raises:
        ValueError: Another header, or a row that does not parse; the message names file and line.
    """
    first = data[:200].split(b"\n", 1)[0].strip()
    if header and first != header.encode():
        raise ValueError(f"{source}, line 1: expected the header {header!r}, not {first.decode('utf-8', 'replace')!r}")
    _check_quotes(data, dialect, source)
    try:
        frame = pl.read_csv(
            data,
            schema=schema,
            has_header=False,
            skip_rows=1 if header else 0,
            separator=dialect.separator,
            quote_char=dialect.quote or None,
        )
    except PolarsError as error:
        raise ValueError(f"{source}{_first_bad_row(data, schema, dialect, bool(header)) or f': {error}'}") from error
    if _has_invalid(frame):
        # Polars reads an empty text field and a missing one as null; the slow parser tells them apart.
        fault = _first_bad_row(data, schema, dialect, bool(header))
        if fault or frame.select(pl.any_horizontal(pl.col(pl.Int64, pl.Float32).is_null().any())).item():
            raise ValueError(f"{source}{fault or ': a row has too few fields'}")
    return frame.with_columns(pl.col(pl.String).fill_null(""))


def _has_invalid(frame: pl.DataFrame) -> bool:
    return any(column.has_nulls() or (column.dtype.is_float() and not column.is_finite().all()) for column in frame)


def _first_bad_row(data: bytes, schema: dict[str, Any], dialect: Dialect, header: bool) -> str | None:
    """Line and fault of the first bad row, by a slow loop that runs only after parsing has failed."""
    for line, fields in dialect.rows(data.decode("utf-8", "replace")):
        if header and line == 1:
            continue
        if len(fields) != len(schema):
            return f", line {line}: expected {len(schema)} fields, not {len(fields)}: {fields}"
        for field, (name, kind) in zip(fields, schema.items(), strict=True):
            expected, pattern = _PATTERNS[kind]
            if not pattern.fullmatch(field):
                return f", line {line}: {name} {field!r} is not {expected}"
    return None


def decode(data: bytes, encoding: str, source: str | Path) -> str:
    """Decode a release file.

    Raises:
        ValueError: The file is not in `encoding`.
    """
    fix = "Use the file as GroupLens publishes it."
    if encoding == "latin-1" and not data.isascii():  # decodes any bytes: a file converted to UTF-8 would become "Ã©"
        with suppress(UnicodeDecodeError):
            data.decode("utf-8")
            raise ValueError(f"{source}: the file is UTF-8, but this release is latin-1: it was converted. {fix}")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}, {_bad_byte(error)}. {fix}") from error


def _bad_byte(error: UnicodeDecodeError) -> str:
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"line {line}: byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()}"
