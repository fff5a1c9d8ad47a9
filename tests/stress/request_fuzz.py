"""Random valid and invalid requests to a pipeline, and concurrent requests; as a campaign, thousands of them."""

import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.model.requests_bert4rec import OPTIONS
from tests.stress.workloads import tiny_model, tiny_tokenizer

CASES, THREADS, CALLS = 10_000, 50, 5_000
MAX_SECONDS = 10.0  # per request
LONGEST = 2000  # maximum length of a message, in characters
HUGE = 10**5000  # Python refuses to print it
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 100, 105, 0, -1, 2**63, float("nan"), float("inf"), b"10", object(), 1j]),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["Movie 103", "\x00\x1b[31m", "<script>alert(1)</script>", "\ud800", "(" * 99, "[MASK]"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["history", "top_k", "", 5]), inner, max_size=3),
    ),
    max_leaves=8,
)
ENTRIES = st.sampled_from([100, 105, "111", "Movie 103", "movie 104 (1990)", "no such film", 999])
HISTORIES = st.one_of(st.lists(ENTRIES, max_size=20), st.lists(ENTRIES, max_size=20), VALUES)
PLAIN = st.sampled_from([1, 3, 12, 0.5, [100, 101], ["Drama"], (1980, 1999), [None, 1990], True, [3, 4, 5], 10**9])
CHOICES = st.dictionaries(st.sampled_from(OPTIONS), st.one_of(PLAIN, VALUES), max_size=2)
SINGLE = st.one_of(HISTORIES, st.tuples(HISTORIES, CHOICES).map(lambda pair: {**pair[1], "history": pair[0]}))
REQUESTS = st.one_of(SINGLE, SINGLE, st.tuples(SINGLE, st.sampled_from([[100], []])).map(list))


def tiny_pipeline() -> MovieRecommendationPipeline:
    """A pipeline of twelve movies."""
    tokenizer = tiny_tokenizer()
    return MovieRecommendationPipeline(model=tiny_model(tokenizer), tokenizer=tokenizer, task=TASK, device="cpu")


def campaign() -> dict[str, Any]:
    """All outcomes, counted.

    Raises:
        AssertionError: An answer is wrong or slow, or an error has no message.
    """
    pipe, counts = tiny_pipeline(), Counter[str]()
    while counts.total() < CASES:
        counts += try_requests(pipe, 2000, start=counts.total())
    return {"random_requests": counts.total(), "outcomes": dict(counts), "concurrent": concurrent(pipe, CALLS)}


def try_requests(pipe: MovieRecommendationPipeline, cases: int, start: int = 0) -> Counter[str]:
    """Send random requests; counts the outcomes."""
    counts: Counter[str] = Counter()

    @seed(start)
    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(REQUESTS, CHOICES)
    def check(request: Any, options: dict[str, Any]) -> None:
        refused = isinstance(outcome(pipe, request, **options), Exception)
        counts["refused" if refused else "answered"] += 1

    run: Callable[[], None] = check
    run()
    return counts


def outcome(pipe: MovieRecommendationPipeline, request: Any, **options: Any) -> Any:
    """The answer, or the exception; both are checked."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = pipe(request, **options)
        except (ValueError, TypeError, LookupError) as error:
            refused = error
        else:
            for movies in answer if answer and isinstance(answer[0], list) else [answer]:
                ids = [movie["movie_id"] for movie in movies]
                assert len(set(ids)) == len(ids), "a movie is recommended twice"
                assert all(0 <= movie["score"] <= 1 for movie in movies), "a score is not a probability"
            return answer
        finally:
            assert time.monotonic() - start < MAX_SECONDS, "a request takes too long"
    message = str(refused)
    assert 20 < len(message) <= LONGEST, message[:200]
    assert type(refused) not in (KeyError, IndexError, UnicodeEncodeError), message
    assert "digits" not in message, message  # Python's message for a number that it does not print
    assert "instances of" not in message, message
    return refused


def concurrent(pipe: MovieRecommendationPipeline, calls: int) -> dict[str, Any]:
    """Concurrent requests from `THREADS` threads: every answer equals that of a sequential request."""
    rng = random.Random(1)
    histories = [rng.sample(range(100, 112), rng.randint(1, 6)) for _ in range(40)]
    sequential = [pipe(history, top_k=3) for history in histories]

    def call(number: int) -> float:
        start = time.perf_counter()
        answer = pipe(histories[number % 40], top_k=3)
        assert same_answer(answer, sequential[number % 40]), "a concurrent answer differs"
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        seconds = sorted(pool.map(call, range(calls)))
    return {
        "threads": THREADS,
        "requests": len(seconds),
        "requests_per_second": round(calls / (time.perf_counter() - start)),
        "latency_p50_ms": round(1000 * seconds[calls // 2], 1),
        "latency_max_ms": round(1000 * seconds[-1], 1),
    }


def same_answer(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same movies in the same order, with scores equal up to rounding."""
    pairs = zip(answer, expected, strict=True)
    return all(a["movie_id"] == b["movie_id"] and abs(a["score"] - b["score"]) < 1e-5 for a, b in pairs)
