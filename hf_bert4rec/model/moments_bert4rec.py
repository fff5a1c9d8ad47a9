"""Numbers as callers write them, and moments, which are read into seconds since 1970."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import pairwise
from numbers import Real
from typing import Any

from .titles_bert4rec import short_repr

FURTHEST = 2**40  # seconds from 1970, some 35,000 years


def parse_timestamp(name: str, moment: Any) -> int:
    """Whole seconds since 1970 of a number of them, a `datetime` or an ISO 8601 text; without a zone they are UTC.

    Raises:
        TypeError: something else. ValueError: a text that is no date, or a number of seconds beyond all dates.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise ValueError(
                f"{name} is {short_repr(moment)}; write it as 2026-11-25T16:00:00, or in seconds"
            ) from error
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            moment = datetime.fromisoformat(f"{moment.isoformat()}+00:00")
        moment = moment.timestamp()
    elif not isinstance(moment, Real):
        raise TypeError(f"{name} is seconds since 1970, a datetime or an ISO 8601 text, not {short_repr(moment)}")
    return math.floor(read_number(name, moment, -FURTHEST, FURTHEST))


def parse_timestamps(moments: list[Any], entries: int) -> list[int | None]:
    """The seconds of every entry of a history, oldest first; None where the caller gave None.

    Raises:
        ValueError: another number of them than of entries, or one earlier than one before it.
    """
    if len(moments) != entries:
        raise ValueError(
            f"timestamps has {len(moments)} values and the history {entries} entries: give one each, None where the "
            "time is not known"
        )
    found = [None if moment is None else parse_timestamp("a timestamp", moment) for moment in moments]
    known = [(place, seconds) for place, seconds in enumerate(found) if seconds is not None]
    for (_, earlier), (place, later) in pairwise(known):
        if later < earlier:
            raise ValueError(
                f"timestamps go back at place {place}, to {short_repr(moments[place])}: give the history oldest first"
            )
    return found


def read_number(name: str, value: Any, lower: float = 0.0, upper: float = math.inf) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {short_repr(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond what a float holds
        number = math.nan
    if math.isnan(number) or not lower <= number <= upper:
        bound = f"from {lower:g} to {upper:g}" if upper < math.inf else f"{lower:g} or more"
        raise ValueError(f"{name} is {short_repr(value)}; it must be {bound}")
    return number


__all__ = ["parse_timestamp", "parse_timestamps", "read_number"]
