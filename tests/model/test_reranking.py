"""Filters remove what they should and nothing else; re-ranking changes the order, not the scores."""

import math

import pytest
import torch
from datasets import Dataset

from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.model.ranking_bert4rec import Catalogue, rerank_mmr, select_movies
from hf_bert4rec.model.requests_bert4rec import Request
from tests.conftest import MOVIES, NUM_MOVIES
from tests.model.tiny import ids_of

HISTORY = [10, 28]


@pytest.fixture
def ranked(pipe):
    """Every unseen movie, best first."""
    return pipe(HISTORY, top_k=NUM_MOVIES - 2)


def test_exclude_and_candidates(pipe, ranked):
    best = ids_of(ranked)
    assert ids_of(pipe(HISTORY, top_k=5, exclude=best[:3])) == best[3:8]
    assert ids_of(pipe(HISTORY, top_k=3, candidates=[*best[20:23], 10])) == best[20:23]
    assert ids_of(pipe(HISTORY, top_k=2, candidates=best[20:23], exclude=[best[20]])) == best[21:23]
    assert pipe(HISTORY, top_k=1, candidates=["The Godfather"])[0]["title"] == "Godfather, The (1972)"


def test_genres_and_years(pipe, ranked):
    romances = ids_of(pipe(HISTORY, top_k=2, genres=["romance"]))
    assert sorted(romances) == [16, 19]
    either = ids_of(pipe(HISTORY, top_k=3, genres=["Romance", "Crime"]))
    assert sorted(either) == [13, 16, 19]
    years = dict(zip(MOVIES["movie_id"], MOVIES["year"], strict=True))
    nineties = [movie for movie in ids_of(ranked) if 1990 <= years[movie] <= 1995]
    assert ids_of(pipe(HISTORY, top_k=len(nineties), years=(1990, 1995))) == nineties
    assert ids_of(pipe(HISTORY, top_k=1, years=(None, 1960))) == [16]
    for since_1990 in ((1990, None), (1995, 1995)):
        assert ids_of(pipe(HISTORY, top_k=1, years=since_1990, genres=["Romance"])) == [19]


def test_reranking_does_not_change_scores(pipe, ranked):
    scores = {movie["movie_id"]: movie["score"] for movie in ranked}
    options = {"years": (1980, 2005), "popularity_penalty": 0.5, "diversity": 0.5, "exclude": [13]}
    reranked = pipe(HISTORY, **options)
    assert {movie["movie_id"]: movie["score"] for movie in reranked} == pytest.approx(
        {movie: scores[movie] for movie in ids_of(reranked)}
    )


def test_an_empty_answer_says_which_filter_emptied_it(pipe):
    with pytest.warns(UserWarning, match="10 movies requested, none left") as caught:
        assert pipe(HISTORY, genres=["Romance"], years=(1990, 2000), exclude=["Sabrina (1995)"]) == []
    assert len(caught) == 1
    assert caught[0].filename == __file__
    message = str(caught[0].message)
    assert message.endswith(
        "exclude_seen leaves 38, exclude leaves 37, genres=['Romance'] leaves 1, years=(1990, 2000) leaves none"
    )
    with pytest.warns(UserWarning, match="none left: candidates leaves none"):
        assert pipe([], candidates=[]) == []


def test_popularity_penalty_orders_by_lift(pipe, ranked, tokenizer):
    counts = dict(zip(tokenizer.item_ids, tokenizer.items["count"], strict=True))
    lift = {movie["movie_id"]: movie["score"] / (counts[movie["movie_id"]] + 1) for movie in ranked}
    assert ids_of(pipe(HISTORY, top_k=10, popularity_penalty=1)) == sorted(lift, key=lift.get, reverse=True)[:10]
    assert ids_of(pipe(HISTORY, popularity_penalty=0)) == ids_of(ranked)[:10]


def test_diversity_by_hand():
    utility = torch.tensor([4.0, 3.9, 2.0, 0.0])
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    assert rerank_mmr(utility, vectors, 0.0, 4).tolist() == [0, 1, 2, 3]
    assert rerank_mmr(utility, vectors, 0.45, 3).tolist() == [0, 2, 1]
    assert rerank_mmr(utility, vectors, 1.0, 3).tolist() == [0, 2, 3]
    assert rerank_mmr(torch.zeros(4), vectors, 0.5, 3).tolist() == [0, 2, 3]


