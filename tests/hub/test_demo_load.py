"""The demo's server under malformed requests and fifty concurrent users; `make stress` runs longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model_card.space import app
from tests.stress import demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[demo.Server]:
    with demo.running_demo(tmp_path_factory.mktemp("demo")) as server:
        yield server


def test_malformed_requests_are_answered_or_refused(server):
    outcomes = demo.invalid_requests(server)
    assert set(outcomes) == {"answered", "refused"}
    assert outcomes.total() > 2 * len(demo.INVALID)


def test_a_refused_request_is_explained(server):
    visitor = demo.Visitor(server, "curious")
    assert visitor.send("pick", '["no such movie", null]') == (
        "refused",
        "no movie here is called 'no such movie': search, and pick one of the results",
    )
    assert "is not in the list of choices" in visitor.send("watched", '[["no such id"]]')[1]
    assert "Expected a `float | None`" in visitor.send("recommend", '[null, [], "x", null]')[1]
    visitor.request("pick", "Movie 105 (1990)", None)
    assert "swap them" in visitor.request("recommend", None, [], 3000, 1000)[0]


def test_repeated_choices_are_picked_once():
    assert app.unique([100, 101] * 50_000) == [100, 101]


def test_fifty_concurrent_users_get_their_own_answers(server):
    result = demo.load(server, users=50, rounds=1, warm_up=0)
    assert result["users"] == 50
    assert result["requests"] == sum(result["outcomes"].values()) >= 50 * 8
    assert result["last_third"]["latency_p99_ms"] < 1000 * demo.MAX_SECONDS
