"""A pipeline whose model is trained or grown afterwards answers from the model as it is, without dropout."""

from __future__ import annotations

import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.conftest import NUM_MOVIES

HISTORY = [10, 13, 16]
NEW = {"movie_id": [999], "title": ["Brand New"], "year": [2024], "genres": [["Drama"]]}


def ids(answer) -> list[int]:
    return [movie["movie_id"] for movie in answer]


def test_a_model_in_training_mode_answers_without_dropout(pipe):
    expected, embedding = pipe(HISTORY, explain=True), pipe.embed_users(HISTORY)
    pipe.model.train()  # as Trainer leaves it
    assert pipe(HISTORY, explain=True) == expected
    assert torch.equal(pipe.embed_users(HISTORY), embedding)
    assert pipe.model.training  # the training that goes on keeps its dropout
    assert pipe.model.bert4rec.embeddings.dropout.training


def test_items_added_to_model_and_tokenizer_are_recommended(pipe):
    pipe.tokenizer.add_items(NEW)
    pipe.model.add_items(pipe.tokenizer)
    answer = pipe(HISTORY, top_k=NUM_MOVIES + 1, exclude_seen=False)
    assert len(answer) == NUM_MOVIES + 1
    assert sum(movie["score"] for movie in answer) == pytest.approx(1)
    assert 999 in ids(answer)
    assert ids(pipe(HISTORY, candidates=["Brand New (2024)"], top_k=1)) == [999]


@pytest.mark.parametrize("read", [lambda pipe: pipe.embed_items(), lambda pipe: pipe.similar(999, 3)])
def test_items_added_to_both_have_embeddings(pipe, read):
    pipe.tokenizer.add_items(NEW)
    pipe.model.add_items(pipe.tokenizer)
    assert len(read(pipe)) in (3, NUM_MOVIES + 1)


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
    assert sorted(ids(small([0], exclude_seen=False))) == list(range(number))
    assert sorted(ids(small.similar(0))) == list(range(1, number))


def test_the_answer_is_the_order_of_the_inner_products(pipe):
    logits = pipe.embed_items() @ pipe.embed_users(HISTORY) + pipe.item_biases()
    expected = [pipe.tokenizer.item_ids[position] for position in logits.argsort(descending=True)]
    everything = {"top_k": NUM_MOVIES, "exclude_seen": False}
    assert ids(pipe(HISTORY, **everything)) == expected
    assert ids(pipe(HISTORY, candidates=pipe.tokenizer.item_ids, **everything)) == expected


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
    assert ids(again(HISTORY)) == ids(pipe(HISTORY))


def test_a_grown_model_is_saved_with_its_grown_vocabulary(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "first")
    grown = MovieRecommendationPipeline(
        model=Bert4RecForMaskedLM.from_pretrained(tmp_path / "first"), tokenizer=pipe.tokenizer, task=TASK
    )
    grown.add_items(NEW)
    assert grown.model.config.vocabulary_sha256 == grown.tokenizer.vocabulary_sha256
    assert 999 in ids(grown(HISTORY, top_k=NUM_MOVIES + 1, exclude_seen=False))


def test_a_model_without_the_hash_takes_any_tokenizer_of_its_size(pipe):
    assert pipe.model.config.vocabulary_sha256 is None
    other = MovieRecommendationPipeline(model=pipe.model, tokenizer=other_items(pipe.tokenizer), task=TASK)
    assert len(other(HISTORY)) == 10