def test_diversity_makes_lists_less_similar(pipe):
    def similarity(answer):
        vectors = torch.nn.functional.normalize(pipe.embed_items(ids_of(answer)), dim=-1)
        return (vectors @ vectors.T).clamp(min=0).mean().item()

    spread = [similarity(pipe(HISTORY, top_k=8, diversity=share)) for share in (0.0, 0.5, 1.0)]
    assert spread[0] > spread[1] > spread[2]
    assert ids_of(pipe(HISTORY, diversity=1.0))[0] == ids_of(pipe(HISTORY))[0]


@pytest.mark.parametrize(("top_k", "pool"), [(2, 100), (30, 150)])
def test_diversity_selects_from_a_pool_of_the_best(top_k, pool):
    """Only the last movie of the pool and the one after it are unlike the others."""
    kinds = torch.zeros(200, dtype=torch.long)
    kinds[pool - 1], kinds[pool] = 1, 2
    request, catalogue = (
        Request([], [], top_k, diversity=1.0),
        Catalogue(Bert4RecTokenizer.from_movies({"movie_id": [*range(200)]})),
    )
    chosen = select_movies(request, -torch.arange(200.0), catalogue, lambda positions: torch.eye(3)[kinds[positions]])
    assert chosen[:2] == [0, pool - 1]
    assert pool not in chosen


def test_diversity_of_popularity_with_uncounted_movies():
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [1, 2, 3]}, {2: 5})
    request = Request([], [], top_k=3, diversity=0.5)
    catalogue = Catalogue(tokenizer)
    chosen = select_movies(request, catalogue.shares.log(), catalogue, lambda positions: torch.eye(3)[positions])
    assert chosen[0] == 1
    assert sorted(chosen) == [0, 1, 2]


def test_an_uncounted_movie_does_not_make_the_others_equally_relevant():
    """Relevance is 1, log(9)/log(10) = 0.95, 0 and 0, so a gain of 0.7 · 0.95 - 0.3 puts the second movie before 0."""
    utility = torch.tensor([0.5, 0.45, 0.05, 0.0]).log()
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert rerank_mmr(utility, vectors, 0.3, 4).tolist() == [0, 1, 2, 3]
    assert rerank_mmr(utility[3:], vectors[3:], 0.3, 1).tolist() == [0]  # none has a count


def test_equally_popular_movies_are_in_the_order_of_the_catalogue():
    movies = range(300)
    counts = {movie: 1 + movie % 3 for movie in movies}
    catalogue = Catalogue(Bert4RecTokenizer.from_movies({"movie_id": [*movies]}, counts))
    expected = sorted(movies, key=lambda movie: -counts[movie])
    for top_k in (1, 10, 50, 150, 300):
        assert select_movies(Request([], [], top_k), catalogue.shares.log(), catalogue, torch.eye) == expected[:top_k]


def test_options_of_one_request_do_not_affect_others(pipe, ranked):
    answers = pipe([{"history": HISTORY, "genres": ["Romance"], "top_k": 2}, {"history": HISTORY}])
    assert sorted(ids_of(answers[0])) == [16, 19]
    assert ids_of(answers[1]) == ids_of(ranked)[:10]


def test_disliked_movies_are_not_recommended(pipe):
    reranked = pipe([10, 28, 13], ratings=[5, None, 1])
    assert ids_of(reranked) == [movie for movie in ids_of(pipe(HISTORY, top_k=38)) if movie != 13][:10]
    assert ids_of(pipe([10, 28, 13], ratings=[5, 4, 3])) == ids_of(pipe([10, 28, 13]))
    assert ids_of(pipe([10, 28, 13], ratings=[5, 4, 3], min_rating=3.5)) == ids_of(reranked)
    assert {movie["source"] for movie in pipe([13], ratings=[1], min_rating=3)} == {"popularity"}
    assert 13 not in ids_of(pipe([13], ratings=[1], min_rating=3, top_k=NUM_MOVIES - 1))


