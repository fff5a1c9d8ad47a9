"""Models of several event types: embeddings, requests, explanations, ONNX, and the same answers on every path."""

from typing import Any

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.collators import MODEL_INPUTS, DataCollatorForNextItem
from hf_bert4rec.data.encoding import collator_row
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.model.extensions_bert4rec import Bert4RecEventEmbeddings
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.model.tiny import build, ids_of, padded_left, tiny_config

KINDS = ["buy", "rent", "view"]  # the first two can be requested
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "previous item, times": {"previous_item": True, "rotary_positions": True, "time_aware": True, "memory_size": 5},
}


@pytest.fixture
def tokenizer(tokenizer: Bert4RecTokenizer) -> Bert4RecTokenizer:
    movies = {"movie_id": tokenizer.item_ids, **tokenizer.items}
    counts = dict(zip(tokenizer.item_ids, tokenizer.items["count"], strict=True))
    return Bert4RecTokenizer.from_movies(movies, counts, event_names=KINDS, num_target_events=2)


@pytest.fixture(params=list(VARIANTS))
def model(request: pytest.FixtureRequest) -> Bert4RecForMaskedLM:
    return build(tiny_config(num_events=3, **VARIANTS[request.param]))


@pytest.fixture
def events(histories: Ragged) -> Ragged:
    """The histories with random event types and queries."""
    generator = np.random.default_rng(1)
    histories = histories.with_columns(event_ids=generator.integers(0, 3, len(histories.values)))
    return histories.with_queries(event_ids=generator.integers(0, 2, len(histories)))


def batch_of(tokenizer: Bert4RecTokenizer, histories: Ragged) -> dict[str, torch.Tensor]:
    batch = DataCollatorForNextItem(tokenizer, 12)([collator_row(histories, row) for row in range(len(histories))])
    return {name: batch[name] for name in MODEL_INPUTS if name in batch}


def request_of(tokenizer: Bert4RecTokenizer, histories: Ragged, row: int) -> dict[str, Any]:
    return {
        "history": tokenizer.decode_items(histories[row].tolist()),
        "events": [KINDS[event] for event in histories.row(row).columns["event_ids"]],
        "event": KINDS[histories.queries["event_ids"][row]],
    }


def test_a_position_has_its_own_kind_and_the_one_before() -> None:
    embeddings = Bert4RecEventEmbeddings(Bert4RecConfig(num_events=3, hidden_size=4, num_attention_heads=1))
    own, before = embeddings.own.weight, embeddings.before.weight
    position_ids = torch.tensor([[0, 0, 1, 2]])  # padded on the left
    actual = embeddings(torch.tensor([[0, 2, 1, 0]]), position_ids)[0]
    torch.testing.assert_close(actual[1:], torch.stack([own[2], own[1] + before[2], own[0] + before[1]]))


