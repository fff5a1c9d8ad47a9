"""Requests: histories of ids and titles with their options, parsed, checked and encoded for the model."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
import transformers

from .values_bert4rec import (
    UNKNOWN_TIME,
    as_list,
    check_not_table,
    integral_as_int,
    is_missing,
    parse_integer,
    parse_number,
    parse_times,
    short_repr,
)

GOALS = ("next", "taste")
OPTIONS: tuple[str, ...] = ("top_k", "goal", "exclude_seen", "timestamps", "now", "events", "event", "exclude")
OPTIONS += ("candidates", "genres", "years", "popularity_penalty", "diversity", "explain", "ratings", "min_rating")
DEFAULT_TOP_K = 10
DEFAULT_BATCH_SIZE = 64
DEFAULT_MIN_RATING = 3.0
MAX_ID_BITS = 300  # Python refuses to print integers of thousands of digits
MAX_NAMED_ENTRIES = 20  # unknown entries that a warning lists
# Unknown titles of a batch for which a warning suggests another, in catalogues up to this size: it takes 0.1 s each.
MAX_SUGGESTIONS, MAX_SEARCHED_ITEMS = 3, 10_000
UnknownEntries = dict[str, str]  # the text of a warning for every entry that is not known
SILENT_KEYS = ("user_id",)  # of a request, which are ignored without a warning


@dataclass(frozen=True)
class Request:
    """One history and its options, parsed. Items are input ids; a filter that is not set is None.

    `liked` is the model's input, oldest first; `seen` adds the entries with a low rating, and lacks those with another
    event than the requested one. `times` (seconds, `UNKNOWN_TIME` where unknown) and `event_ids` are those of the liked
    items and, at the end, of the query. `has_times` and `has_events` say whether any were given.
    """

    liked: list[int]
    seen: list[int]
    top_k: int = DEFAULT_TOP_K
    goal: str = "next"
    exclude_seen: bool = True
    times: Sequence[int] = ()
    has_times: bool = False
    event_ids: Sequence[int] = ()
    has_events: bool = False
    exclude: list[int] | None = None
    candidates: list[int] | None = None
    genres: list[str] | None = None
    years: tuple[float, float] | None = None
    popularity_penalty: float = 0.0
    diversity: float = 0.0
    explain: bool = False

    def last(self, number: int) -> Request:
        """Return the request with the most recent entries of `liked` only, at most `number` of them."""
        length = len(self.liked)
        return self if length <= number else self.subset(range(length - number, length))

    def subset(self, indices: Sequence[int]) -> Request:
        """Return the request with these entries of `liked` only."""
        return replace(
            self,
            liked=[self.liked[index] for index in indices],
            times=[self.times[index] for index in (*indices, -1)],
            event_ids=[self.event_ids[index] for index in (*indices, -1)],
        )


def warn_unknown(unknown: Mapping[str, UnknownEntries]) -> None:
    """Give one warning for every message, with its distinct entries, up to `MAX_NAMED_ENTRIES` of them."""
    for message, entries in unknown.items():
        names = list(entries.values())
        more = f" and {len(names) - MAX_NAMED_ENTRIES} more" if len(names) > MAX_NAMED_ENTRIES else ""
        if names:
            warn_caller(f"{message}: {', '.join(names[:MAX_NAMED_ENTRIES])}{more}")


def warn_caller(message: str) -> None:
    """Warn at the line of the caller's own code, however deep in the pipeline the cause is."""
    own_folders = (str(Path(__file__).parent), str(Path(transformers.__file__).parent))
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own_folders):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def check_option_names(options: Iterable[Any]) -> None:
    """Raise ValueError for an option that a request does not take."""
    for name in options:
        if name not in OPTIONS:
            similar = difflib.get_close_matches(str(name), OPTIONS, n=1)
            hint = f"; did you mean {similar[0]!r}?" if similar else "."
            raise ValueError(f"unknown option {short_repr(name)}{hint} A request takes {', '.join(OPTIONS)}.")


