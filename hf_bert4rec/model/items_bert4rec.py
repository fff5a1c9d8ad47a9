"""The item table: ids and what is known of each item, checked."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

TRAILING_YEAR = re.compile(r"\((\d{4})\)$")  # of text without trailing blanks: with \s* it would take n² steps
DIRECT_TO_VIDEO = "(V)"  # follows the year in older MovieLens releases: "Land Before Time III (1995) (V)"
is_year = re.compile(r"\d{1,4}").fullmatch
has_surrogate = re.compile("[\ud800-\udfff]").search
NO_GENRES = ("(no genres listed)", "unknown", "")
ALIASES = {
    "title": ("name", "titles", "movie_title", "movie_name", "item_name", "item_title", "Title", "Name"),
    "year": ("Year", "release_year", "movie_year"),
    "genres": ("genre", "Genres", "Genre"),
}


def short_repr(value: object) -> str:
    """Return the repr of a value for a message: at most 80 characters, however long or deeply nested the value is."""
    try:
        return reprlib.repr(value)[:80] if isinstance(value, (list, tuple, dict, set)) else f"{value!r:.80}"
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"a {type(value).__name__} too large to print"


def item_token(item_id: object) -> str:
    """Return the form in which ids are compared: text without blanks around it; 7.0 and a tensor of 7 are "7"."""
    if not isinstance(item_id, (str, int)):
        item_id = as_scalar(item_id)
        if isinstance(item_id, float) and item_id.is_integer():
            item_id = int(item_id)  # pandas turns an integer column with a missing value into floats
    return str(item_id).strip()


def as_scalar(value: Any) -> Any:
    """Return a scalar of numpy, or a tensor or array without dimensions, as a plain Python value; others unchanged."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def read_table(
    movies: Any, reserved: Iterable[str], id_name: str = "movie_id"
) -> tuple[list[int | str], dict[str, list[Any]]]:
    """Return the ids of a movies table, and its columns `title`, `year` and `genres` as plain Python values.

    Without a `year` column the year is split off titles such as "Heat (1995)".

    Args:
        movies: a `datasets.Dataset`, a DataFrame of pandas or polars, an Arrow table or a mapping of columns, with
            `movie_id`. Years may be floats; titles, years and genres may be missing (None or NaN); genres are lists,
            JSON lists, or texts such as "Comedy|Drama", "Comedy;Drama" and "Comedy, Drama".
        reserved: names that no id may have: the special tokens.
        id_name: another name that the column `movie_id` may have.

    Raises:
        KeyError: no column `movie_id`.
        ValueError: no movies, columns of different lengths, a title, year or genres of another type, a title column of
            another name, or ids that are of mixed types, duplicate or reserved.
    """
    names = [str(name) for name in _column_names(movies)]
    id_name = id_name if id_name in names else "movie_id"
    if id_name not in names:
        raise KeyError(f"the table of movies has no column 'movie_id'; it has {names}")
    for name, aliases in ALIASES.items():
        if name not in names and (alias := next((alias for alias in aliases if alias in names), None)):
            raise ValueError(f"the table of movies has no column {name!r}; rename its column {alias!r} to {name!r}")
    if getattr(movies, "format", {"type": "custom"})["type"] != "custom":  # a Dataset; custom is by a function
        movies = movies.with_format(None)  # plain values, not tensors
    ids = _read_ids(_column(movies, id_name), reserved)
    columns = {name: _column(movies, name) for name in READERS if name in names}
    for name, column in columns.items():
        if len(column) != len(ids):
            raise ValueError(f"the table of movies has {len(ids)} ids and {len(column)} values of {name!r}")
        columns[name] = [_read_value(name, value, row) for row, value in enumerate(column)]
    if "title" in columns and "year" not in columns:
        pairs = [split_year(title) if title else (title, None) for title in columns["title"]]
        columns["title"] = [title for title, _ in pairs]
        columns["year"] = [year for _, year in pairs]
    return ids, columns


def _column_names(movies: Any) -> list[Any]:
    for attribute in (getattr(movies, "column_names", None), getattr(movies, "columns", None)):
        if attribute is not None:
            return list(attribute)
    return list(movies)


def _column(movies: Any, name: str) -> list[Any]:
    values = movies[name]
    if hasattr(values, "to_pylist"):  # of pyarrow
        return values.to_pylist()
    # A Dataset reads a column as one slice much faster; a streamed column has no length.
    return list(values[:] if hasattr(values, "__len__") else values)


def _read_ids(values: Sequence[Any], reserved: Iterable[str]) -> list[int | str]:
    """Return ids as int or stripped str; ValueError unless they are of one type, distinct and not reserved."""
    if not values:
        raise ValueError("no movies: the table of items is empty")
    ids = [_read_id(value, row) for row, value in enumerate(values)]
    if odd := next((item for item in ids if type(item) is not type(ids[0])), None):
        raise ValueError(f"movie_id mixes types: {ids[0]!r} and {odd!r}; make all int or all str")
    tokens = set()
    for token in map(str, ids):
        if token in tokens:
            raise ValueError(f"duplicate movie_id {token!r}: give each item one row")
        tokens.add(token)
    for special in reserved:
        if special in tokens:
            raise ValueError(f"movie_id {special!r} is the name of a special token; rename it")
    return ids