def test_an_unknown_movie_to_exclude_is_named(pipe, ranked):
    with pytest.warns(UserWarning, match="nothing to exclude: 'No Such Film'"):
        assert ids_of(pipe(HISTORY, exclude=["No Such Film"])) == ids_of(ranked)[:10]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"candidates": [999]}, LookupError, "candidates: 999"),
        ({"candidates": ["Toy Storie"]}, LookupError, "did you mean 'Toy Story"),
        ({"candidates": "Toy Story"}, TypeError, "candidates is a list"),
        ({"exclude": 10}, TypeError, "exclude is a list"),
        ({"genres": ["Romanse"]}, ValueError, "genre 'Romanse'; did you mean Romance, or one of Animation, Comedy"),
        ({"genres": ["xyz"]}, ValueError, "no movie has the genre 'xyz'; there are [^?]+$"),
        ({"genres": ["Western"]}, ValueError, "there are Animation, Comedy"),
        ({"genres": "Romance"}, TypeError, "genres is a list"),
        ({"genres": []}, ValueError, "at least one"),
        ({"years": (1999, 1990)}, ValueError, "swap them"),
        ({"years": 1990}, TypeError, "years is a pair"),
        ({"years": (1990,)}, ValueError, "years is a pair"),
        ({"years": ("1990", 1999)}, TypeError, "first of years is a number"),
        ({"diversity": 1.5}, ValueError, "diversity is 1.5; it must be from 0 to 1"),
        ({"diversity": math.nan}, ValueError, "diversity is nan"),
        ({"popularity_penalty": -1}, ValueError, r"it must be from 0 to 1e\+06"),
        ({"popularity_penalty": 1e39}, ValueError, r"it must be from 0 to 1e\+06"),
        ({"popularity_penalty": True}, TypeError, "is a number"),
        ({"explain": "yes"}, TypeError, "explain is True or False"),
        ({"exclude_seen": 0}, TypeError, "exclude_seen is True or False"),
        ({"ratings": [5]}, ValueError, "ratings has 1 values and the history 2 entries"),
        ({"ratings": 5}, TypeError, "ratings is a list"),
        ({"ratings": [5, "good"]}, TypeError, "a rating is a number"),
        ({"genre": ["Romance"]}, ValueError, "did you mean 'genres'"),
    ],
)
def test_bad_options_are_named(pipe, options, error, message):
    with pytest.raises(error, match=message):
        pipe(HISTORY, **options)


def test_filters_without_their_column_are_refused(model):
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": MOVIES["movie_id"]})
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")
    for options, message in (
        ({"genres": ["Drama"]}, "no filter by genres"),
        ({"years": (1, 2)}, "no filter by years"),
        ({"popularity_penalty": 1.0}, "popularity is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            pipe(HISTORY, **options)


def test_a_movies_table_adds_titles_and_filters(model, tokenizer, pipe, ranked):
    counts = dict(zip(tokenizer.item_ids, tokenizer.items["count"], strict=True))
    nameless = Bert4RecTokenizer.from_movies({"movie_id": MOVIES["movie_id"]}, counts)
    bare = MovieRecommendationPipeline(model=model, tokenizer=nameless, task="movie-recommendation")
    assert bare(HISTORY)[0]["title"] is None
    titled = {"movie_id": MOVIES["movie_id"], "genres": MOVIES["genres"]}
    titled["title"] = [f"{title} ({year})" for title, year in zip(MOVIES["title"], MOVIES["year"], strict=True)]
    for table in (MOVIES, titled, Dataset.from_dict(MOVIES)):
        named = MovieRecommendationPipeline(model=model, tokenizer=nameless, task="movie-recommendation", movies=table)
        assert [movie["title"] for movie in named(HISTORY)] == [movie["title"] for movie in ranked[:10]]
        assert sorted(ids_of(named(HISTORY, genres=["Romance"], years=(1990, 2000), top_k=1))) == [19]
        assert ids_of(named(["Toy Story", 28])) == ids_of(ranked)[:10]
        assert named([])[0]["source"] == "popularity"
    assert nameless.titles == []


def test_a_movies_table_may_cover_a_part_of_the_catalogue(model, tokenizer):
    bare = Bert4RecTokenizer.from_movies({"movie_id": MOVIES["movie_id"]})
    part = {"movie_id": [10, 5], "title": ["Toy Story", "Not in the catalogue"], "year": [1995, 2000]}
    pipe = MovieRecommendationPipeline(model=model, tokenizer=bare, task="movie-recommendation", movies=part)
    titles = {movie["movie_id"]: movie["title"] for movie in pipe([13], top_k=39)}
    assert titles[10] == "Toy Story (1995)"
    assert 5 not in titles
    with pytest.raises(ValueError, match="none of the catalogue's 40 items"):
        bare.with_movies({"movie_id": ["x"]})
    with pytest.raises(KeyError, match="no column 'movie_id'"):
        bare.with_movies({"id": [1]})
    with pytest.raises(ValueError, match="'title' must be a list with one value for each of 1 items"):
        bare.with_movies({"movie_id": [10], "title": []})
