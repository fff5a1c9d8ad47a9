"""Models in half precision: the transition memory's counts stay in float32, as they exceed the range of float16."""

from __future__ import annotations

import pytest
import torch
from transformers import pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecModel, MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.conftest import NUM_MOVIES

HISTORY = [10, 13, 16]
LARGEST_FLOAT16 = 65_504


@pytest.fixture
def busy(tokenizer) -> MovieRecommendationPipeline:
    """A model of a busy site: some transitions occurred a million times."""
    torch.manual_seed(0)
    kind = {"causal": True, "pre_layer_norm": True, "rotary_positions": True, "memory_size": 5}
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), initializer_range=0.5, **kind)).eval()
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
def test_modules_kept_in_float32_exist(kind, model_class):
    model = model_class(kind)
    modules = {name.split(".")[0] for name in model.state_dict()}
    assert model._keep_in_fp32_modules_strict == ({"memory"} & modules)
