"""Delimited text of any origin: CSV, TSV, RecBole's files, and lines of "user item"."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from ..files import report_damage
from .arguments import TableOptions
from .column_names import are_usual_names

UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = (",", ";", "\t", "|", " ")
SAMPLE = 1 << 16  # bytes that the separator is detected from
PAIRS = '"user item" text'
ENCODING_HINT = "give its encoding, such as encoding='cp1252' (--encoding cp1252)"
_RECBOLE_NAME = re.compile(r"(.+):(token|token_seq|float|float_seq)")


@dataclass(frozen=True)
class Dialect:
    """The characters between fields, around them ("" for none), and before a quote mark inside a field."""

    separator: str
    quote: str = ""
    escape: str | None = None

    @classmethod
    def from_options(cls, separator: str, options: TableOptions) -> "Dialect":
        """The dialect with this separator; ValueError if a character is not one of ASCII."""
        quote = ("" if separator in "\t " else '"') if options.quote_char is None else options.quote_char
        for option, value in {"separator": separator, "quote_char": quote, "escape_char": options.escape_char}.items():
            if len((value or "").encode()) > 1:
                raise ValueError(f"{option} is {value!r}; it must be one ASCII character")
        return cls(separator, quote, options.escape_char or None)

    def without_escapes(self, data: bytes) -> bytes:
        """The text with ".." instead of an escape character and the one it escapes, so that positions stay the same."""
        return re.sub(re.escape(self.escape.encode()) + b".", b"..", data, flags=re.DOTALL) if self.escape else data

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


def read_delimited(data: bytes, source: str, options: TableOptions) -> tuple[pl.DataFrame, str]:
    """Parse delimited text; returns the table and a description of its form, `PAIRS` for lines of "user item".

    Every column is text; empty fields are null; blank lines are skipped. The types in the header of RecBole's files are
    removed, and a `token_seq` becomes a list of words.

    Raises:
        ValueError: Another encoding, an ambiguous separator, a quote mark inside a field, a row with too many fields,
            two columns of one name, or a header where `columns` gives names. The message names the line.
    """
    data = as_utf8(data, source, options.encoding)
    dialect, rows = detect(data, source, options)
    names = options.columns
    if names is not None and (rows[0] == names or are_usual_names(rows[0])):
        raise ValueError(
            f"{source}, line 1: {' '.join(rows[0])!r} is a header: remove it, or leave out columns (--columns)"
        )
    if names is None and _has_pairs(rows, dialect, source):
        names = ["user_id", "movie_id"]
    header = [name for name in names or rows[0] if name]
    if repeated := [name for name, count in Counter(header).items() if count > 1]:  # Polars would rename one of them
        raise ValueError(f"{source}, line 1: two columns are called {repeated[0]!r}; rename one")
    check_quotes(data, dialect, source)
    try:
        with report_damage(f"{source} cannot be read"):
            frame = _parse(data, dialect, names, rows[0])
    except ValueError:
        _refuse_bad_line(data, dialect, names, len(names or rows[0]), source)
        raise
    if frame.height and frame.to_series(0).has_nulls():
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if names is not None and options.columns is None:
        return frame, PAIRS
    return _without_types(frame), f"text with {dialect.separator!r} between fields"


def as_utf8(data: bytes, source: str, encoding: str) -> bytes:
    """The text in UTF-8, without a byte order mark; ValueError for another encoding."""
    if data.startswith(UTF16_MARKS):
        encoding = "utf-16"
    elif encoding.lower() in ("utf-8", "utf8"):
        return data.removeprefix(UTF8_MARK)
    try:
        return decode_text(data, encoding, source).encode()
    except LookupError as error:
        raise ValueError(f"encoding is {encoding!r}, which Python does not know: try 'utf-8' or 'cp1252'") from error


def decode_text(data: bytes, encoding: str, source: str | Path, fix: str = ENCODING_HINT) -> str:
    """The text; ValueError names the line of a byte that is not in this encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fault = f"byte 0x{data[error.start]:02x} is not {error.encoding.upper()}"
        raise ValueError(f"{source}, line {line}: {fault}; {fix}") from error


