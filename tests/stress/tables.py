"""Random valid and invalid tables of ratings against a naive implementation; as a campaign, thousands of them."""

import csv
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from hf_bert4rec.data import build_histories, check_leakage, leave_one_out, read_interactions
from hf_bert4rec.model.tokenization_bert4rec import Bert4RecTokenizer

CASES = 10_000
COLUMNS = ("user_id", "movie_id", "rating", "timestamp")
KINDS: dict[type, Any] = {int: pl.Int64, float: pl.Float64, str: pl.String}
Table = dict[str, tuple[type, list[Any]]]  # type and values of each column
INTEGERS = st.one_of(
    st.integers(-2, 4), st.sampled_from([-(2**63), 2**63 - 1, 10**17, -(10**18), 2**53 + 1, 2**62, -(2**62)])
)
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, -3.0, 2.5, 1e15, 2.0**60, 1e19, -1e18, -1e300, 1e300, 5e-324]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 2.0, 3.0]),
)
TEXTS = st.one_of(
    st.sampled_from(["1", "2", "3", "007", "-5", "1.0", "1e3", "9" * 18, "9" * 25, "", " ", "NaN", "null", "None"]),
    st.sampled_from(["+1", " 1", "nan", "a,b", "a\nb", "\r\na", "\r\n", "é", "💿", "x" * 300]),
    st.text("a1\"'\n,;|\té漢\u202e\U0001f600\\", min_size=1, max_size=4),
)


class Bad(ValueError):
    """What the naive reader raises where read_interactions must."""


