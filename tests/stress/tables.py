"""Campaign: random valid and invalid tables of ratings, compared with a naive implementation."""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from hf_bert4rec.data import build_histories, leave_one_out, read_interactions
from hf_bert4rec.model.tokenization_bert4rec import Bert4RecTokenizer
from tests.stress.archives import checked_message

CASES = 10_000
INTEGER = re.compile(r"(0|-?[1-9]\d{0,17})(\.0)?")
MISSING_TEXTS = ("nan", "None")
Row = tuple[Any, Any, Any, Any]
COLUMNS = ("user_id", "movie_id", "rating", "timestamp")

TEXTS = st.one_of(
    st.sampled_from(
        ["7", "007", "-1", "+1", " 1", "1.0", "", " ", "nan", "None", 'a"b', "a,b", "a\nb", "\r\n", "é", "💿"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
)
LABELS = st.sampled_from(['a"b', "a,b", "a\nb", "\r\na", "é", "💿", "007", "+1", " 1", "nan", "x" * 300])
INTEGERS = st.one_of(st.integers(0, 5), st.sampled_from([-1, 2**31, 2**53 + 1, 2**62, -(2**62), 2**63 - 1, -(2**63)]))
FLOATS = st.one_of(
    st.integers(0, 3).map(float), st.sampled_from([0.5, 1e300, -1e18]), st.sampled_from([math.nan, math.inf])
)
TIMES = st.one_of(st.integers(-3, 9), st.sampled_from([2**62, -(2**62), 2**63 - 1]))
FLOAT_TIMES = st.one_of(st.floats(-5, 5), st.sampled_from([math.nan, math.inf, 1e300]))
RATINGS = st.one_of(st.sampled_from([0.5, 3.0, 5.0]), st.sampled_from([3.0, math.nan, math.inf, None]))


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """A table of up to 24 ratings, mostly with valid ids and timestamps, sometimes of any type."""
    height = draw(st.integers(0, 24))
    small = st.integers(0, 5)
    ids = st.sampled_from([small] * 3 + [small.map(str), INTEGERS, LABELS, small.map(float), FLOATS, TEXTS])
    times = draw(st.sampled_from([st.integers(0, 9), TIMES, st.floats(-5, 5), FLOAT_TIMES]))
    kinds = [draw(ids), draw(ids), draw(st.sampled_from([st.just(3.0)] * 4 + [RATINGS])), times]
    if draw(st.integers(0, 9)) == 0:  # nulls in one column
        column = draw(st.integers(0, 3))
        kinds[column] = st.one_of(st.none(), kinds[column])
    columns = [draw(st.lists(kind, min_size=height, max_size=height)) for kind in kinds]
    return pl.DataFrame([pl.Series(name, column, strict=False) for name, column in zip(COLUMNS, columns, strict=True)])


def expected(table: pl.DataFrame) -> dict[Any, list[Any]] | None:
    """The histories of a table by user; None if the table is invalid."""
    rows = list(table.rows())
    if not rows or any(pl.Null == kind for kind in table.dtypes):
        return None
    columns = [list(column) for column in zip(*rows, strict=True)]
    users, items = (_ids(column) for column in columns[:2])
    if users is None or items is None or not all(map(_rating, columns[2])) or not all(map(_time, columns[3])):
        return None
    events: dict[Any, list[tuple[Any, int, Any]]] = {}
    for index, (user, item, time) in enumerate(zip(users, items, columns[3], strict=True)):
        events.setdefault(user, []).append((time, index, item))
    order = sorted(events, key=lambda user: user.encode() if isinstance(user, str) else user)
    return {
        user: list(dict.fromkeys(item for *_, item in sorted(events[user], key=lambda event: event[:2])))
        for user in order
    }


def _ids(column: list[Any]) -> list[Any] | None:
    if any(value is None for value in column):
        return None
    if isinstance(column[0], float):
        exact = all(math.isfinite(value) and value == math.floor(value) and abs(value) <= 2**53 for value in column)
        return [int(value) for value in column] if exact else None
    if isinstance(column[0], str):
        stripped = [value.strip() for value in column]
        if any(not value or "\n" in value or "\r" in value for value in stripped):
            return None
        integers, missing = (
            [INTEGER.fullmatch(value) for value in stripped],
            [value in MISSING_TEXTS for value in stripped],
        )
        if all(integers):
            return [int(value.removesuffix(".0")) for value in stripped]
        return None if any(integers) and all(map(operator.or_, map(bool, integers), missing)) else stripped
    return column


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _time(value: Any) -> bool:
    return _finite(value) and abs(value) < 1e20  # nanoseconds of the year 5138


def _rating(value: Any) -> bool:
    return _finite(value) and abs(value) < 3.4e38  # what a float32 holds


def outcome(table: pl.DataFrame) -> str:
    """ "right" or "refused".

    Raises:
        AssertionError: The result differs from `expected`.
    """
    histories_expected = expected(table)
    try:
        read = read_interactions(table)
        histories = build_histories(read["ratings"], min_interactions=1)
    except ValueError as error:
        if histories_expected is not None:
            raise AssertionError(f"a valid table was refused: {table.rows()}: {error}") from error
        return checked_message(error)
    assert histories_expected is not None, f"an invalid table was accepted: {table.rows()}"
    by_user = dict(zip(histories["user_id"], histories["item_ids"], strict=True))
    assert list(by_user.items()) == list(histories_expected.items()), (
        f"{table.rows()} became {by_user}, not {histories_expected}"
    )
    return _check_split(histories, read["movies"], histories_expected)


def _check_split(histories: Any, movies: Any, by_user: dict[Any, list[Any]]) -> str:
    if max(map(len, by_user.values())) < 3:
        try:
            leave_one_out(histories)
        except ValueError:
            return "right, too small to split"
        raise AssertionError(f"split although no history has three items: {by_user}")
    test = leave_one_out(histories)["test"]
    targets = {user: items[-1] for user, items in by_user.items() if len(items) >= 3}
    assert dict(zip(test["user_id"], test["target"], strict=True)) == targets
    tokenizer = Bert4RecTokenizer.from_movies(movies)
    for row in test:
        assert tokenizer.decode_items(tokenizer.encode_items(row["item_ids"])) == row["item_ids"]
    return "right"


def try_tables(cases: int, start: int = 0) -> Counter[str]:
    """Check random tables; counts the outcomes."""
    counts: Counter[str] = Counter()

    @seed(start)
    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tables())
    def check(table: pl.DataFrame) -> None:
        counts[outcome(table)] += 1

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
