"""Tiny models of the kinds that the common tests run on."""

import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.model.versions_bert4rec import INSTALLED_VERSIONS

VOCAB, WINDOW, HIDDEN, LAYERS, HEADS = 43, 12, 16, 2, 2
KINDS = {
    "paper": {},
    "masked": {"pre_layer_norm": True, "rotary_positions": True, "previous_item": True, "memory_size": 5},
    "masked_timed": {"pre_layer_norm": True, "previous_item": True, "memory_size": 5, "time_aware": True},
    "causal": {"pre_layer_norm": True, "rotary_positions": True, "causal": True, "memory_size": 5},
    "causal_timed": {"pre_layer_norm": True, "causal": True, "memory_size": 5, "time_aware": True},
}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def needs_transformers(*version: int, reason: str) -> pytest.MarkDecorator:
    """Skip a test with transformers older than (major, minor)."""
    return pytest.mark.skipif(INSTALLED_VERSIONS["transformers"] < version, reason=reason)


def tiny_config(vocab_size: int = VOCAB, **options) -> Bert4RecConfig:
    """A configuration of a small model whose scores differ enough for rankings to be compared."""
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 32, "max_position_embeddings": WINDOW}
    return Bert4RecConfig(**{"vocab_size": vocab_size, **sizes, "initializer_range": 0.5, **options})


def build(config, cls=Bert4RecForMaskedLM, seed=0):
    torch.manual_seed(seed)
    return cls(config).eval()


def padded_left(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inputs (batch, length) that are padded on the right with their padding on the left."""
    padding = (inputs["attention_mask"] == 0).sum(1).tolist()
    return {
        name: torch.stack([row.roll(count) for row, count in zip(rows, padding, strict=True)])
        for name, rows in inputs.items()
    }


def answers(model, inputs) -> torch.Tensor:
    """Hidden states or logits at attended positions, (positions, width)."""
    with torch.no_grad():
        return model(**inputs)[0][inputs["attention_mask"].bool()]


def ids_of(answer) -> list:
    """The ids of the movies of an answer."""
    return [movie["movie_id"] for movie in answer]


def assert_same_answer(actual, expected, **tolerance: float) -> None:
    """The same movies in the same order, with scores that differ by rounding at most."""
    assert ids_of(actual) == ids_of(expected)
    scores = [movie["score"] for movie in expected]
    assert [movie["score"] for movie in actual] == pytest.approx(scores, **(tolerance or {"abs": 1e-5}))
