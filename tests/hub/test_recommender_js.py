"""The JavaScript module of the Space gives the pipeline's answers, on onnxruntime-node."""

import json
import shutil
from pathlib import Path

import pytest

from tests.model.tiny import ids_of

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tests.hub.exported_onnx import load_pipeline, make_onnx_folder
from tests.hub.node import NEEDS_NODE, run

pytestmark = [pytest.mark.slow, NEEDS_NODE]
QUERIES = ["the god", "GODFATHER THE", "amelie", "1995", "movie 1", "seven (aka", "zzz", "  "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_onnx_folder(tmp_path_factory.mktemp("onnx") / "model")


def test_seen_movies_are_recommended_again_if_the_configuration_says_so(folder, tmp_path):
    again = shutil.copytree(folder, tmp_path / "again")
    config = json.loads((again / "config.json").read_text(encoding="utf-8"))
    (again / "config.json").write_text(json.dumps({**config, "exclude_seen": False}), encoding="utf-8")
    request = {"history": [10, 13, 16], "topK": 40}
    [movies] = run(again, requests=[request])["recommended"]
    assert {10, 13, 16} < {movie["id"] for movie in movies}
    [movies] = run(folder, requests=[request])["recommended"]
    assert len(movies) == 37


def test_ids_that_no_number_of_javascript_holds_are_texts(folder, tmp_path):
    copy, many = shutil.copytree(folder, tmp_path / "model"), 10**17
    content = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {str(int(id_) + many) if id_.isdigit() else id_: index for id_, index in vocab.items()}
    (copy / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    [expected] = run(folder, requests=[{"history": [10, 13], "topK": 38}])["recommended"]
    [movies] = run(copy, requests=[{"history": [str(many + 10), str(many + 13)], "topK": 38}])["recommended"]
    assert [movie["id"] for movie in movies] == [str(movie["id"] + many) for movie in expected]


@pytest.mark.parametrize("goal", ["next", "taste"])
def test_explanations_are_those_of_the_pipeline(folder, goal):
    on_onnx = load_pipeline(folder, backend="onnx", onnx_file="model_quantized.onnx")
    histories = [[10], [10, 13, 16, 13], on_onnx.tokenizer.item_ids[:20]]  # one repeats a movie, one exceeds the window
    expected = [on_onnx(history, top_k=3, explain=True, goal=goal) for history in histories]
    movies = [ids_of(answer) for answer in expected]
    explained_requests = [(history, ids, {"goal": goal}) for history, ids in zip(histories, movies, strict=True)]
    explained = run(folder, explained=explained_requests)["explained"]
    for answer, reasons in zip(expected, explained, strict=True):
        for movie, because in zip(answer, reasons, strict=True):
            assert [reason["id"] for reason in because] == ids_of(movie["because"])
            contributions = [reason["contribution"] for reason in movie["because"]]
            assert [reason["contribution"] for reason in because] == pytest.approx(contributions, rel=1e-3, abs=1e-4)


def test_titles_are_found_in_any_case_and_by_any_of_their_words(folder):
    found = dict(zip(QUERIES, run(folder, queries=QUERIES)["found"], strict=True))
    assert found["the god"] == found["GODFATHER THE"] == ["The Godfather"]
    assert found["amelie"] == ["Amélie"]
    assert found["1995"] == ["Movie 35", "Seven (a.k.a. Se7en)", "Sabrina", "Toy Story"]  # popular ones first
    assert found["movie 1"] == [f"Movie {number}" for number in range(19, 11, -1)]
    assert found["seven (aka"] == ["Seven (a.k.a. Se7en)"]
    assert found["zzz"] == found["  "] == []


def test_titles_are_found_with_other_numerals_and_blanks(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    items = json.loads((copy / "items.json").read_text(encoding="utf-8"))
    items["title"][:4] = ["Rocky II", "Spider-Man 2", "Godfather: Part II, The", "L.A. Confidential"]
    items["title"][4:8] = ["Twelve Monkeys", "Toy Story 2", "Wallace & Gromit: A Close Shave", "M"]
    (copy / "items.json").write_text(json.dumps(items), encoding="utf-8")
    found = {
        "rocky 2": "Rocky II",
        "spiderman 2": "Spider-Man 2",
        "godfather part 2": "The Godfather: Part II",
        "la con": "L.A. Confidential",
        "12 monkeys": "Twelve Monkeys",
        "toy story ii": "Toy Story 2",
        "wallace and gromit": "Wallace & Gromit: A Close Shave",
        "wallace & gro": "Wallace & Gromit: A Close Shave",
    }
    *answers, none, letter = run(copy, queries=[*found, "rocky 3", "m"])["found"]
    assert answers == [[title] for title in found.values()]
    assert none == []
    assert letter[0] == "M"  # of more than eight that start with it, and not the most popular


def test_bad_requests_are_refused_by_name(folder):
    invalid = [
        [[10, 999], {}],
        ["Toy Story", {}],
        [[10], {"years": [2000, 1990]}],
        [[10], {"timestamps": [1, 2]}],
        [[10], {"goal": "fun"}],
        [[10], {"topK": 0}],
        [[10], {"topK": "3"}],
        [[10], {"top_k": 3}],
        [[10], {"genres": []}],
        [[10], {"genres": ["drama", "Comdy"]}],
        [[10, 13], {"timestamps": [9e8, 8e8]}],
        [[10, 13], {"timestamps": [8e8, None], "now": 7e8}],
        [[10], {"now": 1_764_336_571_000}],
    ]
    assert run(folder, invalid=invalid)["refused"] == [
        "RangeError: 999 is not in the catalogue",
        "TypeError: a history is a list of ids, not Toy Story",
        "RangeError: the first year, 2000, comes after the last, 1990: swap them",
        "RangeError: 2 timestamps for a history of 1: give one each",
        'RangeError: goal is fun; it is "next" or "taste"',
        "RangeError: topK is 0; it must be an integer, 1 or more",
        "RangeError: topK is 3; it must be an integer, 1 or more",
        "TypeError: unknown option top_k; there are topK, goal, excludeSeen, genres, years, timestamps, now",
        "TypeError: genres is a list of at least one name, not []",
        "RangeError: no movie has the genre Comdy",
        "RangeError: second 800000000 follows 900000000: give timestamps oldest first, then now",
        "RangeError: second 700000000 follows 800000000: give timestamps oldest first, then now",
        "RangeError: a time is a number of seconds since 1970, not 1764336571000: divide milliseconds by 1000",
    ]


def test_null_is_an_option_that_is_not_given(folder):
    names = ("topK", "goal", "excludeSeen", "genres", "years", "timestamps", "now")
    plain = {"history": [10, 13, 16]}
    expected, movies = run(folder, requests=[plain, plain | dict.fromkeys(names)])["recommended"]
    assert movies == expected
    assert len(movies) == 10


def test_a_damaged_file_is_named(folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / "onnx" / "model_quantized.onnx").write_bytes(b"not a model")
    assert run(copy)["error"].startswith("onnx/model_quantized.onnx is damaged, or not a model for this onnxruntime (")
    shutil.copy(folder / "onnx" / "model_quantized.onnx", copy / "onnx" / "model_quantized.onnx")
    (copy / "items.json").write_text("{")
    assert run(copy)["error"].startswith("items.json is not valid JSON (")