def parse_request(
    history: Any, options: Mapping[str, Any], tokenizer: Any, config: Any, unknown: defaultdict[str, UnknownEntries]
) -> Request:
    """Parse one history, a list or a dict `{"history": [...]}` with options of its own, which take precedence.

    Entries that are not in the catalogue, and keys that are not options, are ignored and added to `unknown` under
    the message of their warning.

    TypeError: a value of the wrong type. ValueError: a value out of range, or a key that resembles an option.
    """
    if isinstance(history, Mapping):
        history, own_options = _split_row(history, unknown)
        options = {**options, **own_options}
    _check_has_order(history)
    entries = _check_list("a history", history, "a list of ids and titles")
    left_out = unknown["not in the catalogue, left out of the history"]
    resolved = [_resolve(entry, tokenizer, left_out) for entry in entries]
    items = {index: item for index, item in enumerate(resolved) if item is not None}
    is_liked = _parse_ratings(options, len(entries))
    timestamps = _parse_column(options, "timestamps", "a time or None", len(entries))
    times = parse_times(timestamps, options.get("now"), len(entries))
    has_times = timestamps is not None or times[-1] != UNKNOWN_TIME
    has_events = options.get("events") is not None or options.get("event") is not None
    event_ids = _parse_events(options, tokenizer, len(entries))
    requested = event_ids[-1]
    liked = [index for index in items if is_liked[index]]
    rows = [*liked, -1]  # and the query
    exclude = _parse_list(options, "exclude", "a list of ids and titles")
    if exclude is not None:
        left_out = unknown["not in the catalogue, nothing to exclude"]
        exclude = [item for entry in exclude if (item := _resolve(entry, tokenizer, left_out)) is not None]
    candidates = _parse_list(options, "candidates", "a list of ids and titles")
    return Request(
        liked=[items[index] for index in liked],
        seen=[item for index, item in items.items() if event_ids[index] == requested],
        top_k=parse_top_k(options.get("top_k", min(DEFAULT_TOP_K, tokenizer.num_items)), tokenizer.num_items),
        goal=_parse_goal(options.get("goal"), has_times or has_events, config.taste_size),
        exclude_seen=_parse_flag(options, "exclude_seen", config.exclude_seen),
        times=[times[row] for row in rows],
        has_times=has_times,
        event_ids=[event_ids[row] for row in rows],
        has_events=has_events,
        exclude=exclude,
        candidates=None if candidates is None else parse_movies(candidates, tokenizer, "candidates"),
        genres=_parse_genres(options),
        years=_parse_years(options),
        popularity_penalty=parse_number("popularity_penalty", options.get("popularity_penalty", 0.0), upper=1e6),
        diversity=parse_number("diversity", options.get("diversity", 0.0), upper=1.0),
        explain=_parse_flag(options, "explain", False),
    )


def _split_row(row: Mapping[Any, Any], unknown: defaultdict[str, UnknownEntries]) -> tuple[Any, dict[str, Any]]:
    """Return the history and the options of a request's dict, without missing ones, as a table has in some rows."""
    if "history" not in row:
        raise ValueError(f"a request needs the key 'history'; this one has {short_repr(list(row))}")
    scalars = {name: integral_as_int(value) for name, value in row.items() if name in OPTIONS}
    options = {name: value for name, value in scalars.items() if not is_missing(value)}
    other_keys = [name for name in row if name != "history" and name not in OPTIONS]
    misspelt = [name for name in other_keys if not isinstance(name, str) or difflib.get_close_matches(name, OPTIONS)]
    check_option_names(misspelt)
    ignored = [short_repr(name) for name in other_keys if name not in SILENT_KEYS]
    unknown["not options of a request, ignored"].update(zip(ignored, ignored, strict=True))
    return row["history"], options


def parse_top_k(top_k: Any, num_items: int) -> int:
    """Return an integer from 1 to the size of the catalogue."""
    if not 1 <= parse_integer("top_k", top_k) <= num_items:
        raise ValueError(f"top_k is {short_repr(top_k)}; it must be from 1 to the catalogue's {num_items} movies")
    return int(top_k)


def parse_batch_size(batch_size: Any) -> int:
    """Return an integer of at least 1; `DEFAULT_BATCH_SIZE` for None."""
    if batch_size is None:
        return DEFAULT_BATCH_SIZE
    if parse_integer("batch_size", batch_size) < 1:
        raise ValueError(f"batch_size is {short_repr(batch_size)}; it must be 1 or more")
    return min(int(batch_size), 2**31)  # `islice` refuses more than sys.maxsize


