"""A hundred histories get the same movies from torch, both ONNX files, JavaScript in Node and a browser, and HTTP."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.browser import browse
from hf_bert4rec.hub.space import stage_space
from tests.model.tiny import ids_of

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tests.hub.exported_onnx import NUM_HISTORIES, load_pipeline, make_onnx_folder, requests
from tests.hub.node import NEEDS_NODE, run
from tests.hub.page import NEEDS_BROWSER
from tests.hub.test_handler import endpoint, post

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.* movies requested")]
FLOAT32, INT8 = "model.onnx", "model_quantized.onnx"
INT8_KEEPS = 0.95  # of torch's movies, at least
Answers = list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_onnx_folder(tmp_path_factory.mktemp("onnx") / "model")


@pytest.fixture(scope="module")
def by_torch(folder) -> Answers:
    return load_pipeline(folder)(requests())


@pytest.fixture(scope="module")
def by_int8(folder) -> Answers:
    return load_pipeline(folder, backend="onnx", onnx_file=INT8)(requests())


def by_node(folder: Path, file: str, tmp_path: Path) -> Answers:
    return run(folder, file, requests=requests())["recommended"]


def by_browser(folder: Path, file: str, tmp_path: Path) -> Answers:
    stage_space(folder, tmp_path / "space", "someone/small")
    shutil.copy(folder / "onnx" / file, tmp_path / "space" / "onnx")
    with browse(tmp_path) as page:
        page.open("space", 1280)
        return page.recommend(requests(), file)


def by_handler(folder: Path, file: str, tmp_path: Path) -> Answers:
    with endpoint(folder) as address:
        status, answers = post(address, {"inputs": requests()})
    assert status == 200
    return answers


def by_onnx(folder: Path, file: str, tmp_path: Path) -> Answers:
    return load_pipeline(folder, backend="onnx", onnx_file=file)(requests())


SURFACES = [
    pytest.param(by_onnx, FLOAT32, id="onnx"),
    pytest.param(by_handler, FLOAT32, id="handler"),
    pytest.param(by_node, FLOAT32, id="node", marks=NEEDS_NODE),
    pytest.param(by_node, INT8, id="node int8", marks=NEEDS_NODE),
    pytest.param(by_browser, FLOAT32, id="browser", marks=NEEDS_BROWSER),
    pytest.param(by_browser, INT8, id="browser int8", marks=NEEDS_BROWSER),
]


@pytest.mark.parametrize(("surface", "file"), SURFACES)
def test_the_same_movies_in_the_same_order(folder, by_torch, by_int8, surface, file, tmp_path):
    """Scores differ by float32's rounding, and that of 16-bit factors of taste in JavaScript."""
    answers, expected = surface(folder, file, tmp_path), by_int8 if file == INT8 else by_torch
    assert len(answers) == len(expected) == NUM_HISTORIES
    for answer, movies in zip(answers, expected, strict=True):
        assert [movie.get("movie_id", movie.get("id")) for movie in answer] == ids_of(movies)
        assert [movie["source"] for movie in answer] == [movie["source"] for movie in movies]
        assert np.allclose([movie["score"] for movie in answer], [movie["score"] for movie in movies], rtol=3e-4)


def test_int8_weights_keep_nearly_all_movies(by_torch, by_int8):
    shares = [
        len({movie["movie_id"] for movie in answer} & {movie["movie_id"] for movie in movies}) / max(1, len(movies))
        for answer, movies in zip(by_int8, by_torch, strict=True)
        if movies
    ]
    assert np.mean(shares) >= INT8_KEEPS
