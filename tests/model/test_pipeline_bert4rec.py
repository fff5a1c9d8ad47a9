"""The pipeline's answers: their form and source, that they depend on the history only, and on the model as it is."""

import re
import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_bert4rec import (
    AmbiguousTitleError,
    Bert4RecConfig,
    Bert4RecForMaskedLM,
    Bert4RecTokenizer,
    MovieRecommendationPipeline,
)
from hf_bert4rec.model import requests_bert4rec
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.conftest import MOVIES, NUM_MOVIES
from tests.model.tiny import assert_same_answer, ids_of


def test_the_answer_names_movies(pipe, tokenizer):
    answer = pipe(["Toy Story (1995)", 13, "16"], top_k=4)
    assert len(answer) == 4
    assert list(answer[0]) == ["movie_id", "title", "genres", "score", "source"]
    assert all(type(movie["movie_id"]) is int and movie["movie_id"] in MOVIES["movie_id"] for movie in answer)
    assert not {10, 13, 16} & {movie["movie_id"] for movie in answer}
    assert [movie["score"] for movie in answer] == sorted((movie["score"] for movie in answer), reverse=True)
    assert {movie["source"] for movie in answer} == {"model"}
    assert_same_answer(pipe([10, 13, 16], top_k=4), answer)
    answer[0]["genres"].append("the caller's own")
    assert "the caller's own" not in pipe([10, 13, 16], top_k=1)[0]["genres"]


def test_scores_are_the_softmax_over_all_items_before_filters(pipe, model, tokenizer):
    answer = pipe([10, 13], top_k=NUM_MOVIES, exclude_seen=False)
    assert sum(movie["score"] for movie in answer) == pytest.approx(1, abs=1e-5)
    ids = torch.tensor([[*tokenizer.encode_items([10, 13]), tokenizer.mask_token_id]])
    scores = model.next_item_logits(ids, torch.ones_like(ids))[0, tokenizer.first_item_id :].softmax(-1)
    expected = {movie: scores[index].item() for index, movie in enumerate(MOVIES["movie_id"])}
    assert {movie["movie_id"]: movie["score"] for movie in answer} == pytest.approx(expected, abs=1e-6)
    assert_same_answer(pipe([10, 13], top_k=5), [movie for movie in answer if movie["movie_id"] not in (10, 13)][:5])


def test_one_history_or_a_batch(pipe):
    first_answer, second_answer = pipe([10, 13]), pipe([16])
    for batch in (
        pipe([[10, 13], [16]]),
        pipe([{"history": [10, 13]}, {"history": [16]}]),
        pipe(history for history in [[10, 13], [16]]),
        pipe(Dataset.from_dict({"history": [[10, 13], [16]]})["history"]),
    ):
        first, second = batch
        assert_same_answer(first, first_answer)
        assert_same_answer(second, second_answer)
    for history in ({"history": [10, 13]}, (10, 13), np.array([10, 13]), [torch.tensor(10), np.array(13)]):
        single = pipe(history)
        assert_same_answer(single, first_answer)
    assert len(pipe([{"history": [10, 13], "top_k": 2}, {"history": [10, 13]}])[0]) == 2


def test_an_empty_history_and_a_batch_of_one(pipe):
    empty = pipe([])
    assert {movie["source"] for movie in empty} == {"popularity"}
    assert empty[0]["movie_id"] == MOVIES["movie_id"][-1]  # counted most often
    assert empty[0]["score"] == pytest.approx(NUM_MOVIES / (NUM_MOVIES * (NUM_MOVIES + 1) / 2))
    assert pipe([[]]) == [empty]


def test_unknown_entries_are_named_in_one_warning(pipe):
    with pytest.warns(UserWarning, match="'No Such Film', 999$") as caught:
        answers = pipe([["No Such Film", 999], [10, 999]])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert answers[0] == pipe([])
    assert_same_answer(answers[1], pipe([10]))


