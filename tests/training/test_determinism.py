"""One seed gives bit-identical weights, for any number of workers and in every process; and parts of `make stress`."""

from __future__ import annotations

import pytest
import torch

from tests.stress import endurance, models, request_fuzz, training_kills
from tests.stress.workloads import tiny_trainer


def weights(folder, **options) -> dict[str, torch.Tensor]:
    quiet = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = tiny_trainer(folder, epochs=2, **quiet, **options)
    trainer.train()
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_seed_determines_the_weights(tmp_path):
    expected = weights(tmp_path, seed=1)
    torch.rand(7)  # earlier draws do not change the result
    assert same(weights(tmp_path, seed=1), expected)
    assert not same(weights(tmp_path, seed=2), expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_change_the_weights(tmp_path, workers):
    assert same(weights(tmp_path, dataloader_num_workers=workers), weights(tmp_path))


@pytest.mark.slow
def test_two_runs_end_with_the_same_weights(tmp_path):
    assert training_kills.uninterrupted_weights(tmp_path / "one") == training_kills.uninterrupted_weights(
        tmp_path / "other"
    )


def test_random_requests_are_answered_or_refused():
    pipe, chance = request_fuzz.tiny_pipeline(), models.random.Random(5)
    outcomes = {request_fuzz.outcome(pipe, request_fuzz.random_request(chance)) for _ in range(300)}
    assert outcomes == {"answered", "refused"}


def test_fifty_concurrent_callers_get_the_same_answers(tmp_path):
    result = request_fuzz.concurrent(request_fuzz.tiny_pipeline(), 400)
    assert (result["threads"], result["requests"]) == (50, 400)


def test_the_slope_of_memory_is_fitted_to_the_readings():
    flat = endurance.slope([1000 * 1024] * 50)
    assert (flat["steps"], flat["kib_per_thousand_steps"]) == (5000, 0.0)
    assert endurance.slope([1024 * reading for reading in range(50)])["kib_per_thousand_steps"] == pytest.approx(10)
