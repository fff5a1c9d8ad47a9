"""Parse and check requests: a history of ids and titles, its options, and their timestamps."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import transformers

from .items_bert4rec import as_scalar, is_missing, short_repr
from .timestamps_bert4rec import parse_number, parse_times

OPTIONS = (
    "top_k",
    "goal",
    "exclude_seen",
    "ratings",
    "min_rating",
    "timestamps",
    "now",
    "events",
    "event",
    "exclude",
    "candidates",
    "genres",
    "years",
    "diversity",
    "popularity_penalty",
    "explain",
)
GOALS = ("next", "taste")
DEFAULT_TOP_K = 10
DEFAULT_MIN_RATING = 3.0
MAX_ID_BITS = 300  # Python refuses to print integers of thousands of digits
MAX_NAMED_ENTRIES = 20  # unknown entries that a warning lists
SILENT_KEYS = ("user_id",)  # keys of a request that are no options and need no warning


@dataclass(frozen=True)
class Request:
    """One history and its options, parsed. Items are input ids; a filter that is not set is None.

    `liked` is the model's input, oldest first; `seen` adds the entries with a low rating, and lacks those with another
    event than the requested one. `timestamps` holds the seconds since 1970 of each liked item, None where unknown;
    `now` is the time of the query. `events` holds the kind of event of each liked item, `event` the requested kind, as
    `event_ids`. `goal` is one of `GOALS`. None means the default.
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
    events: list[int] | None = None
    event: int | None = None
    goal: str | None = None


