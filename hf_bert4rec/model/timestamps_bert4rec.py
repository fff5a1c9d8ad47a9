"""Numbers and times as callers write them; times become seconds since 1970."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from .items_bert4rec import is_missing, short_repr

# The magnitude of a time decides its unit: 10^11 seconds are the year 5138, and 10^11 milliseconds 1973.
MAX_SECONDS, MAX_MILLISECONDS, MAX_MICROSECONDS, MAX_TIME = 10**11, 10**14, 10**17, 2**63
MISSING_NANOSECONDS = -(2**63)  # NaT in an array of numpy's datetime64
is_number_text = re.compile(r"-?\d{9,19}(\.\d+)?").fullmatch
is_day_or_month_first = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b").match
ZONE_NAME = re.compile(r"\s*\b(UTC|GMT)$|(?<=\d)Z$")  # Python 3.10 does not read the Z


def parse_number(name: str, value: Any, lower: float = 0.0, upper: float = math.inf) -> float:
    """Return a number within bounds; TypeError for another type, ValueError for NaN and for one out of bounds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {short_repr(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of a float
        number = math.nan
    if math.isnan(number) or not lower <= number <= upper:
        bound = f"from {lower:g} to {upper:g}" if upper < math.inf else f"{lower:g} or more"
        raise ValueError(f"{name} is {short_repr(value)}; it must be {bound}")
    return number


def parse_times(timestamps: list[Any] | None, now: Any, num_entries: int) -> tuple[list[int | None] | None, int | None]:
    """Return the seconds of the entries and of the query; see `parse_timestamps` and `parse_timestamp`.

    Raises:
        ValueError: the query is earlier than an entry.
    """
    seconds = None
    if timestamps is not None:
        seconds = parse_timestamps(timestamps, num_entries)
    if now is None or _is_missing_time(now):
        return seconds, None
    query_time = parse_timestamp("now", now)
    latest = max((second for second in seconds or [] if second is not None), default=query_time)
    if latest > query_time:
        raise ValueError(f"now is {short_repr(now)}, earlier than the last of the timestamps, which is second {latest}")
    return seconds, query_time


def parse_timestamps(values: list[Any], num_entries: int) -> list[int | None]:
    """Return the seconds of every entry of a history, oldest first; None where missing. See `parse_timestamp`.

    All numbers of a history share the unit of the largest.

    Raises:
        ValueError: another number of timestamps than of entries, or a timestamp earlier than one before it.
    """
    if len(values) != num_entries:
        raise ValueError(
            f"timestamps has {len(values)} values and the history {num_entries} entries: give one each, None where the "
            "time is not known"
        )
    dates = [_seconds_of_date("a timestamp", value) for value in values]
    numbers = [
        None if seconds_of_date is not None or _is_missing_time(value) else _time_number("a timestamp", value)
        for seconds_of_date, value in zip(dates, values, strict=True)
    ]
    units = units_per_second(max((abs(number) for number in numbers if number is not None), default=0))
    scaled = [None if number is None else int(number // units) for number in numbers]
    seconds = [second if exact is None else math.floor(exact) for exact, second in zip(dates, scaled, strict=True)]
    known = [(index, second) for index, second in enumerate(seconds) if second is not None]
    for (_, earlier), (index, later) in pairwise(known):
        if later < earlier:
            raise ValueError(
                f"timestamps decrease at index {index}, to {short_repr(values[index])}: give the history oldest first"
            )
    return seconds


def parse_timestamp(name: str, value: Any) -> int:
    """Return seconds since 1970, rounded down, of a time.

    Args:
        value: a number of seconds, milli-, micro- or nanoseconds (see `units_per_second`), a `datetime`, a `date`, a
            numpy datetime64, or an ISO 8601 text, which may end in "UTC". Without a zone it is UTC.

    Raises:
        TypeError: a value of another type. ValueError: a text that is not a date, or a number beyond all dates.
    """
    seconds = _seconds_of_date(name, value)
    if seconds is not None:
        return math.floor(seconds)
    number = _time_number(name, value)
    return int(number // units_per_second(number))


def _seconds_of_date(name: str, value: Any) -> float | None:
    """Return the seconds since 1970 of a date or a text with one; None for other values."""
    if type(value).__name__ == "datetime64":
        value = value.item()  # a datetime, a date, or nanoseconds
    if isinstance(value, str) and not is_number_text(value.strip()):
        value = _parse_date_text(name, value.strip())
    if is_missing(value) or not isinstance(value, date):
        return None
    value = value if isinstance(value, datetime) else datetime.fromisoformat(value.isoformat())
    if value.tzinfo is None:
        value = datetime.fromisoformat(f"{value.isoformat()}+00:00")
    return value.timestamp()


def _parse_date_text(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(ZONE_NAME.sub("+00:00", text))
    except ValueError as error:
        hint = " (day and month would be ambiguous)" if is_day_or_month_first(text) else ""
        raise ValueError(
            f"{name} is {short_repr(text)}; write it as 2026-11-25T16:00:00, year first{hint}, or in seconds"
        ) from error


def _time_number(name: str, value: Any) -> int | float:
    """Return a number in the caller's unit, from a number, a text of one, or nanoseconds of a datetime64."""
    if type(value).__name__ == "datetime64":
        value = value.item()
    if isinstance(value, str):
        value = float(value)
    if not isinstance(value, Real):
        raise TypeError(f"{name} is seconds since 1970, a datetime or an ISO 8601 text, not {short_repr(value)}")
    number = parse_number(name, value, -MAX_TIME, MAX_TIME)
    return int(value) if isinstance(value, Integral) else number  # a float cannot hold nanoseconds


def units_per_second(largest: float) -> int:
    """The unit of times, by the largest magnitude among them: 1 for seconds, up to 10^9 for nanoseconds."""
    limits = ((MAX_SECONDS, 1), (MAX_MILLISECONDS, 10**3), (MAX_MICROSECONDS, 10**6))
    return next((units for limit, units in limits if abs(largest) < limit), 10**9)


def _is_missing_time(value: Any) -> bool:
    if type(value).__name__ == "datetime64":
        value = value.item()
    return is_missing(value) or (type(value) is int and value == MISSING_NANOSECONDS)


__all__ = ["parse_number", "parse_times", "parse_timestamp", "parse_timestamps", "units_per_second"]
