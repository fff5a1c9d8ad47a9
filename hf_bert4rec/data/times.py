"""Times of an input table: in any unit, type and notation, they become seconds since 1970."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..model.values_bert4rec import MAX_SECONDS, UNKNOWN_TIME, units_per_second
from .columns import EXPORT_AGAIN, ROUNDED, WHITESPACE, as_int64, refuse_inexact, refuse_rows, with_floats
from .ragged import Array

logger = logging.getLogger(__name__)

UNIT_NAMES = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
MICROS = 10**6  # per second
_MAX_TIME = 10**20  # nanoseconds of the year 5138
ANY_UNIT = 10**8  # smaller numbers, such as 0 for an unknown time, may be in any unit
COMPACT_DATES = (
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M", 190001010000, 210012312359),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
# Tried in turn for each value; a time without a zone is UTC.
_ISO = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
YEAR_FIRST = "day and month may come in either order: write 2024-05-31 (ISO 8601)"
_DAY_OR_MONTH_FIRST = r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b"


def as_seconds(values: pl.Series, source: str) -> pl.Series:
    """Return times as seconds since 1970: int64, or float64 if one has a fraction of a second.

    Accepts dates, datetimes and ISO text, which are UTC unless they name a zone, and numbers. The unit of numbers
    (seconds to nanoseconds) follows from their magnitude; numbers such as 20240501 and 20240501123000 are dates.

    ValueError for a time that is missing, unreadable or beyond any date, or for numbers in two units.
    """
    if values.is_empty():  # without a lowest and a highest time
        return values.clear().cast(pl.Int64)
    reader = TimeReader(values.name, source)
    times = reader.read(values, source)
    return pl.Series(values.name, reader.conversion(lambda: [times])(times))


@dataclass
class TimeReader:
    """`as_seconds` of a column that is read in chunks: all of them decide how each becomes seconds."""

    column: str
    source: str
    low: Any = math.inf
    high: Any = -math.inf
    are_datetimes: bool | None = None
    are_integers: bool = True

    def read(self, values: pl.Series, source: str) -> Array:
        """The times of a chunk as numbers in their own unit, or as microseconds of datetimes."""
        numbers = _read_times(values, source)
        are_datetimes = isinstance(numbers.dtype, pl.Datetime)
        if self.are_datetimes not in (None, are_datetimes):
            form, earlier = ("dates", "numbers") if are_datetimes else ("numbers", "dates")
            raise ValueError(
                f"{source}: column {self.column!r} has {form}, and earlier rows have {earlier}: use one form of time"
            )
        self.are_datetimes = are_datetimes
        numbers = numbers.dt.epoch("us") if are_datetimes else numbers
        if numbers.dtype.is_float() and ((numbers == numbers.floor()) & (numbers.abs() < 2**53)).all():
            numbers = numbers.cast(pl.Int64)  # pandas keeps integers as floats after dropna()
        self.are_integers &= numbers.dtype == pl.Int64
        self.low, self.high = min(numbers.min(), self.low), max(numbers.max(), self.high)
        return numbers.to_numpy()

    def conversion(self, chunks: Callable[[], Iterable[Array]]) -> Callable[[Array], Array]:
        """The function that converts a chunk to seconds; `chunks` gives all of them, at every call."""
        if self.are_datetimes:
            return _division(MICROS, chunks)
        named = self._named(chunks) if self.are_integers else ()
        are_dates = [compact_dates(numbers, source) is not None for numbers, source in named]
        if any(are_dates) and not all(are_dates):
            raise ValueError(
                f"{self.source}: column {self.column!r} has numbers from {self.low} to {self.high}, and only some "
                "chunks of them are dates such as 20240501: use one form of time"
            )
        if any(are_dates):
            logger.info("%s: column %r is read as dates, %s to %s", self.source, self.column, self.low, self.high)
            return lambda numbers: compact_dates(pl.Series(numbers)).dt.epoch("s").to_numpy()  # type: ignore[union-attr]
        for numbers, source in self._named(chunks):
            units = check_unit(numbers, self.low, self.high, source)
        if units == 1:
            return lambda numbers: numbers if self.are_integers else numbers.astype(np.float64)
        logger.info("%s: column %r is in %s; converted to seconds", self.source, self.column, UNIT_NAMES[units])
        return _division(units, chunks)

    def _named(self, chunks: Callable[[], Iterable[Array]]) -> Iterator[tuple[pl.Series, str]]:
        """The chunks, each with its name in errors."""
        first = 0
        for numbers in chunks():
            yield pl.Series(self.column, numbers), f"{self.source}, from row {first:,} on" if first else self.source
            first += len(numbers)


def compact_dates(numbers: pl.Series, source: str = "") -> pl.Series | None:
    """Integers such as 20240501 as datetimes; None if most are not dates. ValueError if most, but not all, are."""
    low, high = int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    for form, first, last in COMPACT_DATES:
        if low <= last and first <= high and numbers.is_between(first, last).mean() > 0.5:  # type: ignore[operator]
            dates = numbers.cast(pl.String).str.to_datetime(form, strict=False, time_unit="us")
            if dates.null_count() < len(dates) / 2:
                date = numbers.filter(dates.is_not_null())[0]
                refuse_rows(numbers, dates.is_null(), source, f"other times of the column are dates such as {date}")
                return dates
    fits = low >= 1_01_1900 and high <= 31_12_2100  # so the first one or two digits are from 1 to 31
    if fits and (numbers // 10_000 % 100).is_between(1, 31).all() and (numbers % 10_000).is_between(1900, 2100).all():
        refuse_rows(numbers, numbers > 0, source, YEAR_FIRST)
    return None


def _division(factor: int, chunks: Callable[[], Iterable[Array]]) -> Callable[[Array], Array]:
    """The function that divides numbers: integers remain integers if all quotients are."""
    if all(numbers.dtype.kind == "i" and (numbers // factor * factor == numbers).all() for numbers in chunks()):
        return lambda numbers: numbers // factor
    return lambda numbers: numbers / factor


def _read_times(values: pl.Series, source: str) -> pl.Series:
    """Times as int64 or float64 in their own unit, or as datetimes in UTC; ValueError if one cannot be read."""
    values = with_floats(values)
    dtype = values.dtype
    if dtype.is_integer() or dtype.is_decimal():
        times = as_int64(values, source, "a time is needed")
        refuse_rows(times, times == UNKNOWN_TIME, source, "a time is needed, not the integer of NaT")
        return times
    if dtype.is_float():
        refuse_rows(values, values.is_null() | ~values.is_finite(), source, "a time is a finite number")
        if dtype != pl.Float64:
            refuse_inexact(values, source)
        return values.cast(pl.Float64)
    if isinstance(dtype, pl.Date | pl.Datetime):
        refuse_rows(values, values.is_null(), source, "a time is needed")
        return values.cast(pl.Datetime("us", getattr(dtype, "time_zone", None)))
    if dtype != pl.String:
        raise ValueError(f"{source}: column {values.name!r} is of type {dtype}; times are numbers, dates or ISO text")
    return _from_text(values.str.strip_chars(WHITESPACE), source)


def check_unit(values: pl.Series, low: Any, high: Any, source: str) -> int:
    """The unit, per second, of numbers from `low` to `high`; ValueError if one of `values` is in another unit."""
    largest = max(-low, high)
    if (units := units_per_second(largest)) == 1:
        return 1
    size = values.cast(pl.Float64).abs()
    refuse_rows(values, size >= _MAX_TIME, source, "no unit makes a date of it")
    # A time that would be in a smaller unit if it were the only one is in the wrong unit.
    unit, limit = UNIT_NAMES[units], MAX_SECONDS * units // 1000
    expected = f"other times of the column, such as {high if high == largest else low}, are in {unit}: use one unit"
    refuse_rows(values, (size >= ANY_UNIT) & (size < limit), source, expected)
    return units


def _from_text(text: pl.Series, source: str) -> pl.Series:
    integers = text.cast(pl.Int64, strict=False)
    if not integers.has_nulls():
        return _read_times(integers, source)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.is_finite().any():
        wrong = numbers.is_null() | ~numbers.is_finite()
        refuse_rows(text, wrong, source, "a time is a finite number, as elsewhere in the column")
        refuse_rows(text, text.str.contains(ROUNDED), source, EXPORT_AGAIN)
        return numbers
    datetimes = _parsed(text)
    ambiguous = text.filter(datetimes.is_null()).head(1).str.contains(_DAY_OR_MONTH_FIRST).any()
    refuse_rows(text, datetimes.is_null(), source, YEAR_FIRST if ambiguous else "a time is a number or an ISO date")
    return datetimes


def _parsed(text: pl.Series) -> pl.Series:
    """ISO dates and times as UTC; null if no form matches. BigQuery writes "2024-05-01 12:30:00 UTC"."""
    zoned = text.str.replace(r"(?i)\s?(z|utc)$", "+00:00")
    zones = [zoned.str.to_datetime(f"{form}%#z", strict=False, time_unit="us", time_zone="UTC") for form in _ISO]
    naive = [text.str.to_datetime(form, strict=False, time_unit="us") for form in (*_ISO, "%Y-%m-%d")]
    return pl.select(pl.coalesce(*zones, *(series.dt.replace_time_zone("UTC") for series in naive))).to_series()