@dataclass
class UnknownEntries:
    """Entries that match nothing in the catalogue, and keys that are no options: one warning each per call."""

    history: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Name each entry once, up to `MAX_NAMED_ENTRIES` of them."""
        if self.history:
            warn_caller(f"not in the catalogue, left out of the history: {_list_names(self.history)}")
        if self.exclude:
            warn_caller(f"not in the catalogue, nothing to exclude: {_list_names(self.exclude)}")
        if self.keys:
            warn_caller(f"not options of a request, ignored: {_list_names(self.keys)}")


def _list_names(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - MAX_NAMED_ENTRIES} more" if len(distinct) > MAX_NAMED_ENTRIES else ""
    return ", ".join(distinct[:MAX_NAMED_ENTRIES]) + more


def check_option_names(options: Iterable[Any]) -> None:
    """Raise ValueError for an option that a request does not take."""
    for name in options:
        if name not in OPTIONS:
            similar = _similar_option(name)
            hint = f"; did you mean {similar!r}?" if similar else "."
            raise ValueError(f"unknown option {short_repr(name)}{hint} A request takes {', '.join(OPTIONS)}.")


def _similar_option(name: Any) -> str | None:
    return next(iter(difflib.get_close_matches(str(name), OPTIONS, n=1)), None)


def parse_request(history: Any, options: Mapping[str, Any], tokenizer: Any, unknown: UnknownEntries) -> Request:
    """Parse one history, a list or a dict `{"history": [...]}` with options of its own, which take precedence.

    Other keys, such as the other columns of a data set's row, are ignored with a warning.

    Raises:
        TypeError: a value of the wrong type. ValueError: a value out of range, or a key that resembles an option; both
            name the option and the value.
    """
    if isinstance(history, Mapping):
        row = dict(history)
        if "history" not in row:
            raise ValueError(f"a request needs the key 'history'; this one has {short_repr(list(row))}")
        history = row.pop("history")
        others = [name for name in row if name not in OPTIONS]
        check_option_names(name for name in others if not isinstance(name, str) or _similar_option(name))
        unknown.keys += [short_repr(name) for name in others if name not in SILENT_KEYS]
        options = {**options, **{name: as_scalar(value) for name, value in row.items() if name in OPTIONS}}
    _check_history_type(history)
    entries = _parse_list(history, "a history is a list of ids and titles")
    seen = [_resolve(entry, tokenizer, unknown.history) for entry in entries]
    is_liked = _parse_ratings(options.get("ratings"), options.get("min_rating"), len(entries))
    timestamps = options.get("timestamps")
    if timestamps is not None:
        timestamps = _parse_list(
            timestamps, "timestamps is a list with one time, or None, for each entry of the history"
        )
    timestamps, now = parse_times(timestamps, options.get("now"), len(entries))
    events, event = _parse_events(options.get("events"), options.get("event"), tokenizer, len(entries))
    liked = {index: item for index, item in enumerate(seen) if item is not None and is_liked[index]}
    return Request(
        liked=list(liked.values()),
        seen=[
            item
            for index, item in enumerate(seen)
            if item is not None and (events is None or events[index] == (event or 0))
        ],
        top_k=parse_top_k(options.get("top_k", min(DEFAULT_TOP_K, tokenizer.num_items)), tokenizer.num_items),
        goal=_parse_goal(options.get("goal")),
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
        events=None if events is None else [events[index] for index in liked],
        event=event,
    )


def parse_top_k(top_k: Any, num_items: int) -> int:
    """Return an integer from 1 to the size of the catalogue."""
    if not isinstance(top_k, Integral) or isinstance(top_k, bool):
        raise TypeError(f"top_k is an integer, not {short_repr(top_k)}")
    if not 1 <= int(top_k) <= num_items:
        raise ValueError(f"top_k is {short_repr(top_k)}; it must be from 1 to the catalogue's {num_items} movies")
    return int(top_k)


def parse_batch_size(batch_size: Any) -> int:
    """Return an integer of at least 1."""
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool):
        raise TypeError(f"batch_size is an integer, not {short_repr(batch_size)}")
    if int(batch_size) < 1:
        raise ValueError(f"batch_size is {short_repr(batch_size)}; it must be 1 or more")
    return min(int(batch_size), 2**31)  # the largest that `islice` takes is the platform's


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


def is_lazy(inputs: Any) -> bool:
    """Whether histories come from an iterator, which is read no further than needed."""
    return isinstance(inputs, Iterator)


def read_inputs(inputs: Any) -> Any:
    """Return histories as an iterator if `inputs` has no length or is a map-style data set, else see `as_list`.

    Raises:
        TypeError: a table of several columns, or a set, which has no order.
    """
    _check_history_type(inputs)
    if isinstance(inputs, Iterable):
        return as_list(inputs) if hasattr(inputs, "__len__") else iter(inputs)
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):  # a torch Dataset, transformers' KeyDataset
        return (inputs[index] for index in range(len(inputs)))
    return as_list(inputs)


def as_list(value: Any) -> Any:
    """Return arrays, columns and other iterables as lists; mappings, strings, scalars and iterators unchanged.

    Raises:
        TypeError: a table, whose iteration does not give its rows.
    """
    _check_not_table(value)
    for method in ("tolist", "to_pylist"):
        if hasattr(value, method):
            return value.tolist() if method == "tolist" else value.to_pylist()
    if isinstance(value, (list, Mapping, str, bytes, Iterator)) or not isinstance(value, Iterable):
        return value
    return list(value)


def _check_not_table(value: Any) -> None:
    kind, dtype = type(value).__name__, getattr(value, "dtype", None)
    if kind in ("DataFrame", "LazyFrame", "Table", "RecordBatch") or getattr(dtype, "names", None):
        raise TypeError(f"a {kind} is a table: give one of its columns, such as frame['history']")


def _check_history_type(history: Any) -> None:
    _check_not_table(history)
    if isinstance(history, (set, frozenset)):
        raise TypeError(f"a history is a list of ids and titles, oldest first; a {type(history).__name__} has no order")


def is_empty_batch(inputs: Any) -> bool:
    """Whether inputs without entries are a batch by their type, as a column of lists is; `[]` is one empty history."""
    ndim = getattr(inputs, "ndim", 1)
    if ndim == 0 or not hasattr(inputs, "__len__") or len(inputs):
        return False
    _check_not_table(inputs)
    entry_type = str(getattr(inputs, "dtype", getattr(inputs, "type", "")))  # of a column of polars or pyarrow
    return type(inputs).__name__ in ("Column", "Dataset") or ndim > 1 or "list" in entry_type.lower()


def is_batch(inputs: Any) -> bool:
    """Whether a list holds histories rather than entries; TypeError for a mixture."""
    if not isinstance(inputs, list):
        raise TypeError(f"a history is a list of ids and titles, not {type(inputs).__name__}: {short_repr(inputs)}")
    # int is listed although it is an Integral: the check by the abstract class takes a tenth of the request's time
    nested = [
        not isinstance(entry, (str, int, Integral)) and isinstance(entry, Iterable) and getattr(entry, "ndim", 1) > 0
        for entry in inputs
    ]
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
    entry = as_scalar(entry)
    if isinstance(entry, float) and entry.is_integer():
        entry = int(entry)  # pandas turns an integer column with a missing value into floats
    if isinstance(entry, bool) or not isinstance(entry, (str, int, Integral)):
        raise TypeError(f"an entry of a history is an id or a title, not {type(entry).__name__}: {short_repr(entry)}")
    if not isinstance(entry, str) and int(entry).bit_length() > MAX_ID_BITS:
        raise ValueError(f"an id has at most {MAX_ID_BITS} bits, not {int(entry).bit_length()}: give a movie's id")
    item = tokenizer.resolve(entry if isinstance(entry, str) else int(entry))
    if item is None:
        unknown.append(short_repr(entry))
    return item


def _parse_ratings(ratings: Any, min_rating: Any, num_entries: int) -> list[bool]:
    """Return whether each entry is liked: True, rated `min_rating` or more, or not rated (None or NaN).

    Raises:
        ValueError: no rating above 1 and no `min_rating`, as with thumbs up, which the default would call dislikes.
    """
    least = DEFAULT_MIN_RATING if min_rating is None else parse_number("min_rating", min_rating, lower=-math.inf)
    if ratings is None:
        return [True] * num_entries
    ratings = _parse_list(ratings, "ratings is a list with one number, or None, for each entry of the history")
    if len(ratings) != num_entries:
        raise ValueError(
            f"ratings has {len(ratings)} values and the history {num_entries} entries: give one each, None where "
            "there is no rating"
        )
    numbers = [
        parse_number("a rating", rating, lower=-math.inf)
        for rating in ratings
        if not isinstance(rating, bool) and not is_missing(rating)
    ]
    if min_rating is None and numbers and max(numbers) <= 1:
        raise ValueError(
            f"ratings are {short_repr(ratings)}, none above 1: for thumbs up and down give True and False, or "
            f"min_rating=1; for stars give min_rating={DEFAULT_MIN_RATING:g}"
        )
    return [rating is True or is_missing(rating) or (rating is not False and rating >= least) for rating in ratings]


def _parse_events(events: Any, event: Any, tokenizer: Any, num_entries: int) -> tuple[list[int] | None, int | None]:
    """Return the `event_ids` of the entries and of the query; all are 0 if the model knows no kinds of events.

    Raises:
        ValueError: another number of events than of entries, or a kind that is unknown or cannot be requested.
    """
    if events is not None:
        events = _parse_list(events, "events is a list with one kind of event for each entry of the history")
        if len(events) != num_entries:
            raise ValueError(f"events has {len(events)} values and the history {num_entries} entries: give one each")
        events = tokenizer.encode_events(events) if tokenizer.event_names else [0] * num_entries
    if event is None or not tokenizer.event_names:
        return events, None if event is None else 0
    if event not in tokenizer.target_events:
        raise ValueError(f"event is {short_repr(event)}; it must be one of {tokenizer.target_events}")
    return events, tokenizer.encode_events([event])[0]


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


def _parse_goal(goal: Any) -> str | None:
    if goal is not None and (not isinstance(goal, str) or goal not in GOALS):
        raise ValueError(f"goal is {short_repr(goal)}; it is 'next' (what comes next) or 'taste' (what else is liked)")
    return goal


def _parse_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {short_repr(value)}")
    return value


__all__ = [
    "DEFAULT_TOP_K",
    "Request",
    "UnknownEntries",
    "as_list",
    "check_option_names",
    "is_batch",
    "is_empty_batch",
    "is_lazy",
    "parse_batch_size",
    "parse_movies",
    "parse_request",
    "parse_top_k",
    "read_inputs",
    "warn_caller",
]
