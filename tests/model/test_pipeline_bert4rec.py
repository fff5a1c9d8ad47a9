"""The pipeline's answers: their form, their source, and that they depend on the history only."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_bert4rec import AmbiguousTitleError, Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from tests.conftest import MOVIES, NUM_MOVIES


def test_the_answer_names_movies(pipe, tokenizer):
    answer = pipe(["Toy Story (1995)", 13, "16"], top_k=4)
    assert len(answer) == 4
    assert list(answer[0]) == ["movie_id", "title", "genres", "score", "source"]
    assert all(type(movie["movie_id"]) is int and movie["movie_id"] in MOVIES["movie_id"] for movie in answer)
    assert not {10, 13, 16} & {movie["movie_id"] for movie in answer}
    assert [movie["score"] for movie in answer] == sorted((movie["score"] for movie in answer), reverse=True)
    assert {movie["source"] for movie in answer} == {"model"}
    assert_same(pipe([10, 13, 16], top_k=4), answer)


def test_scores_are_the_softmax_over_all_items_before_filters(pipe, model, tokenizer):
    answer = pipe([10, 13], top_k=NUM_MOVIES, exclude_seen=False)
    assert sum(movie["score"] for movie in answer) == pytest.approx(1, abs=1e-5)
    ids = torch.tensor([[*tokenizer.encode_items([10, 13]), tokenizer.mask_token_id]])
    scores = model.next_item_logits(ids, torch.ones_like(ids))[0, tokenizer.first_item_id :].softmax(-1)
    expected = {movie: scores[index].item() for index, movie in enumerate(MOVIES["movie_id"])}
    assert {movie["movie_id"]: movie["score"] for movie in answer} == pytest.approx(expected, abs=1e-6)
    assert_same(pipe([10, 13], top_k=5), [movie for movie in answer if movie["movie_id"] not in (10, 13)][:5])


def ids_of(answer):
    return [movie["movie_id"] for movie in answer]


def assert_same(answer, expected):
    """The same movies in the same order, with scores equal but for rounding."""
    assert ids_of(answer) == ids_of(expected)
    scores = [[movie["score"] for movie in movies] for movies in (answer, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_one_history_or_a_batch(pipe):
    first_answer, second_answer = pipe([10, 13]), pipe([16])
    for batch in (
        pipe([[10, 13], [16]]),
        pipe([{"history": [10, 13]}, {"history": [16]}]),
        pipe(history for history in [[10, 13], [16]]),
        pipe(Dataset.from_dict({"history": [[10, 13], [16]]})["history"]),
    ):
        first, second = batch
        assert_same(first, first_answer)
        assert_same(second, second_answer)
    for single in (pipe({"history": [10, 13]}), pipe((10, 13)), pipe(np.array([10, 13]))):
        assert_same(single, first_answer)
    assert len(pipe([{"history": [10, 13], "top_k": 2}, {"history": [10, 13]}])[0]) == 2


def test_an_empty_history_and_a_batch_of_one(pipe):
    empty = pipe([])
    assert {movie["source"] for movie in empty} == {"popularity"}
    assert empty[0]["movie_id"] == MOVIES["movie_id"][-1]  # counted most often
    assert empty[0]["score"] == pytest.approx(NUM_MOVIES / (NUM_MOVIES * (NUM_MOVIES + 1) / 2))
    assert pipe([[]]) == [empty]


def test_unknown_entries_are_named_in_one_warning(pipe):
    with pytest.warns(UserWarning, match="'No Such Film', 999") as caught:
        answers = pipe([["No Such Film", 999], [10, 999]])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert answers[0] == pipe([])
    assert_same(answers[1], pipe([10]))


def test_fewer_movies_than_top_k(pipe):
    seen = MOVIES["movie_id"][:35]
    with pytest.warns(UserWarning, match="10 movies requested, 5 left") as caught:
        assert len(pipe(seen)) == 5
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pipe(seen, top_k=5)) == 5


def test_answers_do_not_depend_on_the_batch(pipe, histories, tokenizer):
    requests = [tokenizer.decode_items(history) for history in histories]
    single_answers = [pipe(history) for history in requests]
    for batch_size in (1, 7, 64):
        for single, batched in zip(single_answers, pipe(requests, batch_size=batch_size), strict=True):
            assert_same(batched, single)


def test_only_the_most_recent_items_fit_the_window(pipe, config):
    ids = MOVIES["movie_id"]
    recent = ids[20 - (config.max_position_embeddings - 1) : 20]
    assert_same(pipe(ids[:20], exclude_seen=False), pipe(recent, exclude_seen=False))
    assert not set(ids[:20]) & set(ids_of(pipe(ids[:20])))


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ("Toy Story", TypeError, "a history is a list"),
        (10, TypeError, "a history is a list"),
        ([[10], 13], TypeError, "entry 1 is 13"),
        ([1.5], TypeError, "an id or a title, not float"),
        ([True], TypeError, "an id or a title, not bool"),
        ([[10, [13]]], TypeError, "an id or a title, not list"),
        ({"items": [10]}, ValueError, "needs the key 'history'"),
        ({"history": "Toy Story"}, TypeError, "a history is a list"),
        ({"history": [10], "topk": 3}, ValueError, "unknown option 'topk'"),
        (["Sabrina"], AmbiguousTitleError, "Sabrina"),
    ],
)
def test_bad_histories_are_named(pipe, history, error, message):
    with pytest.raises(error, match=message):
        pipe(history)


@pytest.mark.parametrize(("top_k", "error"), [(0, ValueError), (-1, ValueError), (41, ValueError), ("5", TypeError)])
def test_bad_top_k_is_named(pipe, top_k, error):
    with pytest.raises(error, match="top_k is"):
        pipe([10], top_k=top_k)


def test_options_given_at_construction_hold_for_every_call(model, tokenizer):
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation", top_k=3)
    assert len(pipe([10])) == 3
    assert len(pipe([10], top_k=2)) == 2


def test_model_and_tokenizer_must_fit(tokenizer):
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer) + 1))
    with pytest.raises(ValueError, match="the tokenizer has 43 entries and the model 44"):
        MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def test_threads_get_the_same_answers(pipe, histories, tokenizer):
    requests = [tokenizer.decode_items(history) for history in histories]
    with ThreadPoolExecutor(4) as pool:
        for threaded, single_answers in zip(pool.map(pipe, requests), map(pipe, requests), strict=True):
            assert_same(threaded, single_answers)


def test_half_precision_answers_in_float32(config, tokenizer):
    torch.manual_seed(0)
    model = Bert4RecForMaskedLM(config).to(torch.bfloat16)
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")
    answer = pipe([10, 13], top_k=NUM_MOVIES, exclude_seen=False)
    assert sum(movie["score"] for movie in answer) == pytest.approx(1, abs=1e-5)
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in model.parameters())