def detect(data: bytes, source: str, options: TableOptions) -> tuple[Dialect, list[list[str]]]:
    """The dialect of a file, from its first bytes, and its first rows; ValueError if several dialects are possible."""
    text = data[:SAMPLE].decode("utf-8", "replace")
    if len(data) > SAMPLE:
        text = text[: text.rfind("\n") + 1] or text  # without a line that is cut
    separators = SEPARATORS if options.separator is None else [options.separator.replace("\\t", "\t")]
    dialects = [Dialect.from_options(separator, options) for separator in separators]
    readings = {dialect: [fields for _, fields in dialect.rows(text) if fields] for dialect in dialects}
    if len(dialects) > 1:
        dialects = _matching(readings, options.columns, source)
    if len(dialects) > 1:
        how = " or ".join(f"{dialect.separator!r} between fields: {readings[dialect][0]}" for dialect in dialects)
        raise ValueError(f"{source}, line 1 can be read with {how}. Name the right one by separator=... (--separator)")
    return dialects[0], readings[dialects[0]]


def _matching(readings: Mapping[Dialect, Sequence[list[str]]], names: list[str] | None, source: str) -> list[Dialect]:
    """The dialects that split the first line and, if any does, all of the first rows into the same number of fields."""
    widths = {dialect: [len(fields) for fields in rows] for dialect, rows in readings.items()}
    if names is None:
        splitting = [dialect for dialect in widths if widths[dialect][0] > 1]
        regular = [dialect for dialect in splitting if len(set(widths[dialect])) == 1]
    else:
        splitting = regular = [dialect for dialect in widths if set(widths[dialect]) == {len(names)}]
        if not regular:
            counts = ", ".join(f"{width[0]} with {dialect.separator!r}" for dialect, width in widths.items())
            raise ValueError(f"{source}: columns names {names}, but line 1 has other numbers of fields: {counts}")
    # A space separates fields only if nothing else does.
    for dialects in (regular, splitting):
        if marks := [dialect for dialect in dialects if dialect.separator != " "]:
            return marks
    return splitting or list(widths)[:1]


def _has_pairs(rows: list[list[str]], dialect: Dialect, source: str) -> bool:
    """Whether rows of two fields have no header above them; ValueError if the first row can be either."""
    if dialect.separator not in "\t " or any(len(fields) != 2 for fields in rows):
        return False
    if all(map(_is_integer, rows[0])):
        return True
    if looks_like_header(*rows) or dialect.separator == "\t":
        return False
    raise ValueError(
        f"{source}, line 1: {' '.join(rows[0])!r} can be a header or the first interaction. Add a header, or give the "
        "names of the columns by columns=['user_id', 'movie_id'] (--columns user_id movie_id)"
    )


def looks_like_header(first: Sequence[str], *rest: Sequence[str]) -> bool:
    """Whether the first row names columns: text above integers only, or usual names."""
    columns = zip(first, *rest, strict=True)
    above_integers = rest and any(not _is_integer(name) and all(map(_is_integer, values)) for name, *values in columns)
    return bool(above_integers) or are_usual_names(first)


def _is_integer(field: str) -> bool:
    return field.lstrip("-").isdigit()


def check_quotes(data: bytes, dialect: Dialect, source: str | Path) -> None:
    """Raise ValueError unless every quoted field ends before a separator: a parser would join rows without notice."""
    quote = dialect.quote.encode()
    if not quote or quote not in data:
        return
    characters = np.frombuffer(b"\n" + dialect.without_escapes(data) + b"\n", np.uint8)
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


def _parse(data: bytes, dialect: Dialect, names: list[str] | None, header: list[str]) -> pl.DataFrame:
    if not dialect.escape:
        return pl.read_csv(
            data,
            separator=dialect.separator,
            quote_char=dialect.quote or None,
            has_header=names is None,
            new_columns=names,
            infer_schema=False,
        )
    # Polars has no escape character.
    types = dict.fromkeys(names or header, pa.string())
    quotes = {"quote_char": dialect.quote or False, "escape_char": dialect.escape}
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        pa.csv.ReadOptions(column_names=names),
        pa.csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True, **quotes),
        pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
    )
    return pl.DataFrame(table)


def _refuse_bad_line(data: bytes, dialect: Dialect, names: list[str] | None, width: int, source: str) -> None:
    """Raise ValueError for the first line that is not UTF-8, or that does not have `width` fields."""
    for line, fields in dialect.rows(decode_text(data, "utf-8", source)):
        if len(fields) > width or (dialect.escape and 0 < len(fields) < width):
            expected = f"columns names {width}" if names else f"the header has {width}"
            raise ValueError(f"{source}, line {line}: {len(fields)} fields, but {expected}: {fields}")


def _without_types(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of RecBole's files by their plain names; other tables as they are."""
    typed = [_RECBOLE_NAME.fullmatch(name) for name in frame.columns]
    if not all(typed):
        return frame
    words = [match[0] for match in typed if match and match[2] == "token_seq"]
    frame = frame.with_columns(pl.col(words).str.split(" "))
    return frame.rename({match[0]: match[1] for match in typed if match})