def _read_id(value: Any, row: int) -> int | str:
    if isinstance(value, str) and item_token(value) and "\n" not in item_token(value):
        return item_token(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Real) and not isinstance(value, bool) and float(value).is_integer():
        return int(float(value))  # pandas turns an integer column with a missing value into floats
    raise ValueError(f"movie_id, row {row}, is {short_repr(value)}; an id is an integer or a non-empty line of text")


def _read_value(name: str, value: Any, row: int) -> Any:
    """Return one value of a column as `COLUMN_TYPES` has it, or raise ValueError with its row."""
    found = None if is_missing(value) else READERS[name](value)
    expected, is_valid = COLUMN_TYPES[name]
    if not is_valid(found):
        raise ValueError(f"the table of movies: {name}, row {row}, is {short_repr(value)}; it must be {expected}")
    return found


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA, as tables mark what is missing."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, Real) and value != value)
    )


def _read_title(value: Any) -> Any:
    return str(value) if isinstance(value, Integral) and not isinstance(value, bool) else value  # the film "300"


def _read_year(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip().removesuffix(".0")
        return None if not text else int(text) if is_year(text) else value
    if isinstance(value, Real) and not isinstance(value, bool) and float(value).is_integer():
        return int(float(value))
    return value


def _read_genres(value: Any) -> Any:
    """Return a list of genres from a list, an array, a JSON list of names or of objects with a name, or a text.

    A text is split at the first of "|", ";" and "," that it holds.
    """
    if isinstance(value, str):
        value = value.strip()
        if value.startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return value
        else:
            value = value.split(next((mark for mark in "|;" if mark in value), ","))
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        value = list(value)
    if isinstance(value, list):
        value = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in value]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return value
    return [name.strip() for name in value if name.strip() not in NO_GENRES]


READERS: dict[str, Callable[[Any], Any]] = {"title": _read_title, "year": _read_year, "genres": _read_genres}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and (value.isascii() or not has_surrogate(value))


COLUMN_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "title": ("a text or null", lambda value: value is None or _is_text(value)),
    "year": ("an integer or null", lambda value: value is None or (type(value) is int and abs(value) < 10**6)),
    "genres": (
        "a list of texts or null",
        lambda value: value is None or (isinstance(value, list) and all(map(_is_text, value))),
    ),
    "count": ("an integer, 0 or more", lambda value: type(value) is int and 0 <= value < 2**53),
}


def check_columns(items: Any, number: int, source: str) -> dict[str, list[Any]]:
    """Return `items` if it maps known columns to `number` values of their type each.

    Raises:
        ValueError: it does not; the message names `source`, column, row and value.
    """
    if not isinstance(items, dict):
        raise ValueError(f"{source}: it is a {type(items).__name__}, not an object of columns")
    for name, column in items.items():
        if name not in COLUMN_TYPES or not isinstance(column, list) or len(column) != number:
            raise ValueError(
                f"{source}: {name!r} must be one of {tuple(COLUMN_TYPES)} with one value for each of {number} items"
            )
        expected, is_valid = COLUMN_TYPES[name]
        distinct = {id(value): value for value in column}.values() if name == "genres" else column
        if not all(map(is_valid, distinct)):
            row = next(row for row, value in enumerate(column) if not is_valid(value))
            raise ValueError(f"{source}: {name} {row} is {column[row]!r:.40}; it must be {expected}")
    return items


def share_lists(column: list[Any]) -> list[Any]:
    """The same values, with one object for equal lists: a large catalogue has few different lists of genres."""
    shared: dict[tuple[Any, ...], list[Any]] = {}
    try:
        return [shared.setdefault(tuple(value), value) if type(value) is list else value for value in column]
    except TypeError:  # lists within lists; `check_columns` names them
        return column


def align_columns(
    tokens: Sequence[str], ids: Sequence[int | str], columns: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    """Return the columns of a table in the order of `tokens`, None for items that the table lacks.

    Raises:
        ValueError: the table has none of the items.
    """
    row_of = {str(item): row for row, item in enumerate(ids)}
    rows = [row_of.get(token) for token in tokens]
    if all(row is None for row in rows):
        raise ValueError(
            f"the table of movies has none of the catalogue's {len(tokens)} items: its ids are like {ids[0]!r}, "
            f"the catalogue's like {tokens[0]!r}"
        )
    return {name: [None if row is None else column[row] for row in rows] for name, column in columns.items()}


def append_columns(
    items: Mapping[str, list[Any]], number: int, columns: Mapping[str, list[Any]], added: int
) -> dict[str, list[Any]]:
    """Return the columns of `number` items followed by those of `added` new ones, whose counts are 0."""
    names = [*items, *(name for name in columns if name not in items)]
    missing = {name: [0 if name == "count" else None] * added for name in names}
    return {name: [*items.get(name, [None] * number), *columns.get(name, missing[name])] for name in names}


def split_year(title: str) -> tuple[str, int | None]:
    """Split a title from its year, without blanks around it: "Toy Story (1995)" gives ("Toy Story", 1995).

    The year is None if there is none at the end, and if nothing but a year is there. A "(V)" after the year, which
    marks a direct-to-video film, is dropped.
    """
    text = title.strip()
    dated = text.removesuffix(DIRECT_TO_VIDEO).rstrip()
    name = dated[:-6].rstrip()
    year = TRAILING_YEAR.search(dated[-6:])
    return (name, int(year[1])) if year and name else (text, None)


__all__ = [
    "COLUMN_TYPES",
    "align_columns",
    "append_columns",
    "as_scalar",
    "check_columns",
    "is_missing",
    "item_token",
    "read_table",
    "short_repr",
    "split_year",
]
