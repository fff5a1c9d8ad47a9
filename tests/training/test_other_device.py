"""Training, ranking and requests on another device than the CPU: no tensor is left behind, results are the same."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.random_streams import NegativeSampler
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.evaluation.ranking import rank_targets
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.ema import WeightAverage
from hf_bert4rec.training.training_forward import training_forward_installed
from tests.fake_device import DEVICE, FakeDevice, FakeDeviceTensor, to_device
from tests.model.tiny import build, needs_transformers, tiny_config
from tests.recipes import NO_DROPOUT

MODELS = {
    "masked": {},
    "pre-norm, rotary": {"pre_layer_norm": True, "rotary_positions": True},
    "eager": {"_attn_implementation": "eager"},
    "causal": {"causal": True, "rotary_positions": True},
    "time-aware": {"causal": True, "time_aware": True, "memory_size": 3},
    "memory": {"memory_size": 3},
    "previous item": {"previous_item": True, "rotary_positions": True},
    "previous item, times": {"previous_item": True, "time_aware": True},
}
NEWER = needs_transformers(
    5, 23, reason="older versions make masks by torch.tensor, which has no values on this device"
)
NAMES = [pytest.param(name, marks=NEWER if name == "eager" else ()) for name in MODELS]
TIMED = {name for name, options in MODELS.items() if options.get("time_aware")}


@pytest.fixture(autouse=True)
def _without_modes_that_do_not_know_the_device(monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device=None: False)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)


def histories(vocab_size: int, timed: bool) -> Ragged:
    generator = np.random.default_rng(0)
    rows = Ragged.from_lists([3 + generator.permutation(vocab_size - 3)[:length] for length in (9, 4, 12, 7)])
    return rows.with_columns(timestamps=10**9 + np.arange(len(rows.values)) * 86_400) if timed else rows


def make_model(tokenizer, options: dict) -> Bert4RecForMaskedLM:
    options = dict(options)
    attention = options.pop("_attn_implementation", "sdpa")
    model = build(tiny_config(len(tokenizer), **NO_DROPOUT, **options))
    model.set_attn_implementation(attention)
    if model.memory is not None:
        model.memory.weights.fill_(1.0)
    return model


def loss_and_gradient(model: Bert4RecForMaskedLM, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
    torch.manual_seed(1)  # times are dropped at random
    with training_forward_installed(model.train()):
        loss = model(**batch).loss
    loss.backward()
    gradient = model.get_input_embeddings().weight.grad
    return float(loss.detach()), gradient.held if isinstance(gradient, FakeDeviceTensor) else gradient


@pytest.mark.parametrize("loss", ["dense", "chunked", "sampled"])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_runs_on_the_device(name, loss, tokenizer, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0 if loss == "chunked" else 2**30)
    windows = TrainingWindows(histories(len(tokenizer), name in TIMED), 12)
    sampler = NegativeSampler(np.ones(len(tokenizer)), 5, tokenizer.first_item_id) if loss == "sampled" else None
    causal = float("previous item" in name and loss == "chunked")  # a causal batch of a model that is not
    collate = DataCollatorForMaskedItems(tokenizer, negatives=sampler, causal_prob=causal)
    batch = collate([windows[row] for row in range(len(windows))])
    expected = loss_and_gradient(make_model(tokenizer, MODELS[name]), batch)
    model = make_model(tokenizer, MODELS[name])
    with FakeDevice():
        inputs = {key: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        actual = loss_and_gradient(to_device(model), inputs)
    assert actual[0] == pytest.approx(expected[0])
    torch.testing.assert_close(actual[1], expected[1])


@pytest.mark.parametrize("name", NAMES)
def test_ranking_runs_on_the_device(name, tokenizer):
    rows = histories(len(tokenizer), name in TIMED)
    targets = Ragged.from_lists([[next(i for i in range(3, len(tokenizer)) if i not in row)] for row in rows])

    def ranks(model: Bert4RecForMaskedLM) -> list:
        options = {"vocab_size": len(tokenizer), "special_ids": tokenizer.all_special_ids, "top_k": 3}
        negatives = {"sampled": np.tile(np.arange(3, 8), (len(rows), 1))}
        ranking = rank_targets(ModelScorer(model, tokenizer), rows, targets, negatives=negatives, **options)
        return [ranking.ranks.values.tolist(), ranking.top_items.tolist(), ranking.sampled["sampled"].values.tolist()]

    expected = ranks(make_model(tokenizer, MODELS[name]))
    with FakeDevice():
        assert ranks(to_device(make_model(tokenizer, MODELS[name]))) == expected


@pytest.mark.parametrize("name", ["masked", "time-aware"])
def test_the_pipeline_runs_on_the_device(name, tokenizer, monkeypatch):
    requests = [["Toy Story", "Seven"], [10, 13, 16]]

    def answers(on_device: bool) -> list:
        model = make_model(tokenizer, MODELS[name])
        pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation", device="cpu")
        if on_device:
            to_device(pipe.model)
            pipe.device = pipe.item_embeddings.device = DEVICE
        answers = [*pipe(requests, top_k=3), pipe(requests[0], top_k=2, explain=True, diversity=0.3)]
        answers.append(pipe(requests[0], top_k=2, genres=["Drama"], exclude=[10], popularity_penalty=0.5))
        movies = [movie for answer in [*answers, pipe.similar(10, top_k=2)] for movie in answer]
        tensors = [pipe.embed_users(requests), pipe.embed_items(), pipe.item_biases()]
        return [[movie["title"] for movie in movies], tensors]

    expected = answers(on_device=False)
    monkeypatch.setattr(MovieRecommendationPipeline, "device_placement", lambda pipe: nullcontext())
    with FakeDevice():
        titles, tensors = answers(on_device=True)
    assert titles == expected[0]
    torch.testing.assert_close(tensors, expected[1])


def test_averaged_weights_are_on_the_device(model):
    with FakeDevice():
        trained = to_device(model)
        average = WeightAverage(trained, 0.9)
        for _ in range(2):
            with torch.no_grad():
                trained.head.dense.bias.add_(1.0)
            average.update_parameters(trained)
        averaged = dict(average.module.named_parameters())["head.dense.bias"]
        # The second call moves by 1 - min(0.9, 2/11).
        expected = trained.head.dense.bias - 2 / 11
        assert torch.allclose(averaged, expected)


def test_a_tensor_of_the_cpu_is_refused():
    with FakeDevice():
        on_device = torch.ones(2, device=DEVICE)
        assert (on_device + 1).device == DEVICE
        with pytest.raises(RuntimeError, match="on the CPU"):
            on_device + torch.ones(2)
