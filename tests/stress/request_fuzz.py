"""Campaign: random valid and invalid requests to a pipeline, and concurrent requests."""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.stress.archives import checked_message
from tests.stress.workloads import tiny_model, tiny_tokenizer

CASES, THREADS, CALLS = 10_000, 50, 5_000
MAX_SECONDS = 10.0  # per request
HUGE = 10**5000
INVALID: list[Any] = [
    None,
    True,
    -1,
    2**63,
    HUGE,
    0.5,
    float("nan"),
    "",
    "\x00\x1b[2J",
    "<b>",
    "\ud800",
    b"x",
    object(),
    1j,
]
OPTIONS = (
    *("top_k", "exclude", "candidates", "genres", "years", "ratings", "diversity", "popularity_penalty", "explain"),
    *("timestamps", "now"),
)


def tiny_pipeline() -> MovieRecommendationPipeline:
    """A pipeline of twelve movies."""
    tokenizer = tiny_tokenizer()
    return MovieRecommendationPipeline(model=tiny_model(tokenizer), tokenizer=tokenizer, task=TASK, device="cpu")


def campaign() -> dict[str, Any]:
    """All outcomes, counted.

    Raises:
        AssertionError: An answer is wrong or slow, or an error has no message.
    """
    pipe = tiny_pipeline()
    rng = random.Random(0)
    outcomes = Counter(outcome(pipe, random_request(rng)) for _ in range(CASES))
    return {"random_requests": outcomes.total(), "outcomes": dict(outcomes), "concurrent": concurrent(pipe, CALLS)}


def random_request(rng: random.Random) -> Any:
    """A history, a batch or a dict with options; any part may be invalid."""
    history: Any = [random_entry(rng) for _ in range(rng.choice([0, 1, 3, 12, 500]))]
    if rng.random() < 0.05:
        history = nested(rng.choice([2, 50, 5000]))
    kind = rng.randrange(4)
    if kind == 0:
        return history
    if kind == 1:
        return [history, [100]]
    options = {rng.choice(OPTIONS): random_value(rng) for _ in range(rng.randint(0, 2))}
    return {"history": history, **options}


def random_entry(rng: random.Random) -> Any:
    if rng.random() < 0.02:
        return rng.choice(INVALID)
    return rng.choice([100, 105, "111", "Movie 103", "movie 104 (1990)", "no such film", 999])


def random_value(rng: random.Random) -> Any:
    plain = [1, 3, 12, 0.5, [100, 101], ["Drama"], (1980, 1999), [None, 1990], True, [3, 4, 5], "2001-01-01", 10**9]
    return rng.choice(plain if rng.random() < 0.7 else INVALID)


def nested(levels: int) -> list[Any]:
    """An empty list nested this deep."""
    result: list[Any] = []
    for _ in range(levels):
        result = [result]
    return result


def outcome(pipe: MovieRecommendationPipeline, request: Any) -> str:
    """ "answered" or "refused"."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = pipe(request)
        except (ValueError, TypeError, LookupError) as error:
            return checked_message(error)
        finally:
            assert time.monotonic() - start < MAX_SECONDS, "a request takes too long"
    answers = answer if answer and isinstance(answer[0], list) else [answer]
    for movies in answers:
        ids = [movie["movie_id"] for movie in movies]
        assert len(set(ids)) == len(ids), "a movie is recommended twice"
        assert all(0 <= movie["score"] <= 1 for movie in movies), "a score is not a probability"
    return "answered"


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
