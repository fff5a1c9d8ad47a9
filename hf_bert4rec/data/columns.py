"""Columns of an input table: ids, ratings and times, checked and converted to one type each."""

from __future__ import annotations

import logging
from typing import Any

import polars as pl

from ..model.values_bert4rec import MAX_SECONDS, UNKNOWN_TIME, units_per_second

logger = logging.getLogger(__name__)

# What str.strip() removes; Polars' own default leaves four of these characters.
BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
MISSING_WORDS = ("nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", r"\N")
INTEGER = r"^(0|-?[1-9]\d{0,17})(\.0)?$"  # pandas writes integers as 7.0 if one is missing in the column

UNIT_NAMES = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
MICROS = 10**6  # per second
_MAX_TIME = 10**20  # nanoseconds of the year 5138
_ANY_UNIT = 10**8  # smaller numbers, such as 0 for an unknown time, do not tell their unit
_COMPACT_DATES = (
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M", 190001010000, 210012312359),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
# Tried in turn for each value; a time without a zone is UTC.
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
_NAIVE = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_DAY_OR_MONTH_FIRST = r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b"


def as_ids(values: pl.Series, column: str, source: str) -> pl.Series:
    """Return ids as int64 if all are integers as printed, else as text without blanks around it.

    Raises:
        ValueError: A missing, fractional or inexact id, an id with a line break, or a column of another type.
    """
    kind = values.dtype
    if isinstance(kind, pl.Decimal) and kind.scale:
        values, kind = values.cast(pl.Float64), pl.Float64()
    if kind.is_float():
        refuse_rows(values, values.is_null() | ~values.is_finite(), column, source, "an id is needed")
        refuse_rows(values, values != values.floor(), column, source, "an id is an integer or text")
        _refuse_inexact(values, column, source)
        return values.cast(pl.Int64)
    if kind.is_integer() or isinstance(kind, pl.Decimal):
        refuse_rows(values, values.is_null(), column, source, "an id is needed")
        return _as_int64(values, column, source)
    if not (kind in (pl.String, pl.Categorical) or isinstance(kind, pl.Enum)):
        hint = ": give one row per interaction" if isinstance(kind, pl.List | pl.Array) else ""
        raise ValueError(f"{source}: column {column!r} is of type {kind}; ids are integers or text{hint}")
    return _text_ids(values.cast(pl.String), column, source)


def _text_ids(text: pl.Series, column: str, source: str) -> pl.Series:
    distinct = text.unique()  # each id is checked once: a large table repeats them
    clean = distinct.str.strip_chars(BLANKS)
    values = text
    if (clean != distinct).any():
        text = text.str.strip_chars(BLANKS)
    if clean.has_nulls() or (clean == "").any():
        refuse_rows(values, text.is_null() | (text == ""), column, source, "an id is needed")
    if clean.str.contains(r"[\r\n]").any():
        wish = "an id has no line break: check the file's quote marks (quote_char, escape_char)"
        refuse_rows(values, text.str.contains(r"[\r\n]"), column, source, wish)
    integer, missing = clean.str.contains(INTEGER), clean.is_in(MISSING_WORDS)
    if missing.any():
        if integer.any() and (integer | missing).all():
            refuse_rows(values, text.is_in(MISSING_WORDS), column, source, "an id is needed")
        logger.warning("%s: column %r has the id %r: is it a missing value?", source, column, clean.filter(missing)[0])
    return text.str.strip_suffix(".0").cast(pl.Int64) if integer.all() else text


def as_ratings(values: pl.Series, column: str, source: str) -> pl.Series:
    """Return ratings as float32.

    Raises:
        ValueError: A rating that is missing, not a number or not finite.
    """
    plain = values.str.strip_chars() if values.dtype == pl.String else values
    ratings = plain.cast(pl.Float32, strict=False)
    wish = "a rating is a finite number; read the table without ratings by rating_column=None (--rating_column '')"
    refuse_rows(values, ratings.is_null() | ~ratings.is_finite(), column, source, wish)
    return ratings


def as_events(values: pl.Series, column: str, source: str) -> pl.Series:
    """Return kinds of events as text without blanks around it.

    Raises:
        ValueError: A missing kind, or a column of lists.
    """
    if values.dtype.is_nested():
        raise ValueError(f"{source}: column {column!r} is of type {values.dtype}; a kind of event is a name")
    names = values.cast(pl.String).str.strip_chars(BLANKS)
    refuse_rows(values, names.is_null() | (names == ""), column, source, "a kind of event is needed")
    return names


def as_weights(values: pl.Series, column: str, source: str) -> pl.Series:
    """Return weights as float32.

    Raises:
        ValueError: A weight that is missing, not a number, negative or not finite, or all weights are 0.
    """
    plain = values.str.strip_chars() if values.dtype == pl.String else values
    weights = plain.cast(pl.Float32, strict=False)
    wrong = weights.is_null() | ~weights.is_finite() | (weights < 0)
    refuse_rows(values, wrong, column, source, "a weight is a finite number of 0 or more")
    if (zero := weights == 0).all():
        refuse_rows(values, zero, column, source, "some weight must be above 0")
    return weights


def as_seconds(values: pl.Series, column: str, source: str) -> pl.Series:
    """Return times as seconds since 1970: int64, or float64 if one has a fraction of a second.

    Accepts dates, datetimes, ISO text and numbers. The unit of numbers (seconds to nanoseconds) follows from their
    magnitude; numbers such as 20240501 and 20240501123000 are read as dates.

    Raises:
        ValueError: A time that is missing, unreadable or beyond any date, or numbers in two units.
    """
    times = parse_times(values, column, source)
    if isinstance(times.dtype, pl.Datetime):
        return divided(micros_of(times), MICROS)
    low, high = times.min(), times.max()
    dates = read_compact_dates(times, low, high)
    if dates is not None:
        logger.info("%s: column %r is read as dates, %s to %s", source, column, dates.min(), dates.max())
        return divided(micros_of(dates), MICROS)
    units = check_unit(times, low, high, column, source)
    if units == 1:
        return times
    logger.info("%s: column %r is in %s; converted to seconds", source, column, UNIT_NAMES[units])
    return divided(times, units)


def parse_times(values: pl.Series, column: str, source: str) -> pl.Series:
    """Times as numbers in their own unit, int64 or float64, or as datetimes in UTC.

    Raises:
        ValueError: A time that is missing or unreadable.
    """
    kind = values.dtype
    if isinstance(kind, pl.Decimal):
        values, kind = (values.cast(pl.Float64), pl.Float64()) if kind.scale else (values, pl.Int64())
    if kind.is_integer():
        refuse_rows(values, values.is_null(), column, source, "a time is needed")
        times = _as_int64(values, column, source)
        refuse_rows(values, times == UNKNOWN_TIME, column, source, "a time is needed, not the integer of NaT")
        return times
    if kind.is_float():
        refuse_rows(values, values.is_null() | ~values.is_finite(), column, source, "a time is a finite number")
        if kind != pl.Float64:
            _refuse_inexact(values, column, source)
        return values.cast(pl.Float64)
    if isinstance(kind, pl.Date | pl.Datetime):
        refuse_rows(values, values.is_null(), column, source, "a time is needed")
        return values.cast(pl.Datetime("us", getattr(kind, "time_zone", None)))
    if kind != pl.String:
        raise ValueError(f"{source}: column {column!r} is of type {kind}; times are numbers, dates or ISO text")
    return _from_text(values.str.strip_chars(BLANKS), column, source)


def _as_int64(values: pl.Series, column: str, source: str) -> pl.Series:
    integers = values.cast(pl.Int64, strict=False)
    refuse_rows(values, integers.is_null(), column, source, "an integer here has at most 63 bits")
    return integers


def _refuse_inexact(values: pl.Series, column: str, source: str) -> None:
    """Raise ValueError for floats so large that neighbouring integers have the same float."""
    bits = {"Float64": 53, "Float32": 24}.get(str(values.dtype), 11)
    wish = f"{values.dtype} is exact up to 2^{bits} only: use int64"
    refuse_rows(values, values.abs().cast(pl.Float64) > 2**bits, column, source, wish)


def read_compact_dates(values: pl.Series, low: Any, high: Any) -> pl.Series | None:
    """Integers such as 20240501, between `low` and `high`, as datetimes; None if they are not all dates."""
    for form, first, last in _COMPACT_DATES:
        if low >= first and high <= last and values.dtype == pl.Int64:
            dates = values.cast(pl.String).str.to_datetime(form, strict=False, time_unit="us")
            if not dates.has_nulls():
                return dates
    return None


def check_unit(values: pl.Series, low: Any, high: Any, column: str, source: str) -> int:
    """The unit, per second, of a column of numbers from `low` to `high`.

    Raises:
        ValueError: One of `values`, which are some of them, is in another unit or beyond any date.
    """
    largest = max(-low, high)
    if (units := units_per_second(largest)) == 1:
        return 1
    size = values.cast(pl.Float64).abs()
    refuse_rows(values, size >= _MAX_TIME, column, source, "no unit makes a date of it")
    # A time that alone would be in a smaller unit is in the wrong one.
    unit, limit = UNIT_NAMES[units], MAX_SECONDS * units // 1000
    wish = f"other times of the column, such as {high if high == largest else low}, are in {unit}: use one unit"
    refuse_rows(values, (size >= _ANY_UNIT) & (size < limit), column, source, wish)
    return units


def divided(values: pl.Series, factor: int, exact: bool | None = None) -> pl.Series:
    """The quotients: int64 if they are integers (`exact`, by default whether all are), else float64."""
    if exact is None:
        exact = is_divisible(values, factor)
    if exact:
        return values // factor
    return pl.Series(values.name, values.to_numpy() / factor)  # Polars rounds the quotient of integers twice


def is_divisible(values: pl.Series, factor: int) -> bool:
    """Whether all values are integers that `factor` divides."""
    return values.dtype == pl.Int64 and bool((values % factor == 0).all())


def _from_text(text: pl.Series, column: str, source: str) -> pl.Series:
    integers = text.cast(pl.Int64, strict=False)
    if not integers.has_nulls():
        return integers
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_finite().any():
        wrong = numbers.is_null() | ~numbers.is_finite()
        refuse_rows(text, wrong, column, source, "a time is a finite number, as elsewhere in the column")
        return numbers
    datetimes = _parsed(text)
    wish = "a time is a number or an ISO date"
    if text.filter(datetimes.is_null()).head(1).str.contains(_DAY_OR_MONTH_FIRST).any():
        wish = "day and month may come in either order: write 2024-05-31 (ISO 8601)"
    refuse_rows(text, datetimes.is_null(), column, source, wish)
    return datetimes


def _parsed(text: pl.Series) -> pl.Series:
    """ISO dates and times as UTC; null if no form matches. BigQuery writes "2024-05-01 12:30:00 UTC"."""
    zoned = text.str.replace(r"(?i)\s?(z|utc)$", "+00:00")
    zones = [zoned.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC") for form in _ZONED]
    naive = [text.str.to_datetime(form, strict=False, time_unit="us") for form in _NAIVE]
    days = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    utc = [series.dt.replace_time_zone("UTC") for series in (*naive, days)]
    return pl.select(pl.coalesce(*zones, *utc)).to_series()


def micros_of(datetimes: pl.Series) -> pl.Series:
    """Microseconds since 1970, int64."""
    return datetimes.cast(pl.Datetime("us", getattr(datetimes.dtype, "time_zone", None))).dt.epoch("us")


def refuse_rows(values: pl.Series, bad: pl.Series, column: str, source: str, wish: str) -> None:
    """Raise ValueError that names the first row in which `bad` is true, its value, and what is expected."""
    if not bad.any():
        return
    row = bad.arg_true()[0]
    raise ValueError(
        f"{source}, row {row} (counted from 0, without a header): column {column!r} is {values[row]!r}, but {wish}; "
        f"{bad.sum():,} of {len(bad):,} rows are like that"
    )
