"""Random tables of interactions, valid and invalid, against a naive implementation in plain Python."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.stress.tables import million, outcome, tables

ONE = {"user_id": (int, [1]), "movie_id": (str, ['"'])}
BACKWARD = {"user_id": (int, [1] * 4), "movie_id": (int, [5, 6, 7, 5]), "timestamp": (int, [9, 5, 5, -1])}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(tables(), st.booleans(), st.integers(1, 3))
@example(ONE, True, 1)
@example(BACKWARD, True, 1)
@example({**ONE, "rating": (float, [1e300])}, False, 1)
@example({"user_id": (float, [1e19]), "movie_id": (int, [1])}, False, 1)
def test_any_table_gives_the_right_histories_or_a_named_error(table, written, min_interactions):
    outcome(table, written, min_interactions)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"user_id": (int, [1] * 3), "movie_id": (int, [5, 6, 7])}, "right"),
        (BACKWARD, "right"),
        (ONE, "right, too small to split"),
        ({"user_id": (int, [None]), "movie_id": (int, [1])}, "refused"),
    ],
)
def test_outcomes_by_hand(table, expected):
    assert outcome(table, False, 1) == expected


def test_a_user_may_have_many_ratings():
    assert million(100_000) == "right"
