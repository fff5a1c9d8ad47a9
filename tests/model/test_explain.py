"""An explanation names the entry that was planted as the cause."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import MOVIES


@pytest.fixture
def caused(pipe, model, tokenizer):
    """A model in which movie 13 in a history makes movie 100, and nothing else does.

    All else is zero, so attention is the same everywhere: the last layer adds up values of all places, and only movie
    13's points at movie 100. The [MASK] has a direction of its own, so that layer norm does not blow up what is left.
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
        last.value.weight[0, 0] = 1  # values carry the mark of movie 13 alone …
        last.output.weight[1, 0] = 10  # … to where movie 100 is read
        model.head.dense.weight.copy_(torch.eye(hidden))
    return pipe


def test_the_planted_cause_is_found(caused):
    answer = caused([10, 13, 16, 19], top_k=1, explain=True)
    assert answer[0]["movie_id"] == 100
    reasons = answer[0]["because"]
    assert reasons[0]["movie_id"] == 13
    assert reasons[0]["title"] == "Godfather, The (1972)"
    rest = sum(reason["contribution"] for reason in reasons[1:])
    assert reasons[0]["contribution"] > max(1.0, 5 * rest)
    assert caused([10, 16, 19], top_k=1)[0]["movie_id"] != 100


def test_contributions_are_what_the_score_loses(pipe):
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
    told = 0
    for movie in explained:
        contributions = [reason["contribution"] for reason in movie["because"]]
        assert contributions == sorted(contributions, reverse=True)
        for reason in movie["because"]:
            ratio = scores[movie["movie_id"]] / without[reason["movie_id"]][movie["movie_id"]]
            assert torch.tensor(ratio).log().item() == pytest.approx(reason["contribution"], abs=1e-4)
            told += 1
    assert told


def test_explanations_are_the_same_in_a_batch(pipe):
    histories = [[10, 13, 16], [19], MOVIES["movie_id"][:20]]
    for single, batched in zip(
        [pipe(history, explain=True) for history in histories], pipe(histories, explain=True), strict=True
    ):
        for one, other in zip(single, batched, strict=True):
            named = [reason["movie_id"] for reason in one["because"] if reason["contribution"] > 1e-4]
            assert named == [reason["movie_id"] for reason in other["because"]][: len(named)]


def test_popularity_has_no_reasons_and_a_single_entry_is_compared_with_none(pipe):
    assert {tuple(movie["because"]) for movie in pipe([], explain=True)} == {()}
    alone = pipe([10], explain=True, top_k=3)
    assert {reason["movie_id"] for movie in alone for reason in movie["because"]} <= {10}
    assert "because" not in pipe([10])[0]


def test_entries_outside_the_window_are_never_named(pipe, config):
    history = MOVIES["movie_id"][:20]
    recent = set(history[-(config.max_position_embeddings - 1) :])
    for movie in pipe(history, explain=True):
        assert {reason["movie_id"] for reason in movie["because"]} <= recent
