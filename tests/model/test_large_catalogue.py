"""A large catalogue: titles are found by their letters, and int8 scores, corrected for the best, rank as exact ones."""

import pickle
import random
from collections import defaultdict

import pytest
import torch

from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.model import items_bert4rec, ranking_bert4rec
from hf_bert4rec.model.items_bert4rec import (
    TitleIndex,
    _other_names,
    _without_aliases,
    letter_sums,
    normalise,
    split_year,
)
from hf_bert4rec.model.ranking_bert4rec import blockwise_topk
from tests.model.tiny import assert_same_answer, build, ids_of, tiny_config

ITEMS = 3000
WORDS = [
    "Ran",
    "Amélie",
    "Ōkami",
    "한강",
    "Брат",
    "a",
    "the",
    "and",
    "M&M",
    "Ocean's",
    "straße",
    "ﬁn",
    "8½",
    "ن",
    "漢字",
]
FORMS = ["{}", "The {}", "{}, The", "{}, Les", "{} (a.k.a. {})", "({}) {}", "{} (1995) {}", "{}: {}!", "{} ({}", "()"]


def made_up_titles(number: int) -> list[str]:
    """Titles in which words, articles, accents and parentheses meet in every way."""
    generator = random.Random(0)

    def words() -> str:
        return " ".join(generator.choices(WORDS, k=generator.randint(1, 2)))

    return [generator.choice(FORMS).format(words(), words()) for _ in range(number)]


def spellings(title: str) -> list[str]:
    """The normalised names of a title: all of it, without its parentheses, and the content of these."""
    return [name for name in dict.fromkeys(map(normalise, [title, *_other_names(title)])) if name]


def test_titles_are_those_with_the_same_normalised_name():
    titles = ["", *made_up_titles(1500)]
    years = [None if position % 3 else 1990 + position % 5 for position in range(len(titles))]
    index = TitleIndex(titles, years)
    by_title, by_spelling = defaultdict(list), defaultdict(list)
    for position, title in enumerate(titles):
        for rank, name in enumerate(spellings(title)):
            (by_spelling if rank else by_title)[name].append(position)
    for position, title in enumerate(titles):  # titles with a year also count without their parentheses
        name = _without_aliases(title)
        if name != title and normalise(name) and years[position] is not None and not name.isdecimal():
            by_title[normalise(name)].append(position)

    def expected(query: str) -> list[int]:
        title, year = split_year(query)
        for names in (by_title, by_spelling):
            positions = sorted(row for row in names.get(normalise(title), []) if year in (None, years[row]))
            if positions:
                return positions
        return sorted(by_title.get(normalise(query), []))

    queries = [*titles, *made_up_titles(500), *(f"{title} (1991)" for title in titles), "\ud800", "the", "nar"]
    answers = [expected(query) for query in queries]
    assert [index.candidates(query) for query in queries] == answers
    assert sum(map(bool, answers)) > 2000


@pytest.mark.parametrize("at_once", [4, 2**16])
def test_letter_sums_do_not_depend_on_order_case_or_accents(monkeypatch, at_once):
    monkeypatch.setattr(items_bert4rec, "TITLES_AT_ONCE", at_once)
    sums = letter_sums(["Toy Story", "story, TOY!", "Tóy Störy", "Toy Stories", "", "Тоу"])
    assert sums[0] == sums[1] == sums[2]
    assert len(set(sums.tolist())) == 4
    assert sums[4] == 0


def test_the_largest_of_many_values_are_those_of_topk():
    generator = torch.Generator().manual_seed(0)
    for number, size in ((1, 64), (10, 1000), (100, 6401), (64, 64), (70, 6400)):
        values = torch.randn(size, generator=generator)
        assert set(blockwise_topk(values, number).tolist()) == set(values.topk(number).indices.tolist())