def parse_movies(entries: Iterable[Any], tokenizer: Any, option: str) -> list[int]:
    """Return the input ids of movies by id or title; LookupError, with similar titles, or AmbiguousTitleError."""
    items = []
    for entry in entries:
        item = _resolve(entry, tokenizer)
        if item is None:
            if isinstance(entry, str):
                tokenizer.find(entry)  # raises, and suggests titles
            raise LookupError(f"{option}: {short_repr(entry)} is not in the catalogue")
        items.append(item)
    return items


def read_histories(inputs: Any) -> tuple[Iterable[Any], bool]:
    """Return histories, and whether they are a single one rather than a batch.

    They are an iterator if `inputs` has no length or is a map-style data set; `[]` is a single history. TypeError for a
    table of several columns, a set, which has no order, and a mixture of histories and entries.
    """
    _check_has_order(inputs)
    if _is_empty_batch(inputs):
        return [], False
    if not isinstance(inputs, Iterable) and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        return (inputs[index] for index in range(len(inputs))), False  # a torch Dataset, transformers' KeyDataset
    if isinstance(inputs, Iterable) and not hasattr(inputs, "__len__"):
        return iter(inputs), False
    histories = as_list(inputs)
    is_single = isinstance(histories, Mapping) or not _is_batch(histories)
    return [histories] if is_single else histories, is_single


def _check_has_order(history: Any) -> None:
    check_not_table(history)
    if isinstance(history, (set, frozenset)):
        raise TypeError(f"a history is a list of ids and titles, oldest first; a {type(history).__name__} has no order")


def _is_empty_batch(inputs: Any) -> bool:
    """Whether inputs without entries are a batch by their type, as a column of lists is."""
    ndim = getattr(inputs, "ndim", 1)
    if ndim == 0 or not hasattr(inputs, "__len__") or len(inputs):
        return False
    entry_type = str(getattr(inputs, "dtype", getattr(inputs, "type", "")))  # of a column of polars or pyarrow
    return type(inputs).__name__ in ("Column", "Dataset") or ndim > 1 or "list" in entry_type.lower()


def _is_batch(inputs: Any) -> bool:
    """Whether a list holds histories rather than entries; TypeError for a mixture."""
    _check_list("a history", inputs, "a list of ids and titles")
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


def _resolve(entry: Any, tokenizer: Any, unknown: UnknownEntries | None = None) -> int | None:
    if type(entry) not in (int, str):  # the usual types skip these slower checks
        entry = integral_as_int(entry)
        if isinstance(entry, bool) or not isinstance(entry, (str, int)):
            name = type(entry).__name__
            raise TypeError(f"an entry of a history is an id or a title, not {name}: {short_repr(entry)}")
    if isinstance(entry, int) and entry.bit_length() > MAX_ID_BITS:
        raise ValueError(f"an id has at most {MAX_ID_BITS} bits, not {entry.bit_length()}: give a movie's id")
    item = tokenizer.resolve(entry)
    if item is None and unknown is not None and (name := short_repr(entry)) not in unknown:
        unknown[name] = name + _suggestion(entry, tokenizer, len(unknown))
    return item


def _suggestion(entry: int | str, tokenizer: Any, earlier: int) -> str:
    """ " (did you mean 'Star Wars (1977)'?)" for a title, after `earlier` unknown entries; else an empty text."""
    is_title = isinstance(entry, str) and any(map(str.isalpha, entry))
    if not is_title or earlier >= MAX_SUGGESTIONS or tokenizer.num_items > MAX_SEARCHED_ITEMS:
        return ""
    return next((f" (did you mean {title!r}?)" for title in tokenizer.suggest(entry)), "")


def _check_list(name: str, value: Any, expected: str) -> list[Any]:
    value = as_list(value)
    if not isinstance(value, list):
        raise TypeError(f"{name} is {expected}, not {type(value).__name__}: {short_repr(value)}")
    return value


def _parse_list(options: Mapping[str, Any], name: str, expected: str) -> list[Any] | None:
    value = options.get(name)
    return None if value is None else _check_list(name, value, expected)


