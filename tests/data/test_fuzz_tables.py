"""Random tables of interactions, valid and invalid, against a naive implementation in plain Python."""

from __future__ import annotations

import csv
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_bert4rec.data import build_histories, check_leakage, leave_one_out, read_interactions
from tests.data.test_histories import naive

KINDS = {int: pl.Int64, float: pl.Float64, str: pl.String}
INTEGERS = st.one_of(st.integers(-2, 4), st.sampled_from([-(2**63), 2**63 - 1, 10**17, -(10**18), 2**53 + 1]))
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.0, 2.5, 1e15, 2.0**60, 1e19, -1e300, 1e300, 5e-324]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 2.0, 3.0]),
)
TEXTS = st.one_of(
    st.sampled_from(["1", "2", "3", "007", "-5", "1.0", "1e3", "9" * 18, "9" * 25, "", " ", "NaN", "null", "None"]),
    st.text("a1\"'\n,;|\té漢\u202e\U0001f600\\", min_size=1, max_size=4),
)


class Bad(ValueError):
    """What the naive reader raises where read_interactions must."""


def columns_of(values: st.SearchStrategy[Any], rows: int) -> st.SearchStrategy[list[Any]]:
    """A column over few distinct values, so that users, items and times repeat; sometimes with a missing value."""
    few = st.lists(values, min_size=1, max_size=4).flatmap(st.sampled_from)
    full = st.lists(few, min_size=rows, max_size=rows)
    holed = st.tuples(full, st.integers(0, rows - 1)).map(lambda it: [*it[0][: it[1]], None, *it[0][it[1] + 1 :]])
    return st.one_of(full, full, full, full, holed, st.just([None] * rows))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, tuple[type, list[Any]]]:
    rows = draw(st.integers(1, 25))
    table = {}
    for name in ("user_id", "movie_id", "rating", "timestamp"):
        kinds = [int, float] if name in ("rating", "timestamp") else [int, int, float, str, str]
        if name in ("rating", "timestamp") and draw(st.booleans()):
            continue
        kind = draw(st.sampled_from(kinds))
        small = st.integers(0, 3) if kind is int else st.sampled_from("abc12") if kind is str else st.just(1.0)
        wild = {int: INTEGERS, float: FLOATS, str: TEXTS}[kind]
        table[name] = (kind, draw(columns_of(draw(st.sampled_from([small, small, wild])), rows)))
    return table


def naive_ids(values: list[Any]) -> list[Any]:
    if isinstance(next((value for value in values if value is not None), 0), str):
        stripped = [(value or "").strip() for value in values]
        if any(not value or "\n" in value or "\r" in value for value in stripped):
            raise Bad
        integers = [bool(re.fullmatch(r"(0|-?[1-9]\d{0,17})(\.0)?", value)) for value in stripped]
        missing = [value in ("NaN", "null", "None", "nan") for value in stripped]
        if any(missing) and any(integers) and all(map(max, integers, missing)):
            raise Bad
        return [int(value.removesuffix(".0")) for value in stripped] if all(integers) else stripped
    if any(value is None or not math.isfinite(value) or value != int(value) for value in values):
        raise Bad
    if any(isinstance(value, float) and abs(value) > 2**53 for value in values):
        raise Bad  # larger floats are not exact integers
    return [int(value) for value in values]


def naive_numbers(values: list[Any], largest: float = math.inf) -> list[Any]:
    if any(value is None or not math.isfinite(value) or abs(value) > largest for value in values):
        raise Bad
    return values


def naive_seconds(values: list[Any]) -> list[Any]:
    """Times in the unit of the largest; a time of a smaller unit is wrong, unless it is small enough for any unit."""
    naive_numbers(values)
    if -(2**63) in values:
        raise Bad  # NaT as an integer
    powers = [3 * sum(abs(value) >= bound for bound in (10**11, 10**14, 10**17)) for value in values]
    power = max(powers)
    if any(abs(value) >= 10**20 for value in values):
        raise Bad
    if any(lower < power and abs(value) >= 10**8 for value, lower in zip(values, powers, strict=True)):
        raise Bad
    if power == 0:
        return values
    if all(isinstance(value, int) and value % 10**power == 0 for value in values):
        return [value // 10**power for value in values]
    return [value / 10**power for value in values]


def naive_rows(table: dict[str, tuple[type, list[Any]]], written: bool) -> list[dict[str, Any]]:
    """The rows as documented. `written`: the table was written to a CSV file, in which ids are text."""
    columns = {}
    for name in ("user_id", "movie_id"):
        values = table[name][1]
        columns[name] = naive_ids([None if value is None else str(value) for value in values] if written else values)
    if "rating" in table:
        naive_numbers(table["rating"][1], 3.4028235e38)
    if "timestamp" in table:
        columns["timestamp"] = naive_seconds(table["timestamp"][1])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def naive_split(histories: list[dict[str, Any]]) -> dict[str, list[tuple[Any, list[Any], Any]]]:
    split: dict[str, list[tuple[Any, list[Any], Any]]] = {"train": [], "validation": [], "test": []}
    for row in histories:
        user, items = row["user_id"], row["item_ids"]
        split["train"].append((user, items[:-2] if len(items) > 2 else items, None))
        if len(items) > 2:
            split["validation"].append((user, items[:-2], items[-2]))
            split["test"].append((user, items[:-1], items[-1]))
    return split


def read(table: dict[str, tuple[type, list[Any]]], written: bool) -> Any:
    options: dict[str, Any] = {} if "timestamp" in table else {"time_column": None}
    if not written:
        return read_interactions(
            pl.DataFrame([pl.Series(name, values, KINDS[kind]) for name, (kind, values) in table.items()]), **options
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow(table)
            writer.writerows(zip(*[values for _, values in table.values()], strict=True))
        return read_interactions(path, **options)


ONE = {"user_id": (int, [1]), "movie_id": (str, ['"'])}
BACKWARD = {"user_id": (int, [1] * 4), "movie_id": (int, [5, 6, 7, 5]), "timestamp": (int, [9, 5, 5, -1])}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(tables(), st.booleans(), st.integers(1, 3))
@example(ONE, True, 1)
@example(BACKWARD, True, 1)
@example({**ONE, "rating": (float, [1e300])}, False, 1)
@example({"user_id": (float, [1e19]), "movie_id": (int, [1])}, False, 1)
def test_any_table_gives_the_right_histories_or_a_named_error(table, written, min_interactions):
    try:
        rows = naive_rows(table, written)
    except Bad:
        with pytest.raises(ValueError, match=r"column '(user_id|movie_id|rating|timestamp)' is"):
            read(table, written)
        return
    expected = naive(rows, min_interactions)
    ratings = read(table, written)["ratings"]
    if not expected:
        with pytest.raises(ValueError, match="No user is left of"):
            build_histories(ratings, min_interactions)
        return
    histories = build_histories(ratings, min_interactions)
    assert histories.to_list() == expected
    expected_split = naive_split(expected)
    if not expected_split["test"]:
        with pytest.raises(ValueError, match="has the 3 interactions"):
            leave_one_out(histories)
        return
    split = leave_one_out(histories)
    check_leakage(split)
    for name, part in expected_split.items():
        assert [(row["user_id"], row["item_ids"], row.get("target")) for row in split[name]] == part
