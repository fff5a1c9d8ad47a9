"""Parse and check requests: a history of ids and titles, its options, and their timestamps."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import transformers

from .items_bert4rec import short_repr

OPTIONS = (
    "top_k",
    "exclude_seen",
    "ratings",
    "min_rating",
    "timestamps",
    "now",
    "exclude",
    "candidates",
    "genres",
    "years",
    "diversity",
    "popularity_penalty",
    "explain",
)
DEFAULT_TOP_K = 10
DEFAULT_MIN_RATING = 3.0
MAX_ID_BITS = 300  # Python refuses to print integers of thousands of digits
MAX_NAMED_ENTRIES = 20  # unknown entries that a warning lists
MAX_SECONDS = 2**40  # from 1970, in either direction: some 35,000 years


@dataclass(frozen=True)
class Request:
    """One history and its options, parsed. Items are input ids; a filter that is not set is None.

    `liked` is the model's input, oldest first; `seen` adds the entries with a low rating. `timestamps` holds the
    seconds since 1970 of each liked item, None where unknown; `now` is the time of the query.
    """

    liked: list[int]
    seen: list[int]
    top_k: int = DEFAULT_TOP_K
    exclude_seen: bool = True
    exclude: list[int] | None = None
    candidates: list[int] | None = None
    genres: list[str] | None = None
    years: tuple[float, float] | None = None
    diversity: float = 0.0
    popularity_penalty: float = 0.0
    explain: bool = False
    timestamps: list[int | None] | None = None
    now: int | None = None


@dataclass
class UnknownEntries:
    """Entries that match nothing in the catalogue, collected for one warning per call."""

    history: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Name each entry once, up to `MAX_NAMED_ENTRIES` of them."""
        if self.history:
            warn_caller(f"not in the catalogue, left out of the history: {_list_names(self.history)}")
        if self.exclude:
            warn_caller(f"not in the catalogue, nothing to exclude: {_list_names(self.exclude)}")


def _list_names(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - MAX_NAMED_ENTRIES} more" if len(distinct) > MAX_NAMED_ENTRIES else ""
    return ", ".join(distinct[:MAX_NAMED_ENTRIES]) + more