def test_the_warning_suggests_titles(pipe, monkeypatch):
    """For the first three entries, once each; not for ids, which no title resembles."""
    batch = [["Toy Stroy", "Godfahter", 999], ["Toy Stroy", "Sabrnia", "Amelei"]]
    suggested = "'Toy Stroy' (did you mean 'Toy Story (1995)'?), 'Godfahter' (did you mean 'Godfather, The (1972)'?)"
    with pytest.warns(UserWarning, match=re.escape(f": {suggested}, 999, 'Sabrnia', 'Amelei'") + "$"):
        pipe(batch)
    monkeypatch.setattr(requests_bert4rec, "MAX_SEARCHED_ITEMS", pipe.tokenizer.num_items - 1)  # a large catalogue
    with pytest.warns(UserWarning, match=": 'Toy Stroy'$"):
        pipe(["Toy Stroy"])
    assert pipe.tokenizer.suggest("Sabrnia") == ["Sabrina (1954)"]


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
            assert_same_answer(batched, single)


def test_only_the_most_recent_items_fit_the_window(pipe, config):
    ids = MOVIES["movie_id"]
    recent = ids[20 - (config.max_position_embeddings - 1) : 20]
    assert_same_answer(pipe(ids[:20], exclude_seen=False), pipe(recent, exclude_seen=False))
    assert not set(ids[:20]) & set(ids_of(pipe(ids[:20])))


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ("Toy Story", TypeError, "a history is a list"),
        (10, TypeError, "a history is a list"),
        (np.array(10), TypeError, "a history is a list of ids and titles, not int: 10"),
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


def test_model_and_tokenizer_must_fit(tokenizer):
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer) + 1))
    with pytest.raises(ValueError, match="the tokenizer has 43 entries and the model 44"):
        MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def test_half_precision_answers_in_float32(config, tokenizer):
    torch.manual_seed(0)
    model = Bert4RecForMaskedLM(config).to(torch.bfloat16)
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")
    answer = pipe([10, 13], top_k=NUM_MOVIES, exclude_seen=False)
    assert sum(movie["score"] for movie in answer) == pytest.approx(1, abs=1e-5)
    assert {each.dtype for each in (pipe.embed_users([10]), pipe.embed_items(), pipe.item_biases())} == {torch.float32}


def test_options_of_a_request_override_those_of_the_call_and_the_pipeline(model, tokenizer):
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, top_k=2)
    assert [len(answer) for answer in pipe([[10], {"history": [10], "top_k": 4}])] == [2, 4]
    assert [len(answer) for answer in pipe([[10], {"history": [10], "top_k": 4}], top_k=3)] == [3, 4]
    assert len(pipe([10])) == 2  # nothing of a call stays


HISTORY = [10, 13, 16]
NEW = {"movie_id": [999], "title": ["Brand New"], "year": [2024], "genres": [["Drama"]]}


def test_a_model_in_training_mode_answers_without_dropout(pipe):
    expected, embedding = pipe(HISTORY, explain=True), pipe.embed_users(HISTORY)
    pipe.model.train()  # as Trainer leaves it
    assert pipe(HISTORY, explain=True) == expected
    assert torch.equal(pipe.embed_users(HISTORY), embedding)
    assert pipe.model.training  # the training that goes on keeps its dropout
    assert pipe.model.bert4rec.embeddings.dropout.training
    built = MovieRecommendationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, task=TASK)
    assert not built.model.training


def test_items_added_to_model_and_tokenizer_are_recommended(pipe):
    pipe.tokenizer.add_items(NEW)
    pipe.model.add_items(pipe.tokenizer)
    answer = pipe(HISTORY, top_k=NUM_MOVIES + 1, exclude_seen=False)
    assert len(answer) == NUM_MOVIES + 1
    assert sum(movie["score"] for movie in answer) == pytest.approx(1)
    assert 999 in ids_of(answer)
    assert ids_of(pipe(HISTORY, candidates=["Brand New (2024)"], top_k=1)) == [999]


