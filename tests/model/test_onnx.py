"""The ONNX file scores as torch does, and onnxruntime is needed for it only."""

import copy
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.model.versions_bert4rec import INSTALLED_VERSIONS
from tests.conftest import MOVIES
from tests.model.tiny import KINDS, VOCAB, assert_same_answer, build, ids_of, tiny_config
from tests.processes import run_python

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hf_bert4rec.hub.onnx_export import check_against_torch, describe, export_onnx  # noqa: E402
from hf_bert4rec.hub.onnx_quantization import quantize  # noqa: E402
from hf_bert4rec.model.onnx_bert4rec import OnnxScorer  # noqa: E402

ISOLATED_LOADER = """
import json, sys
sys.modules["hf_bert4rec"] = sys.modules["onnxruntime"] = None  # importing them raises ImportError from here on
from transformers import pipeline
pipe = pipeline("movie-recommendation", model=sys.argv[1], trust_remote_code=True)
answer = pipe([10, 13], top_k=3)
try:
    pipeline("movie-recommendation", model=sys.argv[1], trust_remote_code=True, backend="onnx")
except ImportError as error:
    message = str(error)
sys.stdout.write("\\n" + json.dumps([[movie["movie_id"] for movie in answer], message]))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A small model's folder with its ONNX file; read only."""
    model = build(tiny_config(num_hidden_layers=1, rotary_positions=True, previous_item=True, pre_layer_norm=True))
    folder = tmp_path_factory.mktemp("onnx") / "model"
    write_folder(model, Bert4RecTokenizer.from_movies(MOVIES), folder, "# A card")
    export_onnx(folder)
    return folder


