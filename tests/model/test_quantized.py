"""Quantized and offloaded models give the answers of the original through the pipeline."""

import copy

import pytest
import torch

from hf_bert4rec import Bert4RecForMaskedLM, MovieRecommendationPipeline
from tests.conftest import NUM_MOVIES
from tests.model.tiny import build, ids_of, needs_transformers, tiny_config

HISTORY = [10, 13]


def pipeline_of(model, tokenizer):
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def assert_answers_alike(changed, pipe, tolerance):
    """Every way to ask `changed` gives what `pipe` gives, up to a relative tolerance of scores and embeddings."""
    expected = {movie["movie_id"]: movie["score"] for movie in pipe(HISTORY, top_k=NUM_MOVIES - 2)}
    for movie in changed(HISTORY, top_k=NUM_MOVIES - 2):
        assert movie["score"] == pytest.approx(expected[movie["movie_id"]], rel=tolerance)
    assert len(changed(HISTORY, diversity=0.5, explain=True)) == 10
    scale = tolerance * pipe.embed_items().abs().max()
    torch.testing.assert_close(changed.embed_items(), pipe.embed_items(), atol=scale, rtol=0)
    torch.testing.assert_close(changed.item_biases(), pipe.item_biases(), atol=1e-6, rtol=0)
    assert set(ids_of(changed.similar(10, top_k=39))) == set(ids_of(pipe.similar(10, top_k=39)))


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def pipe(request, tokenizer):
    model = build(tiny_config(tie_word_embeddings=request.param))
    with torch.no_grad():
        model.decoder.bias.normal_()
    return pipeline_of(model, tokenizer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_linear_layers_quantized_by_torch_answer(pipe, tokenizer):
    model = torch.ao.quantization.quantize_dynamic(copy.deepcopy(pipe.model), {torch.nn.Linear}, dtype=torch.qint8)
    assert not isinstance(model.decoder.weight, torch.Tensor)  # a method of a quantized layer
    assert_answers_alike(pipeline_of(model, tokenizer), pipe, 0.4)


@pytest.mark.parametrize("layers", [(torch.nn.Linear,), (torch.nn.Linear, torch.nn.Embedding)])
def test_layers_quantized_by_torchao_answer(pipe, tokenizer, layers):
    quantization = pytest.importorskip("torchao.quantization")
    model = copy.deepcopy(pipe.model)
    quantization.quantize_(
        model, quantization.Int8WeightOnlyConfig(), filter_fn=lambda module, name: isinstance(module, layers)
    )
    assert_answers_alike(pipeline_of(model, tokenizer), pipe, 0.2)


@needs_transformers(5, 23, reason="older versions do not find tied weights that are offloaded")
@pytest.mark.parametrize("offloaded", [("head",), ("bert4rec", "decoder")], ids=" and ".join)
def test_layers_offloaded_to_disk_answer(pipe, tokenizer, offloaded, tmp_path):
    pytest.importorskip("accelerate")
    pipe.model.save_pretrained(tmp_path)
    device_map = dict.fromkeys({"bert4rec", "head", "decoder"} - set(offloaded), "cpu")
    device_map |= dict.fromkeys(offloaded, "disk")  # a pipeline takes the first entry for its device
    model = Bert4RecForMaskedLM.from_pretrained(tmp_path, device_map=device_map, offload_folder=tmp_path / "offload")
    assert any(parameter.is_meta for parameter in model.parameters())
    assert_answers_alike(pipeline_of(model, tokenizer), pipe, 1e-4)


@pytest.mark.parametrize("offload", ["cpu", "disk"])
def test_a_model_offloaded_as_a_whole_answers(pipe, tokenizer, offload, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = copy.deepcopy(pipe.model)
    model = accelerate.cpu_offload(model) if offload == "cpu" else accelerate.disk_offload(model, tmp_path)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert_answers_alike(pipeline_of(model, tokenizer), pipe, 1e-4)