EVENTS = ("buy", "view")
KINDS = {
    "network": {},
    "memory": {"memory_size": 20},
    "events": {"memory_size": 20, "time_aware": True, "num_events": len(EVENTS)},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def pipe(request):
    """A pipeline of more items than are scored exactly after int8."""
    generator = random.Random(0)
    movies = {
        "movie_id": list(range(ITEMS)),
        "title": [f"Movie {item}" for item in range(ITEMS)],
        "year": [1950 + item % 70 for item in range(ITEMS)],
        "genres": [generator.sample(["Drama", "Comedy", "Western"], 1 + item % 2) for item in range(ITEMS)],
    }
    event_names = EVENTS if "num_events" in request.param else ()
    counts = {item: 1 + item % 50 for item in range(ITEMS)}
    tokenizer = Bert4RecTokenizer.from_movies(
        movies, counts, event_names=event_names, num_target_events=len(event_names[:1])
    )
    model = build(tiny_config(len(tokenizer), hidden_size=32, **request.param))
    if model.memory is not None:
        model.memory.next_items.random_(3, len(tokenizer), generator=torch.Generator().manual_seed(0))
        model.memory.weights.random_(1, 5, generator=torch.Generator().manual_seed(1))
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


REQUESTS = [
    {"history": [1, 2, 3]},
    {"history": [7], "genres": ["Western"], "years": (1960, 1990)},
    {"history": [5, 6], "exclude_seen": False, "popularity_penalty": 1.0},
    {"history": [8, 9, 10], "diversity": 0.5},
    {"history": [11], "candidates": [20, 30, 40], "top_k": 3},
    {"history": [12], "top_k": ITEMS - 1},
    {"history": [13, 14], "explain": True},
    {"history": []},
]


def test_int8_scores_rank_as_exact_ones(pipe, monkeypatch):
    exact = pipe(REQUESTS)
    monkeypatch.setattr(ranking_bert4rec, "APPROXIMATE_FROM", 0)
    monkeypatch.setattr(ranking_bert4rec, "ROWS_AT_ONCE", 1000)
    approximate = pipe(REQUESTS)
    assert pipe.item_embeddings.int8() is not None
    for expected, answer in zip(exact, approximate, strict=True):
        assert_same_answer(answer[:1000], expected[:1000], rel=2e-3)
    for expected, movie in zip(exact[6], approximate[6], strict=True):
        assert [entry["title"] for entry in movie["because"]] == [entry["title"] for entry in expected["because"]]
        for own, others in zip(movie["because"], expected["because"], strict=True):
            assert own["contribution"] == pytest.approx(others["contribution"], abs=1e-4)
    for request, answer in zip(REQUESTS[:3], approximate, strict=False):
        assert ids_of(pipe(request)) == ids_of(answer)


def test_int8_scores_of_no_movies(pipe, monkeypatch):
    monkeypatch.setattr(ranking_bert4rec, "APPROXIMATE_FROM", 0)
    for options in ({}, {"popularity_penalty": 1.0}, {"diversity": 0.5}):
        with pytest.warns(UserWarning, match="10 movies requested, none left"):
            assert pipe([15], candidates=[20], exclude=[20], **options) == []


def test_int8_embeddings_follow_training_and_are_not_pickled(pipe, monkeypatch):
    monkeypatch.setattr(ranking_bert4rec, "APPROXIMATE_FROM", 0)
    size = len(pickle.dumps(pipe.item_embeddings))
    best = pipe([1, 2], top_k=1)[0]["movie_id"]
    assert len(pickle.dumps(pipe.item_embeddings)) == size
    with torch.no_grad():
        pipe.model.get_output_embeddings().weight[pipe.tokenizer.encode_items([best])] = 0.0
    answer = ids_of(pipe([1, 2], top_k=10))
    assert best not in answer
    with torch.inference_mode():  # tensors made in it have no version
        pipe.model.decoder.weight = torch.nn.Parameter(pipe.model.decoder.weight.clone())
    assert ids_of(pipe([1, 2], top_k=10)) == answer
