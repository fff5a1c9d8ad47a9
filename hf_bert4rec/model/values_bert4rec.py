"""Values as callers write them: ids, numbers, times and lists of other libraries, as plain Python values."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from numbers import Integral, Real
from typing import Any

# The magnitude of a time decides its unit: 10^11 seconds are the year 5138, and 10^11 milliseconds 1973.
MAX_SECONDS, MAX_MILLISECONDS, MAX_MICROSECONDS, MAX_TIME = 10**11, 10**14, 10**17, 2**63
UNKNOWN_TIME = -(2**63)  # sentinel: timestamp unknown, as at padding; numpy's NaT as an integer
is_number_text = re.compile(r"-?\d{9,19}(\.\d+)?").fullmatch
is_day_or_month_first = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b").match
ZONE_NAME = re.compile(r"\s*\b(UTC|GMT)$|(?<=\d)Z$")  # Python 3.10 does not read the Z


def short_repr(value: object) -> str:
    """Return the repr of a value for a message: at most 80 characters, however long or deeply nested the value is."""
    try:
        return reprlib.repr(value)[:80] if isinstance(value, (list, tuple, dict, set)) else f"{value!r:.80}"
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"a {type(value).__name__} too large to print"


def as_scalar(value: Any) -> Any:
    """Return a scalar of numpy, or a tensor or array without dimensions, as a plain Python value; others unchanged."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def integral_as_int(value: Any) -> Any:
    """Return a scalar, 7.0 as 7: pandas makes floats of an integer column with a missing value."""
    value = as_scalar(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def item_token(item_id: object) -> str:
    """Return the form in which ids are compared: text without surrounding whitespace; 7.0 and a tensor of 7 are "7"."""
    if type(item_id) is int:
        return str(item_id)
    return str(item_id if isinstance(item_id, (str, int)) else integral_as_int(item_id)).strip()


def as_list(value: Any) -> Any:
    """Return iterables as lists, but mappings, texts, scalars and iterators unchanged; TypeError for a table."""
    check_not_table(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_pylist"):  # of pyarrow
        return value.to_pylist()
    if isinstance(value, (list, Mapping, str, bytes, Iterator)) or not isinstance(value, Iterable):
        return value
    return list(value)


def check_not_table(value: Any) -> None:
    """Raise TypeError for a table of pandas, polars, pyarrow or numpy."""
    kind, dtype = type(value).__name__, getattr(value, "dtype", None)
    if kind in ("DataFrame", "LazyFrame", "Table", "RecordBatch") or getattr(dtype, "names", None):
        raise TypeError(f"a {kind} is a table: give one of its columns, such as frame['history']")


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA, as tables mark what is missing."""
    is_nan = isinstance(value, Real) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def parse_number(name: str, value: Any, lower: float = 0.0, upper: float = math.inf) -> float:
    """Return a number within bounds; TypeError for another type, ValueError for NaN and for one out of bounds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {short_repr(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of a float
        number = math.nan
    if not lower <= number <= upper:  # so also for NaN
        bound = f"from {lower:g} to {upper:g}" if upper < math.inf else f"{lower:g} or more"
        raise ValueError(f"{name} is {short_repr(value)}; it must be {bound}")
    return number


def parse_integer(name: str, value: Any) -> int:
    """Return an integer; TypeError for another type."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is an integer, not {short_repr(value)}")
    return int(value)


def parse_times(timestamps: list[Any] | None, now: Any, number: int) -> list[int]:
    """Seconds of the `number` entries of a history and of the query; ValueError if that is earlier than an entry."""
    seconds = [UNKNOWN_TIME] * number if timestamps is None else parse_timestamps(timestamps)
    query_time = parse_timestamp("now", now)
    latest = max(seconds, default=UNKNOWN_TIME)
    if UNKNOWN_TIME < query_time < latest:
        raise ValueError(f"now is {short_repr(now)}, earlier than the last of the timestamps, which is second {latest}")
    return [*seconds, query_time]


def parse_timestamps(values: list[Any]) -> list[int]:
    """Seconds of every entry of a history, oldest first; see `parse_timestamp`.

    All numbers of a history share the unit of the largest. ValueError for a timestamp earlier than one before it.
    """
    seconds, latest = _to_seconds([_read_time("a timestamp", value) for value in values]), UNKNOWN_TIME
    for index, second in enumerate(seconds):
        if UNKNOWN_TIME < second < latest:
            value = short_repr(values[index])
            raise ValueError(f"timestamps decrease at index {index}, to {value}: give the history oldest first")
        latest = max(latest, second)
    return seconds


def parse_timestamp(name: str, value: Any) -> int:
    """Seconds since 1970, rounded down, of a time; `UNKNOWN_TIME` for a missing one.

    `value` is a number of seconds, milli-, micro- or nanoseconds (see `units_per_second`), a `datetime`, a `date`, a
    numpy datetime64, or an ISO 8601 text, which may end in "UTC". Without a zone it is UTC.

    TypeError: a value of another type. ValueError: a text that is not a date, or a number beyond all dates.
    """
    return _to_seconds([_read_time(name, value)])[0]


def units_per_second(largest: float) -> int:
    """The unit of times, by the largest magnitude among them: 1 for seconds, up to 10^9 for nanoseconds."""
    limits = ((MAX_SECONDS, 1), (MAX_MILLISECONDS, 10**3), (MAX_MICROSECONDS, 10**6))
    return next((units for limit, units in limits if abs(largest) < limit), 10**9)


def _to_seconds(times: list[datetime | float | None]) -> list[int]:
    units = units_per_second(max((abs(time) for time in times if isinstance(time, (int, float))), default=0))
    return [_seconds(time, units) for time in times]


def _seconds(time: datetime | float | None, units: int) -> int:
    if time is None:
        return UNKNOWN_TIME
    return math.floor(time.timestamp()) if isinstance(time, datetime) else int(time // units)


def _read_time(name: str, value: Any) -> datetime | float | None:
    """Return a date with a zone, or a number in the caller's unit; None for a missing time."""
    value = as_scalar(value)  # a datetime64 becomes a datetime, a date, or nanoseconds
    if isinstance(value, str):
        value = float(value) if is_number_text(value.strip()) else _parse_date_text(name, value.strip())
    if is_missing(value) or (type(value) is int and value == UNKNOWN_TIME):
        return None
    if isinstance(value, date):
        value = value if isinstance(value, datetime) else datetime.fromisoformat(value.isoformat())
        return value if value.tzinfo is not None else datetime.fromisoformat(f"{value.isoformat()}+00:00")
    if not isinstance(value, Real):
        raise TypeError(f"{name} is seconds since 1970, a datetime or an ISO 8601 text, not {short_repr(value)}")
    number = parse_number(name, value, -MAX_TIME, MAX_TIME)
    return int(value) if isinstance(value, Integral) else number  # a float cannot hold nanoseconds


def _parse_date_text(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(ZONE_NAME.sub("+00:00", text))
    except ValueError as error:
        hint = " (day and month would be ambiguous)" if is_day_or_month_first(text) else ""
        raise ValueError(
            f"{name} is {short_repr(text)}; write it as 2026-11-25T16:00:00, year first{hint}, or in seconds"
        ) from error