def check_option_names(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that a request does not take."""
    for name in options:
        if name not in OPTIONS:
            matches = difflib.get_close_matches(str(name), OPTIONS, n=1)
            hint = f"; did you mean {matches[0]!r}?" if matches else "."
            raise ValueError(f"unknown option {short_repr(name)}{hint} A request takes {', '.join(OPTIONS)}.")


def parse_request(history: Any, options: Mapping[str, Any], tokenizer: Any, unknown: UnknownEntries) -> Request:
    """Parse one history, a list or a dict `{"history": [...]}` with options of its own, which take precedence.

    Raises:
        TypeError: a value of the wrong type. ValueError: a value out of range; both name the option and the value.
    """
    if isinstance(history, Mapping):
        own_options = dict(history)
        if "history" not in own_options:
            raise ValueError(f"a request needs the key 'history'; this one has {short_repr(list(own_options))}")
        history = own_options.pop("history")
        check_option_names(own_options)
        options = {**options, **own_options}
    entries = _parse_list(history, "a history is a list of ids and titles")
    seen = [_resolve(entry, tokenizer, unknown.history) for entry in entries]
    is_liked = _parse_ratings(options.get("ratings"), options.get("min_rating", DEFAULT_MIN_RATING), entries)
    timestamps, now = _parse_times(options.get("timestamps"), options.get("now"), len(entries))
    liked = {index: item for index, item in enumerate(seen) if item is not None and is_liked[index]}
    return Request(
        liked=list(liked.values()),
        seen=[item for item in seen if item is not None],
        top_k=parse_top_k(options.get("top_k", DEFAULT_TOP_K), tokenizer.num_items),
        exclude_seen=_parse_flag("exclude_seen", options.get("exclude_seen", True)),
        exclude=_parse_exclude(options.get("exclude"), tokenizer, unknown.exclude),
        candidates=_parse_candidates(options.get("candidates"), tokenizer),
        genres=_parse_genres(options.get("genres")),
        years=_parse_years(options.get("years")),
        diversity=parse_number("diversity", options.get("diversity", 0.0), upper=1.0),
        popularity_penalty=parse_number("popularity_penalty", options.get("popularity_penalty", 0.0)),
        explain=_parse_flag("explain", options.get("explain", False)),
        timestamps=None if timestamps is None else [timestamps[index] for index in liked],
        now=now,
    )


def parse_top_k(top_k: Any, num_items: int) -> int:
    """Return an integer from 1 to the size of the catalogue."""
    if not isinstance(top_k, Integral) or isinstance(top_k, bool):
        raise TypeError(f"top_k is an integer, not {short_repr(top_k)}")
    if not 1 <= int(top_k) <= num_items:
        raise ValueError(f"top_k is {short_repr(top_k)}; it must be from 1 to the catalogue's {num_items} movies")
    return int(top_k)


def parse_movies(entries: Iterable[Any], tokenizer: Any, option: str) -> list[int]:
    """Return the input ids of movies that must be in the catalogue, given by id or title.

    Raises:
        UnknownTitleError: no such movie (a LookupError, with similar titles). AmbiguousTitleError: a title of several.
    """
    missing: list[str] = []
    items = []
    for entry in entries:
        item = _resolve(entry, tokenizer, missing)
        if item is None:
            if isinstance(entry, str):
                tokenizer.find(entry)  # raises, and suggests titles
            raise LookupError(f"{option}: {short_repr(entry)} is not in the catalogue")
        items.append(item)
    return items


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


def parse_timestamp(name: str, value: Any) -> int:
    """Return seconds since 1970, rounded down, of a number of seconds, a `datetime` or an ISO 8601 text.

    Times without a zone are UTC.

    Raises:
        TypeError: a value of another type. ValueError: a text that is not a date, or a number beyond all dates.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(
                f"{name} is {short_repr(value)}; write it as 2026-11-25T16:00:00, or in seconds"
            ) from error
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = datetime.fromisoformat(f"{value.isoformat()}+00:00")
        value = value.timestamp()
    elif not isinstance(value, Real):
        raise TypeError(f"{name} is seconds since 1970, a datetime or an ISO 8601 text, not {short_repr(value)}")
    return math.floor(parse_number(name, value, -MAX_SECONDS, MAX_SECONDS))


def parse_timestamps(values: list[Any], num_entries: int) -> list[int | None]:
    """Return the seconds of every entry of a history, oldest first; None where the caller gave None.

    Raises:
        ValueError: another number of timestamps than of entries, or a timestamp earlier than one before it.
    """
    if len(values) != num_entries:
        raise ValueError(
            f"timestamps has {len(values)} values and the history {num_entries} entries: give one each, None where the "
            "time is not known"
        )
    seconds = [None if value is None else parse_timestamp("a timestamp", value) for value in values]
    known = [(index, second) for index, second in enumerate(seconds) if second is not None]
    for (_, earlier), (index, later) in pairwise(known):
        if later < earlier:
            raise ValueError(
                f"timestamps decrease at index {index}, to {short_repr(values[index])}: give the history oldest first"
            )
    return seconds


def is_lazy(inputs: Any) -> bool:
    """Whether histories come from an iterator, or from another iterable of unknown length."""
    return isinstance(inputs, Iterator)


def as_list(value: Any) -> Any:
    """Return arrays, columns and other iterables as lists; mappings, strings, scalars and iterators unchanged."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, Mapping, str, bytes, Iterator)) or not isinstance(value, Iterable):
        return value
    return list(value)


def is_batch(inputs: Any) -> bool:
    """Whether a list holds histories rather than entries; TypeError for a mixture."""
    if not isinstance(inputs, list):
        raise TypeError(f"a history is a list of ids and titles, not {type(inputs).__name__}: {short_repr(inputs)}")
    # int is listed although it is an Integral: the check by the abstract class takes a tenth of the request's time
    nested = [not isinstance(entry, (str, int, Integral)) and isinstance(entry, Iterable) for entry in inputs]
    if any(nested) and not all(nested):
        index = nested.index(not nested[0])
        raise TypeError(
            f"entry {index} is {short_repr(inputs[index])}: a list holds either the entries of one history or several "
            "histories, not both"
        )
    return bool(nested) and nested[0]


def warn_caller(message: str) -> None:
    """Warn at the line of the caller's own code, however deep in the pipeline the cause is."""
    own_folders = (str(Path(__file__).parent), str(Path(transformers.__file__).parent))
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own_folders):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _parse_list(value: Any, expected: str) -> list[Any]:
    value = as_list(value)
    if not isinstance(value, list):
        raise TypeError(f"{expected}, not {type(value).__name__}: {short_repr(value)}")
    return value


