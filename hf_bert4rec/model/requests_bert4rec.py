"""What a caller asks of the recommender, read and checked: a history of ids and titles, and the options beside it."""

from __future__ import annotations

import difflib
import math
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import transformers

from .moments_bert4rec import parse_timestamp, parse_timestamps, read_number
from .titles_bert4rec import short_repr

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
MAX_ID_BITS = 300  # Python refuses to print whole numbers of thousands of digits
NAMED = 20  # unknown entries that a warning names
DEFAULT_MIN_RATING = 3.0


@dataclass(frozen=True)
class Request:
    """One history and what is asked of it. Items are input ids; a filter that was not asked for is None.

    `liked` is what the model is shown, oldest first; `seen` adds the entries rated too low to be shown. `moments` are
    the seconds since 1970 of what is liked, None where nobody said; `now` is when it is asked.
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
    moments: list[int | None] | None = None
    now: int | None = None


@dataclass
class UnknownEntries:
    """Entries that name nothing in the catalogue, kept for one warning a call."""

    history: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Name each once, and of very many the first."""
        if self.history:
            warn_caller(f"not in the catalogue, left out of the history: {_first_of(self.history)}")
        if self.exclude:
            warn_caller(f"not in the catalogue, nothing to exclude: {_first_of(self.exclude)}")


def _first_of(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return ", ".join(distinct[:NAMED]) + more


def check_option_names(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that a request does not take."""
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(str(name), OPTIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown option {short_repr(name)}{hint} A request takes {', '.join(OPTIONS)}.")


def read_request(history: Any, options: Mapping[str, Any], tokenizer: Any, unknown: UnknownEntries) -> Request:
    """Resolve one history, a list or a dict `{"history": [...]}` with options of its own; the dict's options win.

    Raises:
        TypeError: a value of the wrong type. ValueError: one out of range; both name the option and the value.
    """
    if isinstance(history, Mapping):
        own = dict(history)
        if "history" not in own:
            raise ValueError(f"a request needs the key 'history'; this one has {short_repr(list(own))}")
        history = own.pop("history")
        check_option_names(own)
        options = {**options, **own}
    entries = _list_of(history, "a history is a list of ids and titles")
    seen = [_resolve(entry, tokenizer, unknown.history) for entry in entries]
    high = _rated_high_enough(options.get("ratings"), options.get("min_rating", DEFAULT_MIN_RATING), entries)
    moments, now = _moments(options.get("timestamps"), options.get("now"), len(entries))
    liked = {place: item for place, item in enumerate(seen) if item is not None and high[place]}
    return Request(
        liked=list(liked.values()),
        seen=[item for item in seen if item is not None],
        top_k=read_top_k(options.get("top_k", DEFAULT_TOP_K), tokenizer.num_items),
        exclude_seen=_flag("exclude_seen", options.get("exclude_seen", True)),
        exclude=_excluded(options.get("exclude"), tokenizer, unknown.exclude),
        candidates=_candidates(options.get("candidates"), tokenizer),
        genres=_genres(options.get("genres")),
        years=_years(options.get("years")),
        diversity=read_number("diversity", options.get("diversity", 0.0), upper=1.0),
        popularity_penalty=read_number("popularity_penalty", options.get("popularity_penalty", 0.0)),
        explain=_flag("explain", options.get("explain", False)),
        moments=None if moments is None else [moments[place] for place in liked],
        now=now,
    )


def read_top_k(top_k: Any, catalogue_size: int) -> int:
    """A whole number from 1 to the size of the catalogue."""
    if not isinstance(top_k, Integral) or isinstance(top_k, bool):
        raise TypeError(f"top_k is a whole number, not {short_repr(top_k)}")
    if not 1 <= int(top_k) <= catalogue_size:
        raise ValueError(f"top_k is {short_repr(top_k)}; it must be from 1 to the catalogue's {catalogue_size} movies")
    return int(top_k)


def read_movies(entries: Iterable[Any], tokenizer: Any, place: str) -> list[int]:
    """The input ids of movies that must be in the catalogue, given by id or title.

    Raises:
        UnknownTitleError: one is not (a LookupError, with near titles). AmbiguousTitleError: a title of several.
    """
    missing: list[str] = []
    found = []
    for entry in entries:
        item = _resolve(entry, tokenizer, missing)
        if item is None:
            if isinstance(entry, str):
                tokenizer.find(entry)  # raises, and suggests titles
            raise LookupError(f"{place}: {short_repr(entry)} is not in the catalogue")
        found.append(item)
    return found


def listed(value: Any) -> Any:
    """Arrays, columns and other iterables as lists; mappings, strings, scalars and generators as they are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, Mapping, str, bytes, types.GeneratorType)) or not isinstance(value, Iterable):
        return value
    return list(value)