def test_models_without_kinds_have_no_embeddings_of_them_and_ignore_them(config: Bert4RecConfig) -> None:
    model = Bert4RecForMaskedLM(config).eval()
    assert not [name for name in model.state_dict() if "event" in name]
    inputs = {"input_ids": torch.tensor([[5, 6, 1]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    assert torch.equal(
        model.next_item_logits(**inputs), model.next_item_logits(**inputs, event_ids=inputs["input_ids"])
    )
    for number in (-1, 5000):
        with pytest.raises(ValueError, match=f"num_events is {number}; it must be from 0 to 4,096"):
            Bert4RecConfig(num_events=number)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_does_not_change_scores(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, events: Ragged, side: str
) -> None:
    inputs = batch_of(tokenizer, events)
    together = model.next_item_logits(**(padded_left(inputs) if side == "left" else inputs))
    for row in (0, 7, 21):
        single = model.next_item_logits(**batch_of(tokenizer, events.rows(row, row + 1)))
        torch.testing.assert_close(together[row : row + 1], single, atol=1e-4, rtol=1e-4)


def test_every_kind_counts_and_the_first_is_the_default(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, events: Ragged
) -> None:
    row = int(events.lengths.argmax())
    batch = batch_of(tokenizer, events.rows(row, row + 1))
    full = model.next_item_logits(**batch)
    for position in range(12):
        changed = {**batch, "event_ids": batch["event_ids"].clone()}
        changed["event_ids"][0, position] = (changed["event_ids"][0, position] + 1) % 3
        assert not torch.allclose(model.next_item_logits(**changed), full, atol=1e-4)
    first = {**batch, "event_ids": torch.zeros_like(batch["input_ids"])}
    without = {name: tensor for name, tensor in batch.items() if name != "event_ids"}
    assert torch.equal(model.next_item_logits(**first), model.next_item_logits(**without))
    # The last layer at the query only gives what the complete sequence gives.
    model.config.memory_weight = 0.0
    torch.testing.assert_close(model.next_item_logits(**batch), model(**batch).logits[:, -1], atol=1e-4, rtol=1e-4)


def test_the_pipeline_scores_as_the_evaluation_and_explains(
    model: Bert4RecForMaskedLM, tokenizer: Bert4RecTokenizer, events: Ragged
) -> None:
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK)
    scores = ModelScorer(model, tokenizer)(events)[:, tokenizer.first_item_id :].softmax(-1)
    rows = np.flatnonzero((events.lengths > 2) & (events.lengths < 12))[:3]  # complete within the window
    requests = [request_of(tokenizer, events, row) for row in rows]
    for row, request, answer in zip(rows, requests, pipe(requests, explain=True, top_k=5), strict=True):
        assert ids_of(pipe(request, top_k=5)) == ids_of(answer)
        for movie in answer:
            position = tokenizer.item_ids.index(movie["movie_id"])
            assert movie["score"] == pytest.approx(float(scores[row, position]), rel=1e-3)
        reason = answer[0]["because"][0]
        rest = {"candidates": [answer[0]["movie_id"]], "top_k": 1, "exclude_seen": False}
        remaining = [at for at, item in enumerate(request["history"]) if item != reason["movie_id"]]
        without = {name: [request[name][at] for at in remaining] for name in ("history", "events")}
        left = pipe({**without, "event": request["event"], **rest})[0]["score"]
        assert np.log(answer[0]["score"] / left) == pytest.approx(reason["contribution"], abs=1e-3)
    embedded = pipe.embed_users(requests[0])
    expected = model.next_item_states(**batch_of(tokenizer, events.rows(rows[0], rows[0] + 1)))[0]
    torch.testing.assert_close(embedded, expected.detach(), atol=1e-4, rtol=1e-4)


@pytest.fixture
def pipe(config: Bert4RecConfig, tokenizer: Bert4RecTokenizer) -> MovieRecommendationPipeline:
    config.num_events = 3
    return MovieRecommendationPipeline(model=Bert4RecForMaskedLM(config).eval(), tokenizer=tokenizer, task=TASK)


def test_only_items_of_the_requested_kind_count_as_seen(pipe: MovieRecommendationPipeline) -> None:
    history = {"history": [10, 13, 16], "events": ["view", "rent", "buy"]}
    for request, seen in (
        (history, {16}),
        ({**history, "event": "rent"}, {13}),
        ({"history": [10, 13, 16], "event": "rent"}, {10, 13, 16}),
    ):
        with pytest.warns(UserWarning, match="3 movies requested"):
            unseen = {movie["movie_id"] for movie in pipe(request, candidates=[10, 13, 16], top_k=3)}
        assert unseen == {10, 13, 16} - seen


def test_a_request_without_events_has_the_requested_kind(
    pipe: MovieRecommendationPipeline, recwarn: pytest.WarningsRecorder
) -> None:
    assert pipe([10, 13]) == pipe({"history": [10, 13], "events": ["buy", "buy"], "event": "buy"})
    rent = pipe({"history": [10, 13], "event": "rent"})
    assert rent == pipe({"history": [10, 13], "events": ["rent", "rent"], "event": "rent"}) != pipe([10, 13])
    frame_row = {"history": np.array([10, 13]), "events": np.array(["buy", "view"]), "event": np.str_("rent")}
    assert pipe(frame_row) == pipe({"history": [10, 13], "events": ["buy", "view"]}, event="rent")
    liked = {"history": [10, 19, 13], "events": ["buy", "view", "view"], "ratings": [5, 1, 5], "exclude": [19]}
    assert pipe(liked) == pipe({"history": [10, 13], "events": ["buy", "view"], "exclude": [19]})
    assert not recwarn


@pytest.mark.parametrize(
    ("request_of", "error", "message"),
    [
        ({"events": ["buy"]}, ValueError, "events has 1 values and the history 2 entries: give one each"),
        ({"events": ["buy", "look"]}, ValueError, "event type 'look' is none of 'buy', 'rent', 'view'"),
        ({"events": ["buy", None]}, ValueError, "event type None is none of"),
        ({"events": "buy"}, TypeError, "events is a list with an event type for each entry"),
        ({"event": "view"}, ValueError, r"event is 'view'; it must be one of \['buy', 'rent'\]"),
        ({"event": ["buy"]}, ValueError, r"event is \['buy'\]; it must be one of"),
    ],
)
def test_bad_events_are_refused(
    pipe: MovieRecommendationPipeline, request_of: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipe({"history": [10, 13], **request_of})


def test_a_model_without_kinds_says_so(model_without: MovieRecommendationPipeline) -> None:
    with pytest.warns(UserWarning, match="trained without event types: they only make 'next' the default goal"):
        answer = model_without({"history": [10], "events": ["view"], "event": "buy"})
    assert answer == model_without([10])


@pytest.fixture
def model_without(config: Bert4RecConfig, tokenizer: Bert4RecTokenizer) -> MovieRecommendationPipeline:
    plain = Bert4RecTokenizer.from_movies({"movie_id": tokenizer.item_ids})
    return MovieRecommendationPipeline(model=Bert4RecForMaskedLM(config).eval(), tokenizer=plain, task=TASK)


def test_model_and_tokenizer_have_the_same_kinds(config: Bert4RecConfig, tokenizer: Bert4RecTokenizer) -> None:
    with pytest.raises(ValueError, match=r"the event types \['buy', 'rent', 'view'\] and the model 0"):
        MovieRecommendationPipeline(model=Bert4RecForMaskedLM(config), tokenizer=tokenizer, task=TASK)


def test_new_movies_keep_the_kinds(pipe: MovieRecommendationPipeline) -> None:
    request = {"history": [10, 13], "events": ["buy", "view"], "candidates": [16, 19]}
    before = ids_of(pipe(request, top_k=2))
    pipe.add_items({"movie_id": [999], "title": ["New"], "year": [2000], "genres": [["Drama"]]})
    assert ids_of(pipe(request, top_k=2)) == before
    assert pipe({"history": [999], "events": ["view"], "event": "rent"}, top_k=1)