@pytest.mark.parametrize(
    ("read", "number"), [(lambda pipe: pipe.embed_items(), NUM_MOVIES + 1), (lambda pipe: pipe.similar(999, 3), 3)]
)
def test_items_added_to_both_have_embeddings(pipe, read, number):
    pipe.tokenizer.add_items(NEW)
    pipe.model.add_items(pipe.tokenizer)
    assert len(read(pipe)) == number


def test_items_added_to_the_tokenizer_only_are_refused(pipe):
    pipe.tokenizer.add_items(NEW)
    for call in (lambda: pipe(HISTORY), lambda: pipe.similar(10), lambda: pipe.embed_users(HISTORY)):
        with pytest.raises(ValueError, match="the tokenizer has 44 entries and the model 43"):
            call()


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_catalogue_of_fewer_than_ten_movies_needs_no_top_k(number):
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(number))})
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer)))
    small = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK)
    assert sorted(ids_of(small([0], exclude_seen=False))) == list(range(number))
    assert sorted(ids_of(small.similar(0))) == list(range(1, number))


def test_a_user_who_has_seen_everything_gets_nothing_and_others_their_list(pipe):
    catalogue = pipe.tokenizer.item_ids
    with pytest.warns(UserWarning, match="10 movies requested, none left: exclude_seen leaves none"):
        answers = pipe([catalogue, HISTORY, []], diversity=0.5, explain=True)
    assert [len(answer) for answer in answers] == [0, 10, 10]


def test_one_text_is_not_a_list_of_its_letters(pipe):
    for method in (pipe.embed_items, pipe.item_biases):
        with pytest.raises(TypeError, match="takes a list of ids and titles, not '13'"):
            method("13")


def other_items(tokenizer) -> Bert4RecTokenizer:
    """A tokenizer of as many items, in another order."""
    return Bert4RecTokenizer.from_movies({"movie_id": tokenizer.item_ids[::-1]})


def test_the_vocabulary_hash_is_that_of_the_ids_in_order():
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [7, 50]})
    # printf '["7", "50"]' | sha256sum
    assert tokenizer.vocabulary_sha256 == "25723069cbc1430cd1960edf16d598aae918f1a249efb3c16523437a51c1e43e"
    tokenizer.add_items({"movie_id": [9]})
    assert tokenizer.vocabulary_sha256 != "25723069cbc1430cd1960edf16d598aae918f1a249efb3c16523437a51c1e43e"


def test_a_saved_model_refuses_a_tokenizer_of_other_items(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    model = Bert4RecForMaskedLM.from_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"made for other items than the tokenizer's, which are \[.*both by add_items"):
        MovieRecommendationPipeline(model=model, tokenizer=other_items(pipe.tokenizer), task=TASK)
    again = MovieRecommendationPipeline(model=model, tokenizer=pipe.tokenizer, task=TASK)
    assert ids_of(again(HISTORY)) == ids_of(pipe(HISTORY))


def test_a_grown_model_is_saved_with_its_grown_vocabulary(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "first")
    grown = MovieRecommendationPipeline(
        model=Bert4RecForMaskedLM.from_pretrained(tmp_path / "first"), tokenizer=pipe.tokenizer, task=TASK
    )
    grown.add_items(NEW)
    assert grown.model.config.vocabulary_sha256 == grown.tokenizer.vocabulary_sha256
    assert 999 in ids_of(grown(HISTORY, top_k=NUM_MOVIES + 1, exclude_seen=False))


def test_a_model_without_the_hash_takes_any_tokenizer_of_its_size(pipe):
    assert pipe.model.config.vocabulary_sha256 is None
    other = MovieRecommendationPipeline(model=pipe.model, tokenizer=other_items(pipe.tokenizer), task=TASK)
    assert len(other(HISTORY)) == 10
