"""Malformed requests: each is answered, or refused with a descriptive ValueError, TypeError or LookupError."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline, UnknownTitleError
from hf_bert4rec.model.items_bert4rec import normalise, split_year
from tests.conftest import MOVIES, NUM_MOVIES
from tests.model.tiny import ids_of
from tests.stress.request_fuzz import HUGE, LONGEST, outcome, tiny_pipeline, try_requests

BAD_TOP_K = [0, -1, 41, HUGE, -HUGE, 2**63, True, 3.0, "3", None, float("nan"), [3], 1j]


def deep(levels: int) -> list:
    nested: list = []
    for _ in range(levels):
        nested = [nested]
    return nested


def test_random_requests_are_answered_or_refused():
    assert set(try_requests(tiny_pipeline(), 250)) == {"answered", "refused"}


@pytest.mark.parametrize("top_k", BAD_TOP_K, ids=range(len(BAD_TOP_K)))
def test_every_bad_top_k_is_named(pipe, top_k):
    error = outcome(pipe, [10], top_k=top_k)
    assert type(error) is (ValueError if type(top_k) is int else TypeError)
    assert "top_k is" in str(error)


@pytest.mark.parametrize("top_k", range(1, NUM_MOVIES + 1, 13))
def test_every_good_top_k_is_answered(pipe, top_k):
    assert len(pipe([10], top_k=top_k, exclude_seen=False)) == top_k


@pytest.mark.parametrize(
    "option", ["diversity", "popularity_penalty", "min_rating", "years", "ratings", "now", "timestamps"]
)
def test_numbers_too_large_for_a_float_are_named(pipe, option):
    value = {"years": [HUGE, None], "ratings": [HUGE], "timestamps": [HUGE]}.get(option, HUGE)
    error = outcome(pipe, {"history": [10], option: value})
    assert isinstance(error, ValueError)
    assert "too large" in str(error)


def test_years_in_the_wrong_order_are_refused_briefly(pipe):
    error = outcome(pipe, {"history": [10], "years": [10**300, 1999]})
    assert "the first year comes after the last; swap them" in str(error)
    assert len(str(error)) < 200


def test_an_id_of_thousands_of_digits_is_named(pipe):
    with pytest.raises(ValueError, match="an id has at most 300 bits, not 16610"):
        pipe([HUGE])


@pytest.mark.parametrize(
    "form", [lambda nested: nested, lambda nested: [[10, nested]], lambda nested: {"history": nested}]
)
def test_deep_nesting_is_named_in_a_short_message(pipe, form):
    error = outcome(pipe, form(deep(100_000)))
    assert isinstance(error, TypeError)
    assert "an entry of a history is an id or a title, not list" in str(error)


def test_keys_of_several_types_are_named(pipe):
    with pytest.raises(ValueError, match="a request needs the key 'history'; this one has"):
        pipe({"items": [10], 5: 1})
    with pytest.raises(ValueError, match="unknown option 5"):
        pipe({"history": [10], 5: 1})


def test_a_very_long_history_is_truncated_to_the_window(pipe):
    ids = [MOVIES["movie_id"][index % 20] for index in range(100_000)]
    started = time.monotonic()
    answer, recent = pipe(ids, top_k=5), pipe(ids[-40:], top_k=5)
    assert ids_of(answer) == ids_of(recent)
    assert time.monotonic() - started < 10
    with pytest.warns(UserWarning, match=r"0'.*and 99980 more") as caught:
        assert pipe([f"No Film {number}" for number in range(100_000)])[0]["source"] == "popularity"
    assert len(str(caught[0].message)) < LONGEST


@pytest.mark.parametrize("unit", [" ", "(", "(1995)", "a, the", "(a.k.a. ", "x (1995) "])
def test_long_titles_are_looked_up_quickly(pipe, unit):
    text = unit * (200_000 // len(unit)) + "x"
    started = time.monotonic()
    with pytest.warns(UserWarning, match="not in the catalogue"):
        pipe([text])
    with pytest.raises(UnknownTitleError) as caught:
        pipe(["Toy Story"], candidates=[text])
    assert len(str(caught.value)) < LONGEST
    assert time.monotonic() - started < 5


def test_markup_and_control_characters_are_unchanged(model):
    odd = ["<b>Bold</b> (1999)", "Nul\x00l", "Line\nbreak", "\u202eright to left", "Robert'); DROP TABLE movies;--"]
    titles = odd + [f"Movie {number}" for number in range(NUM_MOVIES - len(odd))]
    table = {"movie_id": MOVIES["movie_id"], "title": titles}
    tokenizer = Bert4RecTokenizer.from_movies(table, dict.fromkeys(MOVIES["movie_id"], 1))
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")
    answer = pipe([], top_k=NUM_MOVIES)
    assert {movie["title"] for movie in answer} == set(titles)
    for title, movie in zip(odd, MOVIES["movie_id"], strict=False):
        assert tokenizer.find(title) == movie


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=40))
def test_a_year_is_split_off_any_text(text):
    title, year = split_year(text)
    assert title == title.strip()
    assert year is not None or title == text.strip()
    assert split_year(f"{title} (1995)  ") == ((title, 1995) if title else ("(1995)", None))
    assert isinstance(normalise(text), str)
