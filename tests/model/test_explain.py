"""Explanations name the planted cause, and contributions equal differences of log scores."""

import pytest
import torch

from hf_bert4rec.model import ranking_bert4rec
from tests.conftest import MOVIES
from tests.model.tiny import ids_of


@pytest.fixture
def caused(pipe, model, tokenizer):
    """A model that recommends movie 100 if movie 13 is in the history, and not otherwise.

    All other weights are zero, so attention is uniform: the last layer averages the values of all positions, and only
    that of movie 13 points to movie 100. [MASK] has its own direction, so that layer norm does not scale up noise.
    """
    hidden = model.config.hidden_size
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1)
        embeddings[3:, 2:].normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        embeddings[tokenizer.resolve(13), 0] = 8
        embeddings[tokenizer.resolve(100), 1] = 8
        embeddings[tokenizer.mask_token_id, 2] = 8
        last = model.bert4rec.layers[-1].attention
        last.value.weight[0, 0] = 1  # values carry the mark of movie 13 answer …
        last.output.weight[1, 0] = 10  # … and are written to that of movie 100
        model.head.dense.weight.copy_(torch.eye(hidden))
    return pipe


def test_the_planted_cause_is_named_first(caused):
    answer = caused([10, 13, 16, 19], top_k=1, explain=True)
    assert answer[0]["movie_id"] == 100
    reasons = answer[0]["because"]
    assert reasons[0]["movie_id"] == 13
    assert reasons[0]["title"] == "Godfather, The (1972)"
    rest = sum(reason["contribution"] for reason in reasons[1:])
    assert reasons[0]["contribution"] > max(1.0, 5 * rest)
    assert caused([10, 16, 19], top_k=1)[0]["movie_id"] != 100


@pytest.mark.parametrize("previous_item", [False, True])
def test_contributions_are_differences_in_log_score(pipe, previous_item):
    pipe.model.config.previous_item = previous_item  # an entry left out then changes its successor's input too
    history = [10, 28, 13, 10]
    explained = pipe(history, top_k=5, explain=True)
    assert [{**movie, "because": None} for movie in explained] == [
        {**movie, "because": None} for movie in pipe(history, top_k=5)
    ]
    scores = {movie["movie_id"]: movie["score"] for movie in explained}
    without = {
        left_out: {movie["movie_id"]: movie["score"] for movie in pipe(rest, top_k=40, exclude_seen=False)}
        for left_out, rest in ((10, [28, 13]), (28, [10, 13, 10]), (13, [10, 28, 10]))
    }
    compared = 0
    for movie in explained:
        contributions = [reason["contribution"] for reason in movie["because"]]
        assert contributions == sorted(contributions, reverse=True)
        for reason in movie["because"]:
            ratio = scores[movie["movie_id"]] / without[reason["movie_id"]][movie["movie_id"]]
            assert torch.tensor(ratio).log().item() == pytest.approx(reason["contribution"], abs=1e-4)
            compared += 1
    assert compared


def test_explanations_are_the_same_in_a_batch(pipe, monkeypatch):
    histories = [[10, 13, 16], [19], MOVIES["movie_id"][:20]]
    singly = [pipe(history, explain=True) for history in histories]
    monkeypatch.setattr(ranking_bert4rec, "EXPLAIN_BATCH_SIZE", 2)
    for single, batched in zip(singly, pipe(histories, explain=True), strict=True):
        for one, other in zip(single, batched, strict=True):
            named = [reason["movie_id"] for reason in one["because"] if reason["contribution"] > 1e-4]
            assert named == ids_of(other["because"])[: len(named)]


def test_popularity_has_no_reasons(pipe):
    assert {tuple(movie["because"]) for movie in pipe([], explain=True)} == {()}
    answer = pipe([10], explain=True, top_k=3)
    assert {reason["movie_id"] for movie in answer for reason in movie["because"]} <= {10}
    assert "because" not in pipe([10])[0]


def test_entries_outside_the_window_are_not_named(pipe, config):
    history = MOVIES["movie_id"][:20]
    recent = set(history[-(config.max_position_embeddings - 1) :])
    for movie in pipe(history, explain=True):
        assert {reason["movie_id"] for reason in movie["because"]} <= recent
