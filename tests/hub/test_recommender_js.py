"""The JavaScript module of the Space gives the pipeline's answers, on onnxruntime-node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hf_bert4rec.hub.space import SPACE_FOLDER

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tests.hub.exported_onnx import assert_same_ranking, load_pipeline, make_onnx_folder, requests

ROOT = Path(__file__).resolve().parents[2]
ONNXRUNTIME = ROOT / ".node" / "node_modules" / "onnxruntime-node" / "dist" / "index.js"
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        NODE is None or not ONNXRUNTIME.is_file(),
        reason="no Node or no onnxruntime-node: install Node, then run .ci/node.sh",
    ),
    pytest.mark.filterwarnings("ignore:.* movies requested"),
]
QUERIES = ["the god", "GODFATHER THE", "amelie", "1995", "movie 1", "zzz", "  "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_onnx_folder(tmp_path_factory.mktemp("onnx") / "model")


def run(folder: Path, file: str = "model_quantized.onnx", **request: Any) -> dict[str, Any]:
    """Answers of Node, or its error."""
    assert NODE
    request = {"file": file, "requests": [], "explained": [], "queries": [], "invalid": [], **request}
    script = Path(__file__).with_name("recommend.mjs")
    done = subprocess.run(
        [NODE, str(script), str(SPACE_FOLDER / "recommender.js"), str(ONNXRUNTIME), str(folder)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", ["model.onnx", "model_quantized.onnx"])
def test_a_hundred_histories_are_ranked_as_by_the_pipeline(folder, file):
    answers = run(folder, file, requests=requests())
    on_onnx = load_pipeline(folder, backend="onnx", onnx_file=file)
    assert_same_ranking(answers["recommended"], [on_onnx(request) for request in requests()])
    if file == "model.onnx":
        on_torch = load_pipeline(folder)
        assert_same_ranking(answers["recommended"], [on_torch(request) for request in requests()])


def test_seen_movies_are_recommended_again_if_the_configuration_says_so(folder, tmp_path):
    again = shutil.copytree(folder, tmp_path / "again")
    config = json.loads((again / "config.json").read_text(encoding="utf-8"))
    (again / "config.json").write_text(json.dumps({**config, "exclude_seen": False}), encoding="utf-8")
    request = {"history": [10, 13, 16], "topK": 40}
    [movies] = run(again, requests=[request])["recommended"]
    assert {10, 13, 16} < {movie["id"] for movie in movies}
    [movies] = run(folder, requests=[request])["recommended"]
    assert len(movies) == 37


def test_explanations_are_those_of_the_pipeline(folder):
    on_onnx = load_pipeline(folder, backend="onnx", onnx_file="model_quantized.onnx")
    histories = [[10], [10, 13, 16, 13], on_onnx.tokenizer.item_ids[:20]]  # one repeats a movie, one exceeds the window
    expected = [on_onnx(history, top_k=3, explain=True) for history in histories]
    movies = [[movie["movie_id"] for movie in answer] for answer in expected]
    explained = run(folder, explained=list(zip(histories, movies, strict=True)))["explained"]
    for answer, reasons in zip(expected, explained, strict=True):
        for movie, because in zip(answer, reasons, strict=True):
            assert [reason["id"] for reason in because] == [reason["movie_id"] for reason in movie["because"]]
            contributions = [reason["contribution"] for reason in movie["because"]]
            assert [reason["contribution"] for reason in because] == pytest.approx(contributions, abs=1e-4)


def test_titles_are_found_in_any_case_and_by_any_of_their_words(folder):
    found = dict(zip(QUERIES, run(folder, queries=QUERIES)["found"], strict=True))
    assert found["the god"] == found["GODFATHER THE"] == ["The Godfather"]
    assert found["amelie"] == ["Amélie"]
    assert found["1995"] == ["Movie 35", "Seven (a.k.a. Se7en)", "Sabrina", "Toy Story"]  # popular ones first
    assert found["movie 1"] == [f"Movie {number}" for number in range(19, 11, -1)]
    assert found["zzz"] == found["  "] == []


def test_bad_requests_are_refused_by_name(folder):
    invalid = [
        [[10, 999], {}],
        ["Toy Story", {}],
        [[10], {"years": [2000, 1990]}],
        [[10], {"timestamps": [1, 2]}],
    ]
    assert run(folder, invalid=invalid)["refused"] == [
        "RangeError: 999 is not in the catalogue",
        "TypeError: a history is a list of ids, not Toy Story",
        "RangeError: the first year, 2000, comes after the last, 1990: swap them",
        "RangeError: 2 timestamps for a history of 1: give one each",
    ]


def test_a_damaged_file_is_named(folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "onnx" / "model_quantized.onnx").write_bytes(b"not a model")
    assert run(copy)["error"].startswith("onnx/model_quantized.onnx is damaged, or not a model for this onnxruntime (")
    shutil.copy(folder / "onnx" / "model_quantized.onnx", copy / "onnx" / "model_quantized.onnx")
    (copy / "items.json").write_text("{")
    assert run(copy)["error"].startswith("items.json is not valid JSON (")
