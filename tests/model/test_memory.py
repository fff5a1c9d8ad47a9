"""The transition memory: against the Markov chain it is filled from, in scores, saved folders and ONNX."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecModel, MovieRecommendationPipeline
from hf_bert4rec.data import transitions
from hf_bert4rec.data.collators import DataCollatorForNextItem
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.transitions import damped_transitions, fit_transition_memory
from hf_bert4rec.evaluation.baselines import MarkovScorer
from hf_bert4rec.model.cold_start_bert4rec import nearest_items
from hf_bert4rec.model.extensions_bert4rec import SMOOTHING, Bert4RecTransitionMemory
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.conftest import NUM_MOVIES
from tests.model.tiny import KINDS, build, padded_left, tiny_config


@pytest.fixture
def model_with_memory(config, histories) -> Bert4RecForMaskedLM:
    config.memory_size = config.vocab_size
    model = build(config)
    fit_transition_memory(model, histories)
    return model


def next_item_batch(tokenizer, histories, side="right"):
    batch = DataCollatorForNextItem(tokenizer, 12)([{"input_ids": history} for history in histories])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return padded_left(inputs) if side == "left" else inputs


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_unbounded_memory_is_the_markov_chain(model_with_memory, tokenizer, histories, side):
    scores = MarkovScorer(histories, len(tokenizer))(histories)
    expected = scores / scores.sum(-1, keepdim=True)
    actual = model_with_memory.memory(**next_item_batch(tokenizer, histories, side)).exp() - SMOOTHING
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)


def test_the_most_frequent_next_items_are_stored(config, tokenizer, histories):
    config.memory_size = 3
    model = Bert4RecForMaskedLM(config)
    fit_transition_memory(model, histories)
    table = damped_transitions(histories, len(tokenizer)).toarray()
    for row in range(tokenizer.first_item_id, len(tokenizer)):
        entries = np.zeros(len(tokenizer))
        np.add.at(entries, model.memory.next_items[row].numpy(), model.memory.weights[row].numpy())
        assert np.sort(entries)[::-1][:3] == pytest.approx(np.sort(table[row])[::-1][:3], rel=1e-6)
        assert entries[entries > 0] == pytest.approx(table[row][entries > 0], rel=1e-6)
    assert not model.memory.weights[: tokenizer.first_item_id].any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), max_size=12), st.integers(1, 8))
def test_of_equal_values_the_first_is_chosen(values, number):
    expected = sorted(range(len(values)), key=lambda index: (-values[index], index))[:number]
    assert transitions._largest(np.array(values), number).tolist() == expected


def test_its_weight_reaches_the_scores(model_with_memory, tokenizer, histories):
    batch = next_item_batch(tokenizer, histories)
    with torch.no_grad():
        network = model_with_memory.decoder(model_with_memory.next_item_states(**batch))
        for weight in (0.0, 0.5):
            model_with_memory.config.memory_weight = weight
            expected = network + weight * model_with_memory.memory(**batch)
            torch.testing.assert_close(model_with_memory.next_item_logits(**batch), expected)


def test_it_is_saved_with_the_model(model_with_memory, tokenizer, histories, tmp_path):
    pipe = MovieRecommendationPipeline(model=model_with_memory, tokenizer=tokenizer, task=TASK)
    pipe.save_pretrained(tmp_path)
    again = MovieRecommendationPipeline(
        model=Bert4RecForMaskedLM.from_pretrained(tmp_path), tokenizer=tokenizer, task=TASK
    )
    ids = [tokenizer.decode_items(history) for history in list(histories)[:5]]
    assert again(ids) == pipe(ids)


def test_a_new_movie_follows_what_similar_movies_follow(model_with_memory, tokenizer, histories, tmp_path):
    pipe = MovieRecommendationPipeline(model=model_with_memory, tokenizer=tokenizer, task=TASK)
    batch = next_item_batch(tokenizer, histories)
    before = model_with_memory.next_item_logits(**batch)
    (report,) = pipe.add_items({"movie_id": [1], "title": ["Toy Story 2"], "genres": [["Drama", "Animation"]]})
    after = pipe.model.next_item_logits(**batch)
    torch.testing.assert_close(after[:, :-1], before, atol=1e-5, rtol=1e-5)
    similar = [tokenizer.resolve(movie) for movie in report["similar"]]
    ((rows, weights),) = nearest_items(pipe.tokenizer.items, NUM_MOVIES, 1)
    assert similar == (tokenizer.first_item_id + rows).tolist()
    shares = pipe.model.memory(**batch).exp() - SMOOTHING
    torch.testing.assert_close(shares[:, -1], shares[:, similar] @ (weights / weights.sum()), atol=1e-6, rtol=1e-4)
    assert shares[:, -1].max() > 0
    new, like = (pipe.model.memory(**next_item_batch(pipe.tokenizer, [[row]])) for row in (43, similar[0]))
    torch.testing.assert_close(new[:, :-1], like[:, :-1])  # a new movie does not follow another new one
    pipe.save_pretrained(tmp_path)
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again.next_item_logits(**batch), after, atol=0, rtol=0)
    assert len(pipe([1, 10], top_k=NUM_MOVIES - 1)) == NUM_MOVIES - 1


def test_a_new_item_follows_as_often_as_its_similar_items_on_average():
    memory = Bert4RecTransitionMemory(Bert4RecConfig(vocab_size=6, memory_size=2))
    memory.next_items[3:5] = torch.tensor([[4, 5], [5, 3]])
    memory.weights[3:5] = torch.tensor([[2.0, 1.0], [4.0, 3.0]])
    memory.resize(8)  # the second new item has no similar ones
    assert memory.add([(torch.tensor([4, 5]), torch.tensor([0.75, 0.25])), (torch.tensor([]), torch.tensor([]))]) == 3
    assert memory.next_items[3:].tolist() == [[4, 5, 6], [5, 3, 6], [0, 0, 0], [5, 3, 0], [0, 0, 0]]
    assert memory.weights[3:].tolist() == [[2, 1, -1.75], [4, 3, -1], [0, 0, 0], [4, 3, 0], [0, 0, 0]]


def test_a_vocabulary_smaller_than_the_memory_keeps_the_strongest(config, tmp_path):
    config.memory_size = 30
    model = Bert4RecForMaskedLM(config)
    model.memory.next_items[7, [0, 25, 29]] = torch.tensor([30, 9, 11], dtype=torch.int32)
    model.memory.weights[7, [0, 25, 29]] = torch.tensor([8.0, 2.0, -3.0])
    model.resize_token_embeddings(20)
    assert model.config.memory_size == 20
    assert model.memory.next_items.shape == model.memory.weights.shape == (20, 20)
    assert model.memory.next_items[7, :3].tolist() == [11, 9, 0]  # 30 is not among the 20 items
    assert model.memory.weights[7, :3].tolist() == [-3, 2, 0]
    assert model.next_item_logits(torch.tensor([[7, 1]]), torch.ones(1, 2)).shape == (1, 20)
    model.save_pretrained(tmp_path)
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(again.memory.weights, model.memory.weights)


def test_an_encoder_of_a_smaller_vocabulary_than_the_memory_is_saved(config, tmp_path):
    config.memory_size = 30
    encoder = Bert4RecModel(config)
    encoder.resize_token_embeddings(20)
    encoder.save_pretrained(tmp_path)
    assert Bert4RecModel.from_pretrained(tmp_path).config.memory_size == 20


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("next_items", 10**6, "memory.next_items names items beyond the vocabulary of 43"),
        ("next_items", -1, "memory.next_items names items beyond"),
        ("weights", float("nan"), "memory.weights holds NaN"),
    ],
)
def test_an_invalid_memory_is_refused(model_with_memory, tokenizer, name, value, message):
    getattr(model_with_memory.memory, name)[7, 0] = value
    with pytest.raises(ValueError, match=message):
        MovieRecommendationPipeline(model=model_with_memory, tokenizer=tokenizer, task=TASK)


@pytest.mark.parametrize("size", [-1, 44, True, "3"])
def test_an_invalid_size_is_refused(config, size):
    with pytest.raises((ValueError, TypeError), match="memory_size"):
        Bert4RecConfig(vocab_size=config.vocab_size, memory_size=size)


def test_a_model_without_memory_is_refused(model, histories):
    with pytest.raises(ValueError, match="memory_size is 0"):
        fit_transition_memory(model, histories)


def test_transitions_in_the_opposite_direction_count_less(monkeypatch):
    monkeypatch.setattr(transitions, "STEPS", 2)
    monkeypatch.setattr(transitions, "POWER", 0.0)
    histories = Ragged.from_lists([[3, 4, 5]])
    forward = damped_transitions(histories, 6, 2, power=0.0).toarray()
    assert [forward[3, 4], forward[3, 5], forward[4, 5]] == [1, 0.5, 1]
    assert forward.sum() == 2.5
    ((_, both),) = transitions._damped_blocks(histories, 6, None, 0.3)
    np.testing.assert_allclose(both.toarray(), forward + 0.3 * forward.T)
    half_year = int(transitions.TIME_BIN)
    histories = histories.with_columns(timestamps=np.array([0, half_year, half_year]))
    ((_, timed),) = transitions._damped_blocks(histories, 6, np.array([0, 1]), 0.3)
    entries = [timed[4, 3], timed[5, 6 + 4], timed[3, 6 + 4], timed[5, 3]]
    np.testing.assert_allclose(entries, [0.3, 0.3, 1, 0.15])  # each is in the bin of the item that it leads to


HISTORY = [10, 13, 16]
LARGEST_FLOAT16 = 65_504


@pytest.fixture
def busy(tokenizer) -> MovieRecommendationPipeline:
    """A model of a busy site: some transitions occurred a million times."""
    model = build(tiny_config(**KINDS["causal"]))
    model.memory.next_items.copy_(torch.randint(3, len(tokenizer), (len(tokenizer), 5)))
    model.memory.weights.copy_(torch.rand(len(tokenizer), 5) * 1e6)
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK)


def log_scores(pipe) -> torch.Tensor:
    answer = pipe(HISTORY, top_k=NUM_MOVIES, exclude_seen=False)
    return torch.tensor([movie["score"] for movie in sorted(answer, key=lambda movie: movie["movie_id"])]).log()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.05), (torch.bfloat16, 0.15)])
@pytest.mark.parametrize("trust", [False, True])
def test_scores_are_those_of_float32_but_for_rounding(busy, tmp_path, dtype, tolerance, trust):
    busy.save_pretrained(tmp_path / "full")
    half = pipeline(TASK, model=str(tmp_path / "full"), dtype=dtype, trust_remote_code=trust)
    assert half.model.dtype == dtype
    assert half.model.memory.weights.max() > LARGEST_FLOAT16
    assert torch.equal(half.model.memory.weights, busy.model.memory.weights)
    torch.testing.assert_close(log_scores(half), log_scores(busy), rtol=0, atol=tolerance)
    half.save_pretrained(tmp_path / "half")
    assert torch.equal(log_scores(pipeline(TASK, model=str(tmp_path / "half"))), log_scores(half))


def test_counts_that_were_cast_are_refused_with_the_way_to_load_them(busy):
    with pytest.raises(
        ValueError, match=r"memory\.weights holds NaN or infinite.*load the model by dtype=torch\.float16"
    ):
        MovieRecommendationPipeline(model=busy.model.half(), tokenizer=busy.tokenizer, task=TASK)


@pytest.mark.parametrize("model_class", [Bert4RecModel, Bert4RecForMaskedLM])
def test_tables_kept_in_float32_exist(kind, model_class):
    model = model_class(kind)
    assert model._keep_in_fp32_modules_strict == ({"memory.weights"} & set(model.state_dict()))
