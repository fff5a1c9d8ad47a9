"""A table of items, checked: ids as tokens that can be told apart, and what is known of them as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .titles_bert4rec import split_year

DESCRIPTIONS = ("title", "year", "genres")


def read_table(movies: Any, reserved: Iterable[str]) -> tuple[list[int | str], dict[str, list[Any]]]:
    """The ids of a movies table, and those of its columns `title`, `year` and `genres` that it has.

    Without a `year` column the year is split off titles such as "Heat (1995)".

    Args:
        movies: a `datasets.Dataset` or a mapping of columns, with `movie_id`.
        reserved: names that no id may have: the special tokens.

    Raises:
        KeyError: no column `movie_id`.
        ValueError: no movies, columns of different lengths, ids of mixed types, twice the same one, or reserved.
    """
    known = list(getattr(movies, "column_names", None) or movies)
    if "movie_id" not in known:
        raise KeyError(f"the table of movies has no column 'movie_id'; it has {known}")
    ids = list(movies["movie_id"][:])  # a Dataset reads a column whole far faster than value by value
    check_ids(ids, reserved)
    columns = {name: list(movies[name][:]) for name in DESCRIPTIONS if name in known}
    for name, column in columns.items():
        if len(column) != len(ids):
            raise ValueError(f"the table of movies has {len(ids)} ids and {len(column)} values of {name!r}")
    if "title" in columns and "year" not in columns:
        pairs = [split_year(title) if title else (title, None) for title in columns["title"]]
        columns["title"] = [title for title, _ in pairs]
        columns["year"] = [year for _, year in pairs]
    return ids, columns


def check_ids(ids: Sequence[int | str], reserved: Iterable[str]) -> None:
    """Raise ValueError unless ids are there, of one type, each once, and none of them reserved."""
    if not ids:
        raise ValueError("no movies: the table of items is empty")
    if not (all(isinstance(item, int) for item in ids) or all(isinstance(item, str) for item in ids)):
        odd = next((item for item in ids if type(item) is not type(ids[0])), ids[0])
        raise ValueError(f"movie_id mixes types: {ids[0]!r} and {odd!r}; make all int or all str")
    tokens = [str(item) for item in ids]
    for special in reserved:
        if special in tokens:
            raise ValueError(f"movie_id {special!r} is a special token's name; rename it")
    seen: set[str] = set()
    for token in tokens:
        if token in seen:
            raise ValueError(f"movie_id {token!r} stands twice in the table; an item has one row")
        seen.add(token)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "title": ("a text or null", lambda value: value is None or isinstance(value, str)),
    "year": ("a whole number or null", lambda value: value is None or (type(value) is int and abs(value) < 10**6)),
    "genres": (
        "a list of texts or null",
        lambda value: value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value)),
    ),
    "count": ("a whole number, 0 or more", lambda value: type(value) is int and 0 <= value < 2**53),
}


def check_columns(items: Any, number: int, source: str) -> dict[str, list[Any]]:
    """`items` where it maps known columns to `number` values of their type each; else ValueError."""
    if not isinstance(items, dict):
        raise ValueError(f"{source}: it is a {type(items).__name__}, not an object of columns")
    for name, column in items.items():
        if name not in KINDS or not isinstance(column, list) or len(column) != number:
            raise ValueError(
                f"{source}: {name!r} must be one of {tuple(KINDS)} with one value for each of {number} items"
            )
        wanted, fits = KINDS[name]
        for place, value in enumerate(column):
            if not fits(value):
                raise ValueError(f"{source}: {name} {place} is {value!r:.40}; it is {wanted}")
    return items


def described(
    tokens: Sequence[str], ids: Sequence[int | str], columns: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    """The columns of a table in the order of `tokens`; None where the table lacks an item.

    Raises:
        ValueError: the table names none of the items.
    """
    rows = {str(item): row for row, item in enumerate(ids)}
    places = [rows.get(token) for token in tokens]
    if all(place is None for place in places):
        raise ValueError(
            f"the table of movies has none of the catalogue's {len(tokens)} items: its ids are like {ids[0]!r}, "
            f"the catalogue's like {tokens[0]!r}"
        )
    return {name: [None if row is None else column[row] for row in places] for name, column in columns.items()}


def appended(
    items: Mapping[str, list[Any]], number: int, columns: Mapping[str, list[Any]], added: int
) -> dict[str, list[Any]]:
    """The columns of `number` items with those of `added` new ones after them; nobody has seen a new one yet."""
    names = [*items, *(name for name in columns if name not in items)]
    unknown = {name: [0 if name == "count" else None] * added for name in names}
    return {name: [*items.get(name, [None] * number), *columns.get(name, unknown[name])] for name in names}


__all__ = ["appended", "check_columns", "check_ids", "described", "read_table"]