def test_a_model_without_a_weight_is_not_exported(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model", ignore=shutil.ignore_patterns("onnx"))
    weights = load_file(folder / "model.safetensors")
    del weights["bert4rec.layers.0.attention.key.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="the weights lack bert4rec"):
        export_onnx(folder)
    assert not (folder / "onnx").exists()


def load(folder, **options):
    return pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline, device="cpu", **options)


@pytest.mark.slow
def test_both_backends_give_the_same_answers(exported):
    histories = [[10], MOVIES["movie_id"][:20], [10, 13, "Amelie"], []]
    options = {"top_k": 10, "explain": True, "genres": ["Drama", "Romance"]}
    on_torch, on_onnx = load(exported), load(exported, backend="onnx")
    for history in histories[:-1]:
        expected, actual = on_torch(history, **options), on_onnx(history, **options)
        assert_same_answer(actual, expected, abs=1e-4)
        assert [len(movie["because"]) for movie in actual] == [len(movie["because"]) for movie in expected]
    for single, batched in zip(map(on_onnx, histories[:-1]), on_onnx(histories[:-1], batch_size=3), strict=True):
        assert ids_of(batched) == ids_of(single)


@pytest.mark.slow
def test_size_and_latency_are_reported_and_a_wrong_file_is_refused(exported, tokenizer):
    lines = describe(exported, export_onnx(exported))
    assert "MB; the ten best movies are torch's" in lines[0]
    assert "model_quantized.onnx: 0.0 MB; 9.8 of the ten best" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["1", "7", "64"]
    model = Bert4RecForMaskedLM.from_pretrained(exported).eval()
    with torch.no_grad():
        model.head.dense.weight.mul_(2)
    with pytest.raises(ValueError, match="the ONNX file differs from torch"):
        check_against_torch(OnnxScorer(exported / "onnx" / "model.onnx", model.config), model, tokenizer)


@pytest.mark.slow
def test_bad_requests_for_onnx_are_named(exported, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(exported, bare, ignore=shutil.ignore_patterns("onnx"))
    with pytest.raises(
        FileNotFoundError, match=r"has no onnx/model.onnx: `hf-bert4rec export-onnx .*` writes model.onnx and "
    ):
        load(bare, backend="onnx")
    with pytest.raises(ValueError, match="backend is 'jax'; it is 'torch' or 'onnx'"):
        load(bare, backend="jax")
    with pytest.raises(ValueError, match=r"scores 43 entries and the model 44: export the model again"):
        OnnxScorer(exported / "onnx" / "model.onnx", Bert4RecConfig(vocab_size=44))
    with pytest.raises(ValueError, match="an ONNX file cannot grow"):
        load(exported, backend="onnx").add_items({"movie_id": [1]})


@pytest.mark.slow
def test_a_file_of_earlier_weights_is_refused(exported, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    model = Bert4RecForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        model.head.dense.weight.mul_(1.05)
    model.save_pretrained(folder)
    with pytest.raises(
        ValueError, match=r"model\.onnx gives other logits than the model, by up to .*if the model changed after it was"
    ):
        load(folder, backend="onnx")
    assert load(exported, backend="onnx", dtype=torch.bfloat16).onnx_scorer is not None


@pytest.mark.slow
def test_onnxruntime_is_needed_for_the_onnx_backend_only(exported, tmp_path):
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""}
    output = run_python("-c", ISOLATED_LOADER, str(exported), cwd=tmp_path, env=environment)
    movies, message = json.loads(output.rsplit("\n", 1)[-1])
    assert movies == ids_of(load(exported)([10, 13], top_k=3))
    assert message == 'backend="onnx" needs onnxruntime: pip install onnxruntime'


@pytest.mark.slow
def test_the_quantized_file_ranks_nearly_the_same(exported):
    on_int8 = load(exported, backend="onnx", onnx_file="model_quantized.onnx")
    on_torch = load(exported)
    for history in ([10], [10, 13, 16], MOVIES["movie_id"][:20]):
        log_scores = {
            movie["movie_id"]: math.log(movie["score"]) for movie in on_torch(history, exclude_seen=False, top_k=40)
        }
        for movie in on_int8(history, top_k=20):
            assert math.log(movie["score"]) == pytest.approx(log_scores[movie["movie_id"]], abs=0.25)
    wrong = Bert4RecForMaskedLM.from_pretrained(exported).eval()
    with torch.no_grad():
        wrong.decoder.bias += 1.2
    with pytest.raises(ValueError, match=r"differs from torch by .* in a logit; at most 1 is allowed"):
        check_against_torch(on_int8.onnx_scorer, wrong, on_torch.tokenizer, quantized=True)


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
def test_a_file_whose_scores_are_undefined_for_some_histories_is_refused(exported, tokenizer, quantized):
    pipe = load(exported, backend="onnx")

    def scorer(**batch):
        return pipe.onnx_scorer(**batch) * (1.0 if len(batch["input_ids"]) == 1 else math.nan)

    with pytest.raises(ValueError, match="differs from torch by nan in a"):
        check_against_torch(scorer, pipe.model, tokenizer, quantized)


def test_int8_weights_are_the_nearest_multiples_of_their_scales(tmp_path):
    """A scale of 2 for the first row and 0.01 for the second: one per column would round the second row to zero."""
    weight = np.zeros((2, 128), np.float32)
    weight[0, :3], weight[1, :3] = [254, -4, 100], [1.27, 0.504, -0.013]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 128])],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert stored["weight_packed"].dtype == np.int8
    assert stored["weight_packed"][:, :3].tolist() == [[127, -2, 50], [127, 50, -1]]
    assert np.allclose(stored["weight_scales"], [[2], [0.01]])
    (product,) = onnxruntime.InferenceSession(tmp_path / "b.onnx").run(None, {"x": np.eye(2, dtype=np.float32)})
    assert np.allclose(product[:, :3], [[254, -4, 100], [1.27, 0.5, -0.01]])


