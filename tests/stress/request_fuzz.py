"""Campaign: random requests to a pipeline, sensible and not, and fifty callers at once."""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.stress.archives import in_words
from tests.stress.workloads import tiny_model, tiny_tokenizer

CASES, CALLERS, CALLS = 10_000, 50, 5_000
SLOWEST = 10.0  # seconds that one request may take
HUGE = 10**5000
ODD: list[Any] = [
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
    """All of it, counted. AssertionError where a request is lost, wrong, too slow, or refused without words."""
    pipe = tiny_pipeline()
    chance = random.Random(0)
    outcomes = Counter(outcome(pipe, random_request(chance)) for _ in range(CASES))
    return {"random_requests": outcomes.total(), "outcomes": dict(outcomes), "concurrent": concurrent(pipe, CALLS)}


def random_request(chance: random.Random) -> Any:
    """A history, a batch or a dict with options; any part of it may be odd."""
    history: Any = [random_entry(chance) for _ in range(chance.choice([0, 1, 3, 12, 500]))]
    if chance.random() < 0.05:
        history = nested(chance.choice([2, 50, 5000]))
    kind = chance.randrange(4)
    if kind == 0:
        return history
    if kind == 1:
        return [history, [100]]
    options = {chance.choice(OPTIONS): random_value(chance) for _ in range(chance.randint(0, 2))}
    return {"history": history, **options}


def random_entry(chance: random.Random) -> Any:
    if chance.random() < 0.02:
        return chance.choice(ODD)
    return chance.choice([100, 105, "111", "Movie 103", "movie 104 (1990)", "no such film", 999])


def random_value(chance: random.Random) -> Any:
    plain = [1, 3, 12, 0.5, [100, 101], ["Drama"], (1980, 1999), [None, 1990], True, [3, 4, 5], "2001-01-01", 10**9]
    return chance.choice(plain if chance.random() < 0.7 else ODD)


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def outcome(pipe: MovieRecommendationPipeline, request: Any) -> str:
    """ "answered" or "refused"."""
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = pipe(request)
        except (ValueError, TypeError, LookupError) as error:
            return in_words(error)
        finally:
            assert time.monotonic() - began < SLOWEST, "a request takes too long"
    answers = answer if answer and isinstance(answer[0], list) else [answer]
    for movies in answers:
        ids = [movie["movie_id"] for movie in movies]
        assert len(set(ids)) == len(ids), "a movie is recommended twice"
        assert all(0 <= movie["score"] <= 1 for movie in movies), "a score is no share"
    return "answered"


def concurrent(pipe: MovieRecommendationPipeline, calls: int) -> dict[str, Any]:
    """Fifty callers at once: every answer is the one that a caller alone gets, none is lost."""
    chance = random.Random(1)
    histories = [chance.sample(range(100, 112), chance.randint(1, 6)) for _ in range(40)]
    alone = [pipe(history, top_k=3) for history in histories]

    def call(number: int) -> float:
        began = time.perf_counter()
        found = pipe(histories[number % 40], top_k=3)
        assert same(found, alone[number % 40]), "an answer is another one's"
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        seconds = sorted(pool.map(call, range(calls)))
    return {
        "callers": CALLERS,
        "requests_held": len(seconds),
        "requests_a_second": round(calls / (time.perf_counter() - began)),
        "median_milliseconds": round(1000 * seconds[calls // 2], 1),
        "slowest_milliseconds": round(1000 * seconds[-1], 1),
    }


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same movies in the same order, scores equal but for rounding."""
    pairs = zip(found, expected, strict=True)
    return all(a["movie_id"] == b["movie_id"] and abs(a["score"] - b["score"]) < 1e-5 for a, b in pairs)
