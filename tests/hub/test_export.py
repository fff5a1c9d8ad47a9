"""Exported folders load without this package installed, and are written completely or not at all."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.cli import demo
from hf_bert4rec.cli.export_onnx import export_onnx
from hf_bert4rec.hub import export as hub
from hf_bert4rec.hub.verify import BrokenExportError, check_folder, check_same_answer, check_taste_file
from hf_bert4rec.model.pipeline_bert4rec import TASK


def test_a_folder_holds_what_it_needs_and_no_pickle(pipe, tmp_path):
    folder = tmp_path / "exported"
    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# A card", {"training.json": {"a": 1}})
    names = {path.name for path in folder.iterdir()}
    code = {path.name for path in (Path(hub.__file__).parents[1] / "model").glob("*_bert4rec.py")}
    assert names == code | {
        "handler.py",
        "requirements.txt",
        "README.md",
        "config.json",
        "items.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForMaskedLM"}
    assert set(config["custom_pipelines"]) == {"movie-recommendation", "item-recommendation"}


@pytest.mark.slow
def test_only_an_earlier_export_is_replaced(pipe, tmp_path):
    folder = tmp_path / "exported"
    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# First", {"old.json": {}})
    hub.export(pipe.model, pipe.tokenizer, folder, "# Second")
    assert (folder / "README.md").read_text() == "# Second"
    assert not (folder / "old.json").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="thesis holds something that is not an exported recommender"):
        hub.export(pipe.model, pipe.tokenizer, other, "# A card")
    assert [path.name for path in other.iterdir()] == ["chapter.txt"]


def test_an_export_whose_weights_are_mapped_is_replaced(pipe, tmp_path, monkeypatch):
    """Windows renames its folder, but does not remove the weights."""
    folder, unlink = tmp_path / "exported", os.unlink

    def refuse(path, **options):
        if os.fspath(path).endswith("model.safetensors"):
            raise PermissionError(5, "Access is denied", path)
        unlink(path, **options)

    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# First")
    monkeypatch.setattr(hub, "check_folder", lambda *_: None)
    monkeypatch.setattr(os, "unlink", refuse)
    hub.export(pipe.model, pipe.tokenizer, folder, "# Second")
    assert (folder / "README.md").read_text() == "# Second"


def test_a_failed_export_leaves_the_earlier_one(pipe, tmp_path, monkeypatch):
    folder = tmp_path / "exported"
    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# First")
    with pytest.raises(ValueError, match="nan"):
        hub.export(pipe.model, pipe.tokenizer, folder, "# Second", {"training.json": {"loss": float("nan")}})
    assert (folder / "README.md").read_text() == "# First"
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


@pytest.mark.slow
def test_weights_of_more_layers_are_detected(pipe, tmp_path):
    folder = tmp_path / "exported"
    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# A card")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": config["num_hidden_layers"] - 1}))
    with pytest.raises(BrokenExportError, match=r"do not match config.json \(unexpected keys: bert4rec.layers.1"):
        check_folder(folder, pipe)


def test_another_ranking_is_detected(pipe, tmp_path):
    answer = pipe([10], top_k=5)
    check_same_answer(tmp_path, [10], answer, answer)
    swapped, nudged = (
        [answer[1], answer[0], *answer[2:]],
        [{**answer[0], "score": answer[0]["score"] + 1e-4}, *answer[1:]],
    )
    for changed in (swapped, nudged, answer[:4], []):
        with pytest.raises(BrokenExportError, match=r"answers \[10\] with .*the original with .* nothing was sent"):
            check_same_answer(tmp_path, [10], changed, answer)


@pytest.mark.slow
def test_an_onnx_file_of_earlier_weights_is_detected(pipe, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "exported"
    hub.write_folder(pipe.model, pipe.tokenizer, folder, "# A card")
    export_onnx(folder)
    check_folder(folder, pipe)
    with torch.no_grad():
        pipe.model.decoder.bias += torch.linspace(0, 1, len(pipe.tokenizer))
    hub.write_folder(pipe.model, pipe.tokenizer, tmp_path / "later", "# A card")
    shutil.copytree(folder / "onnx", tmp_path / "later" / "onnx")
    message = r"model\.onnx gives other logits than the model"
    with pytest.raises(ValueError, match=message):
        check_folder(tmp_path / "later", pipe)
    with pytest.raises(ValueError, match=message):
        demo.main([str(tmp_path / "later")])


@pytest.mark.parametrize("changed", ["shares", "log_popularity"])
def test_a_taste_file_of_an_earlier_model_is_detected(config, tokenizer, changed, tmp_path):
    onnx_export = pytest.importorskip("hf_bert4rec.hub.onnx_export")
    options = {**config.to_dict(), "taste_size": 4, "taste_popularity_penalty": 0.4}
    model = Bert4RecForMaskedLM(Bert4RecConfig(**options)).eval()
    for table in model.taste.buffers():
        table.uniform_()
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK)
    path = tmp_path / "taste.safetensors"
    check_taste_file(path, pipe)
    tables = onnx_export.pack_taste(model.taste, tokenizer.first_item_id)
    save_file(tables, path)
    check_taste_file(path, pipe)
    products = tables["factors"] * tables["scales"][:, None]
    assert np.allclose(products, model.taste.factors[tokenizer.first_item_id :], atol=1e-4)
    model.taste.get_buffer(changed)[-1] += 0.1
    with pytest.raises(ValueError, match=r"taste\.safetensors is of another model of taste: export the model again"):
        check_taste_file(path, pipe)