@pytest.mark.slow
def test_the_folder_is_laid_out_as_transformers_js_expects(exported):
    assert {path.name for path in (exported / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}
    assert json.loads((exported / "config.json").read_text())["transformers.js_config"] == {"dtype": "q8"}
    assert load(exported)([10], top_k=1)  # the new entry does not disturb transformers


@pytest.fixture(scope="module")
def converted(exported, tmp_path_factory) -> Path:
    """The same folder with a third file, quantized by onnxruntime."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = tmp_path_factory.mktemp("converted") / "model"
    shutil.copytree(exported, folder)
    onnx_folder = folder / "onnx"
    quantize_dynamic(onnx_folder / "model.onnx", onnx_folder / "model_int8.onnx", weight_type=QuantType.QInt8)
    return folder


@pytest.mark.slow
def test_a_converted_file_is_chosen_by_name_and_tolerance(converted):
    with pytest.raises(ValueError, match=r"model_int8\.onnx gives other logits .* give a larger onnx_tolerance"):
        load(converted, backend="onnx", onnx_file="model_int8.onnx")
    on_int8 = load(converted, backend="onnx", onnx_file="model_int8.onnx", onnx_tolerance=2.0)
    scores = {movie["movie_id"]: movie["score"] for movie in load(converted)([10], top_k=39)}
    for movie in on_int8([10], top_k=39):
        assert movie["score"] == pytest.approx(scores[movie["movie_id"]], rel=0.5, abs=1e-3)
    with pytest.raises(ValueError, match="onnx_tolerance is -1"):
        load(converted, backend="onnx", onnx_tolerance=-1)
    with pytest.raises(ValueError, match="onnx_file and onnx_tolerance need backend='onnx'"):
        load(converted, onnx_file="model_int8.onnx")
    with pytest.raises(FileNotFoundError, match=r"has no onnx/model_fp16\.onnx"):
        load(converted, backend="onnx", onnx_file="model_fp16.onnx")


@pytest.mark.slow
def test_a_pipeline_on_onnx_can_be_copied_and_pickled(exported):
    pipe = load(exported, backend="onnx")
    for again in (copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert again.onnx_scorer.session is not pipe.onnx_scorer.session
        assert again([10, 13]) == pipe([10, 13])


@pytest.mark.slow
def test_a_history_longer_than_the_window_is_refused_by_both_backends(exported):
    pipe = load(exported, backend="onnx")
    tokens = torch.full((1, 13), 5)
    message = "a history of 13 positions exceeds the model's window of 12: keep its most recent items"
    for score in (pipe.onnx_scorer, pipe.model.next_item_logits):
        with pytest.raises(ValueError, match=message):
            score(tokens, torch.ones_like(tokens))
    padded = torch.cat([torch.zeros_like(tokens), tokens[:, :3]], 1)  # wide, but of three items
    expected = pipe.model.next_item_logits(padded, (padded > 0).long())
    assert torch.allclose(pipe.onnx_scorer(padded, (padded > 0).long()), expected, atol=1e-4)


@pytest.mark.slow
def test_the_file_describes_itself(exported):
    session = onnxruntime.InferenceSession(str(exported / "onnx" / "model.onnx"))
    assert [entry.shape for entry in session.get_inputs()] == [["batch", "length"]] * 2
    assert session.get_outputs()[0].shape == ["batch", 43]
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["window"] == "at most 12 attended positions per row"
    assert set(metadata) >= {"input_ids", "attention_mask", "logits"}
    for path in (exported / "onnx").glob("*.onnx"):  # torch adds stack traces, and a push sends no path of the machine
        assert b".py" not in path.read_bytes(), path


def model_of(options: dict) -> Bert4RecForMaskedLM:
    """A tiny model, its memory filled."""
    model = build(tiny_config(num_hidden_layers=1, memory_weight=0.5, **options))
    if model.memory is not None:
        shape = model.memory.next_items.shape
        model.memory.next_items.copy_(torch.randint(3, VOCAB, shape))
        model.memory.weights.copy_(torch.rand(shape))
    if model.config.time_aware:
        model.memory.time_bins.copy_(torch.randint(50, 60, shape))
        model.bert4rec.time_embeddings.span.copy_(torch.tensor([0, 10**7]))
    return model


INPUTS = {
    **KINDS,
    "events": {"num_events": 3},
    "causal_events": {"num_events": 3, "causal": True},
    "timed_events": {"num_events": 3, **KINDS["masked_timed"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", INPUTS.values(), ids=INPUTS)
def test_the_file_takes_every_input(options, tokenizer, rows, tmp_path):
    model, names = model_of(options), ["buy", "rent", "view"] if "num_events" in options else []
    tokenizer = Bert4RecTokenizer.from_movies(MOVIES, event_names=names, num_target_events=len(names))
    write_folder(model, tokenizer, tmp_path / "model", "# A card")
    scorer = OnnxScorer(next(iter(export_onnx(tmp_path / "model"))), model.config)
    inputs = {**rows, "event_ids": rows["input_ids"] % 3}
    inputs = {name: value for name, value in inputs.items() if names or name != "event_ids"}
    for given in (inputs, {name: rows[name] for name in ("input_ids", "attention_mask")}):
        torch.testing.assert_close(scorer(**given), model.next_item_logits(**given).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(INSTALLED_VERSIONS["torch"] < (2, 7), reason="torch 2.6 exports files of fixed sizes")
def test_tables_of_the_memory_keep_their_values_in_fewer_bytes(tmp_path):
    model = model_of({**KINDS["causal_timed"], "memory_size": 20})
    write_folder(model, Bert4RecTokenizer.from_movies(MOVIES), tmp_path / "model", "# A card")
    _, quantized = export_onnx(tmp_path / "model")
    types = {
        numpy_helper.to_array(tensor).dtype.name
        for tensor in onnx.load(quantized).graph.initializer
        if list(tensor.dims) == list(model.memory.weights.shape)
    }
    assert types == {"float16", "uint8"}