def columns_of(values: st.SearchStrategy[Any], rows: int, odd: bool) -> st.SearchStrategy[list[Any]]:
    """A column over few distinct values, so that users, items and times repeat; an odd one may have missing values."""
    few = st.lists(values, min_size=1, max_size=6).flatmap(st.sampled_from)
    full = st.lists(few, min_size=rows, max_size=rows)
    holed = st.tuples(full, st.integers(0, rows - 1)).map(lambda it: [*it[0][: it[1]], None, *it[0][it[1] + 1 :]])
    return st.one_of(full, full, full, holed, st.just([None] * rows)) if odd else full


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Up to 25 ratings, of which one column may have values of any kind."""
    rows = draw(st.sampled_from([1, 3, 8, 15, 25]))
    odd = draw(st.sampled_from([*["none"] * 4, *COLUMNS]))
    table = {}
    for name in COLUMNS:
        optional = name in ("rating", "timestamp")
        if optional and draw(st.booleans()):
            continue
        kind = draw(st.sampled_from([int, float] if optional else [int, int, float, str, str]))
        small = st.sampled_from("abc12345") if kind is str else st.integers(0, 7).map(kind)
        wild = {int: INTEGERS, float: FLOATS, str: TEXTS}[kind]
        table[name] = (kind, draw(columns_of(wild if name == odd else small, rows, name == odd)))
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
    return [float(value) / 10**power for value in values]


def naive_rows(table: Table, written: bool) -> list[dict[str, Any]]:
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


def naive_histories(rows: list[dict[str, Any]], min_interactions: int) -> list[dict[str, Any]]:
    """`build_histories` in plain Python, slowly."""
    ordered = sorted(rows, key=lambda row: (row["user_id"], row.get("timestamp", 0)))
    rows_left, pairs = [], set()
    for row in ordered:
        if (row["user_id"], row["movie_id"]) not in pairs:
            pairs.add((row["user_id"], row["movie_id"]))
            rows_left.append(row)
    while True:
        users, items = Counter(row["user_id"] for row in rows_left), Counter(row["movie_id"] for row in rows_left)
        core = [
            row
            for row in rows_left
            if users[row["user_id"]] >= min_interactions and items[row["movie_id"]] >= min_interactions
        ]
        if len(core) == len(rows_left):
            break
        rows_left = core
    histories: dict[Any, dict[str, Any]] = {}
    for row in rows_left:
        one = histories.setdefault(row["user_id"], {"user_id": row["user_id"], "item_ids": []})
        one["item_ids"].append(row["movie_id"])
        if "timestamp" in row:
            one.setdefault("timestamps", []).append(row["timestamp"])
    return list(histories.values())


def naive_split(histories: list[dict[str, Any]]) -> dict[str, list[tuple[Any, list[Any], Any]]]:
    split: dict[str, list[tuple[Any, list[Any], Any]]] = {"train": [], "validation": [], "test": []}
    for row in histories:
        user, items = row["user_id"], row["item_ids"]
        split["train"].append((user, items[:-2] if len(items) > 2 else items, None))
        if len(items) > 2:
            split["validation"].append((user, items[:-2], items[-2]))
            split["test"].append((user, items[:-1], items[-1]))
    return split


def read(table: Table, written: bool) -> Any:
    """What `read_interactions` makes of a table in memory, or of its CSV file."""
    options: dict[str, Any] = {} if "timestamp" in table else {"time_column": None}
    if not written:
        columns = [pl.Series(name, values, KINDS[kind]) for name, (kind, values) in table.items()]
        return read_interactions(pl.DataFrame(columns), **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow(table)
            writer.writerows(zip(*[values for _, values in table.values()], strict=True))
        return read_interactions(path, **options)


def outcome(table: Table, written: bool, min_interactions: int) -> str:
    """ "right", perhaps with what the table is too small for, or "refused".

    Raises:
        AssertionError: Histories, split or refusal differ from the naive ones.
    """
    try:
        rows = naive_rows(table, written)
    except Bad:
        with pytest.raises(ValueError, match=r"column '(user_id|movie_id|rating|timestamp)' is"):
            read(table, written)
        return "refused"
    expected = naive_histories(rows, min_interactions)
    tables = read(table, written)
    if not expected:
        with pytest.raises(ValueError, match="No user is left of"):
            build_histories(tables["ratings"], min_interactions)
        return "right, no history left"
    histories = build_histories(tables["ratings"], min_interactions)
    assert histories.to_list() == expected
    expected_split = naive_split(expected)
    if not expected_split["test"]:
        with pytest.raises(ValueError, match="has the 3 interactions"):
            leave_one_out(histories)
        return "right, too small to split"
    split = leave_one_out(histories)
    check_leakage(split)
    for name, part in expected_split.items():
        assert [(row["user_id"], row["item_ids"], row.get("target")) for row in split[name]] == part
    tokenizer = Bert4RecTokenizer.from_movies(tables["movies"])
    for row in split["test"]:
        assert tokenizer.decode_items(tokenizer.encode_items(row["item_ids"])) == row["item_ids"]
    return "right"


def try_tables(cases: int, start: int = 0) -> Counter[str]:
    """Check random tables; counts the outcomes."""
    counts: Counter[str] = Counter()

    @seed(start)
    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tables(), st.booleans(), st.integers(1, 3))
    def check(table: Table, written: bool, min_interactions: int) -> None:
        counts[outcome(table, written, min_interactions)] += 1

    run: Callable[[], None] = check
    run()
    return counts


def campaign() -> dict[str, Any]:
    """At least `CASES` random tables, and one user with a million ratings."""
    counts: Counter[str] = Counter()
    start = 0
    while counts.total() < CASES:
        counts += try_tables(2000, start)
        start += 1
    return {"random_tables": counts.total(), "outcomes": dict(counts), "million_ratings_of_one_user": million()}


def million(ratings: int = 1_000_000) -> str:
    """One user with a million ratings in reverse chronological order."""
    table = pl.DataFrame({"user_id": [1] * ratings, "movie_id": range(ratings), "timestamp": range(ratings, 0, -1)})
    (history,) = build_histories(read_interactions(table)["ratings"], min_interactions=1)["item_ids"]
    assert history == list(range(ratings - 1, -1, -1))
    return "right"