def _parse_column(options: Mapping[str, Any], name: str, expected: str, num_entries: int) -> list[Any] | None:
    """Return an option with a value for each entry of the history, or None if it is not given."""
    values = _parse_list(options, name, f"a list with {expected} for each entry of the history")
    if values is not None and len(values) != num_entries:
        raise ValueError(
            f"{name} has {len(values)} values and the history {num_entries} entries: give one each, {expected}"
        )
    return values


def _parse_ratings(options: Mapping[str, Any], num_entries: int) -> list[bool]:
    """Whether each entry is liked; ValueError for ratings up to 1 without `min_rating`: all would be dislikes."""
    min_rating = options.get("min_rating")
    least = DEFAULT_MIN_RATING if min_rating is None else parse_number("min_rating", min_rating, lower=-math.inf)
    ratings = _parse_column(options, "ratings", "a number or None", num_entries)
    if ratings is None:
        return [True] * num_entries
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


def _parse_events(options: Mapping[str, Any], tokenizer: Any, num_entries: int) -> list[int]:
    """Return the `event_ids` of the entries and of the query; all are 0 if the model knows no event types."""
    events, event = _parse_column(options, "events", "an event type", num_entries), options.get("event")
    if not tokenizer.event_names:
        return [0] * (num_entries + 1)
    event = tokenizer.target_events[0] if event is None else event
    if event not in tokenizer.target_events:
        raise ValueError(f"event is {short_repr(event)}; it must be one of {tokenizer.target_events}")
    return tokenizer.encode_events([*([event] * num_entries if events is None else events), event])


def _parse_genres(options: Mapping[str, Any]) -> list[str] | None:
    genres = _parse_list(options, "genres", "a list of names")
    if genres is not None and not (genres and all(isinstance(name, str) for name in genres)):
        raise ValueError(f"genres is a list of at least one name, not {short_repr(genres)}")
    return genres


def _parse_years(options: Mapping[str, Any]) -> tuple[float, float] | None:
    expected = "a pair such as (1990, 1999), None for no bound"
    years = _parse_list(options, "years", expected)
    if years is None:
        return None
    if len(years) != 2:
        raise ValueError(f"years is {expected}, not {short_repr(years)}")
    first = -math.inf if years[0] is None else parse_number("the first of years", years[0])
    last = math.inf if years[1] is None else parse_number("the last of years", years[1])
    if first > last:
        raise ValueError(f"years is {short_repr(tuple(years))}: the first year comes after the last; swap them")
    return first, last


def _parse_goal(goal: Any, has_context: bool, taste_size: int) -> str:
    """Return the goal, by default "taste" for a model of taste and a request without times and events."""
    if goal is None:
        return "taste" if taste_size and not has_context else "next"
    if not isinstance(goal, str) or goal not in GOALS:
        raise ValueError(f"goal is {short_repr(goal)}; it is 'next' (what comes next) or 'taste' (what else is liked)")
    if goal == "taste" and not taste_size:
        raise ValueError("goal is 'taste', but the model has no taste factors: train it with --taste_size 64")
    return goal


def _parse_flag(options: Mapping[str, Any], name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {short_repr(value)}")
    return value


def encode(requests: Sequence[Request], tokenizer: Any, config: Any) -> dict[str, torch.Tensor]:
    """The model's inputs, (requests, longest): the most recent entries that fit the window, a [MASK], then padding."""
    requests = [request.last(config.max_position_embeddings - 1) for request in requests]
    longest = max((len(request.liked) + 1 for request in requests), default=0)

    def pad(rows: list[Sequence[int]], value: int) -> torch.Tensor:
        # One tensor from nested lists takes less time than filling a tensor row by row.
        padded = [[*row, *[value] * (longest - len(row))] for row in rows]
        return torch.tensor(padded, dtype=torch.long).view(len(rows), longest)

    inputs = {
        "input_ids": pad([[*request.liked, tokenizer.mask_token_id] for request in requests], tokenizer.pad_token_id),
        "attention_mask": pad([[1] * (len(request.liked) + 1) for request in requests], 0),
    }
    if config.time_aware:
        inputs["timestamps"] = pad([request.times for request in requests], UNKNOWN_TIME)
    if config.num_events:
        inputs["event_ids"] = pad([request.event_ids for request in requests], 0)
    return inputs
