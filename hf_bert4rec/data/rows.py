"""Rows of delimited text with known columns: files of releases and sequence files."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from .delimited import Dialect, check_quotes, decode_text

# Valid fields by type. int() and float() are less strict: they accept "nan", " 5" and "1_000".
_PATTERNS: dict[Any, tuple[str, re.Pattern[str]]] = {
    pl.Int64: ("an integer", re.compile(r"-?\d{1,18}")),
    pl.Float32: ("a number", re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")),
    pl.String: ("text", re.compile(r".*", re.DOTALL)),
}


def read_rows(
    data: bytes, schema: dict[str, Any], dialect: Dialect, source: str | Path, header: str = ""
) -> pl.DataFrame:
    """Parse delimited UTF-8 text into a frame with the columns of `schema`, below the line `header` if it is not "".

    ValueError for another header, a missing field or one that does not parse; the message names file and line.
    """
    first = data[:200].split(b"\n", 1)[0].strip()
    if header and first != header.encode():
        raise ValueError(f"{source}, line 1: expected the header {header!r}, not {first.decode('utf-8', 'replace')!r}")
    check_quotes(data, dialect, source)
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
    suspect = any(column.has_nulls() or (column.dtype.is_float() and not column.is_finite().all()) for column in frame)
    # Polars reads an empty text field and a missing one as null; the slow parser tells them apart.
    if suspect and (fault := _first_bad_row(data, schema, dialect, bool(header))):
        raise ValueError(f"{source}{fault}")
    return frame.with_columns(pl.col(pl.String).fill_null(""))


def _first_bad_row(data: bytes, schema: dict[str, Any], dialect: Dialect, header: bool) -> str | None:
    """Line and fault of the first bad row, by a slow loop that runs only after parsing has failed."""
    for line, fields in dialect.rows(data.decode("utf-8", "replace")):
        if header and line == 1:
            continue
        if len(fields) != len(schema):
            return f", line {line}: expected {len(schema)} fields, not {len(fields)}: {fields}"
        for field, (name, dtype) in zip(fields, schema.items(), strict=True):
            expected, pattern = _PATTERNS[dtype]
            if not pattern.fullmatch(field):
                return f", line {line}: {name} {field!r} is not {expected}"
    return None


def decode(data: bytes, encoding: str, source: str | Path) -> str:
    """Decode a release file; ValueError if it is not in `encoding`."""
    fix = "use the file as GroupLens publishes it"
    if encoding == "latin-1" and not data.isascii():  # decodes any bytes: a file converted to UTF-8 would become "Ã©"
        with suppress(UnicodeDecodeError):
            data.decode("utf-8")
            raise ValueError(f"{source}: the file is UTF-8, but this release is latin-1: it was converted; {fix}")
    return decode_text(data, encoding, source, fix)