def is_batch(inputs: Any) -> bool:
    """Whether a list holds histories rather than entries; a mixture is an error."""
    if not isinstance(inputs, list):
        raise TypeError(f"a history is a list of ids and titles, not {type(inputs).__name__}: {short_repr(inputs)}")
    # int is named beside Integral, which it is, because asking for it takes a tenth of the time
    nested = [not isinstance(entry, (str, int, Integral)) and isinstance(entry, Iterable) for entry in inputs]
    if any(nested) and not all(nested):
        place = nested.index(not nested[0])
        raise TypeError(
            f"entry {place} is {short_repr(inputs[place])}: a list holds either the entries of one history or several "
            "histories, not both"
        )
    return bool(nested) and nested[0]


def warn_caller(message: str) -> None:
    """Warn at the line of the caller's own code, however deep in the pipeline the cause was found."""
    inside = (str(Path(__file__).parent), str(Path(transformers.__file__).parent))
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _list_of(value: Any, wish: str) -> list[Any]:
    value = listed(value)
    if not isinstance(value, list):
        raise TypeError(f"{wish}, not {type(value).__name__}: {short_repr(value)}")
    return value


def _resolve(entry: Any, tokenizer: Any, unknown: list[str]) -> int | None:
    if isinstance(entry, bool) or not isinstance(entry, (str, int, Integral)):
        raise TypeError(f"an entry of a history is an id or a title, not {type(entry).__name__}: {short_repr(entry)}")
    if not isinstance(entry, str) and int(entry).bit_length() > MAX_ID_BITS:
        raise ValueError(f"an id has at most {MAX_ID_BITS} bits, not {int(entry).bit_length()}: give a movie's id")
    found = tokenizer.resolve(entry if isinstance(entry, str) else int(entry))
    if found is None:
        unknown.append(short_repr(entry))
    return found


def _rated_high_enough(ratings: Any, least: Any, entries: list[Any]) -> list[bool]:
    """Whether each entry is to be shown to the model: rated `least` or more, or not rated (None)."""
    least = read_number("min_rating", least, lower=-math.inf)
    if ratings is None:
        return [True] * len(entries)
    ratings = _list_of(ratings, "ratings is a list with one number, or None, for each entry of the history")
    if len(ratings) != len(entries):
        raise ValueError(
            f"ratings has {len(ratings)} values and the history {len(entries)} entries: give one each, None where "
            "there is no rating"
        )
    return [rating is None or read_number("a rating", rating, lower=-math.inf) >= least for rating in ratings]


def _moments(timestamps: Any, now: Any, entries: int) -> tuple[list[int | None] | None, int | None]:
    """When the entries were, and when it is asked, which is no earlier."""
    moments = None
    if timestamps is not None:
        wish = "timestamps is a list with one moment, or None, for each entry of the history"
        moments = parse_timestamps(_list_of(timestamps, wish), entries)
    if now is None:
        return moments, None
    asked = parse_timestamp("now", now)
    if (latest := max((moment for moment in moments or [] if moment is not None), default=asked)) > asked:
        raise ValueError(f"now is {short_repr(now)}, earlier than the last of the timestamps, which is second {latest}")
    return moments, asked


def _excluded(entries: Any, tokenizer: Any, unknown: list[str]) -> list[int] | None:
    if entries is None:
        return None
    found = [_resolve(entry, tokenizer, unknown) for entry in _list_of(entries, "exclude is a list of ids and titles")]
    return [item for item in found if item is not None]


def _candidates(entries: Any, tokenizer: Any) -> list[int] | None:
    if entries is None:
        return None
    return read_movies(_list_of(entries, "candidates is a list of ids and titles"), tokenizer, "candidates")


def _genres(genres: Any) -> list[str] | None:
    if genres is None:
        return None
    genres = _list_of(genres, "genres is a list of names")
    if not genres or not all(isinstance(name, str) for name in genres):
        raise ValueError(f"genres is a list of at least one name, not {short_repr(genres)}")
    return genres


def _years(years: Any) -> tuple[float, float] | None:
    if years is None:
        return None
    years = _list_of(years, "years is a pair such as (1990, 1999)")
    if len(years) != 2:
        raise ValueError(
            f"years is a pair such as (1990, 1999), either of them None for no bound; not {short_repr(years)}"
        )
    first = -math.inf if years[0] is None else read_number("the first of years", years[0])
    last = math.inf if years[1] is None else read_number("the last of years", years[1])
    if first > last:
        raise ValueError(f"years is {short_repr(tuple(years))}: the first year comes after the last; swap them")
    return first, last


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {short_repr(value)}")
    return value


__all__ = [
    "Request",
    "UnknownEntries",
    "check_option_names",
    "is_batch",
    "listed",
    "read_movies",
    "read_request",
    "read_top_k",
]