def _resolve(entry: Any, tokenizer: Any, unknown: list[str]) -> int | None:
    if isinstance(entry, bool) or not isinstance(entry, (str, int, Integral)):
        raise TypeError(f"an entry of a history is an id or a title, not {type(entry).__name__}: {short_repr(entry)}")
    if not isinstance(entry, str) and int(entry).bit_length() > MAX_ID_BITS:
        raise ValueError(f"an id has at most {MAX_ID_BITS} bits, not {int(entry).bit_length()}: give a movie's id")
    item = tokenizer.resolve(entry if isinstance(entry, str) else int(entry))
    if item is None:
        unknown.append(short_repr(entry))
    return item


def _parse_ratings(ratings: Any, min_rating: Any, entries: list[Any]) -> list[bool]:
    """Return whether each entry is liked: rated `min_rating` or more, or not rated (None)."""
    min_rating = parse_number("min_rating", min_rating, lower=-math.inf)
    if ratings is None:
        return [True] * len(entries)
    ratings = _parse_list(ratings, "ratings is a list with one number, or None, for each entry of the history")
    if len(ratings) != len(entries):
        raise ValueError(
            f"ratings has {len(ratings)} values and the history {len(entries)} entries: give one each, None where "
            "there is no rating"
        )
    return [rating is None or parse_number("a rating", rating, lower=-math.inf) >= min_rating for rating in ratings]


def _parse_times(timestamps: Any, now: Any, num_entries: int) -> tuple[list[int | None] | None, int | None]:
    """Return the times of the entries and of the query, which must not be earlier."""
    seconds = None
    if timestamps is not None:
        expected = "timestamps is a list with one time, or None, for each entry of the history"
        seconds = parse_timestamps(_parse_list(timestamps, expected), num_entries)
    if now is None:
        return seconds, None
    query_time = parse_timestamp("now", now)
    latest = max((second for second in seconds or [] if second is not None), default=query_time)
    if latest > query_time:
        raise ValueError(f"now is {short_repr(now)}, earlier than the last of the timestamps, which is second {latest}")
    return seconds, query_time


def _parse_exclude(entries: Any, tokenizer: Any, unknown: list[str]) -> list[int] | None:
    if entries is None:
        return None
    listed = _parse_list(entries, "exclude is a list of ids and titles")
    items = [_resolve(entry, tokenizer, unknown) for entry in listed]
    return [item for item in items if item is not None]


def _parse_candidates(entries: Any, tokenizer: Any) -> list[int] | None:
    if entries is None:
        return None
    return parse_movies(_parse_list(entries, "candidates is a list of ids and titles"), tokenizer, "candidates")


def _parse_genres(genres: Any) -> list[str] | None:
    if genres is None:
        return None
    genres = _parse_list(genres, "genres is a list of names")
    if not genres or not all(isinstance(name, str) for name in genres):
        raise ValueError(f"genres is a list of at least one name, not {short_repr(genres)}")
    return genres


def _parse_years(years: Any) -> tuple[float, float] | None:
    if years is None:
        return None
    years = _parse_list(years, "years is a pair such as (1990, 1999)")
    if len(years) != 2:
        raise ValueError(
            f"years is a pair such as (1990, 1999), either of them None for no bound; not {short_repr(years)}"
        )
    first = -math.inf if years[0] is None else parse_number("the first of years", years[0])
    last = math.inf if years[1] is None else parse_number("the last of years", years[1])
    if first > last:
        raise ValueError(f"years is {short_repr(tuple(years))}: the first year comes after the last; swap them")
    return first, last


def _parse_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {short_repr(value)}")
    return value


__all__ = [
    "Request",
    "UnknownEntries",
    "as_list",
    "check_option_names",
    "is_batch",
    "is_lazy",
    "parse_movies",
    "parse_request",
    "parse_timestamp",
    "parse_timestamps",
    "parse_top_k",
    "warn_caller",
]
