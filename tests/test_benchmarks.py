"""Every benchmark runs from start to end on tiny sizes, and its result is a table; the figures mean nothing here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from training.benchmarks import data_room, large_catalogue, serving, table, training_step
from training.benchmarks.measure import interleaved, peak_megabytes, ratio_row, row, spread


@pytest.mark.slow
def test_serving_is_measured_feature_by_feature(model_folder, tmp_path):
    before = {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()}
    sizes = ["--repeats", "2", "--calls", "3", "--users", "70", "--length", "5"]
    serving.main([str(model_folder), *sizes, "--results", str(tmp_path)])
    assert {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()} == before
    result = read(tmp_path / "serving.json")
    told = {row["name"] for row in result["rows"]} | set(result["missing"])
    assert {"one request : its forward, p50", "one request : its forward, p99"} <= told
    assert {"batch through the pipeline : by hand", "filters", "diversity", "similar", "embed_users"} <= told
    assert {"embed_items", "explain", "add_items", "ONNX"} <= told


@pytest.mark.slow
def test_the_training_step_is_measured_in_processes_of_its_own(tmp_path):
    sizes = ["--widths", "32", "--length", "16", "--batch", "4", "--steps", "2", "--users", "40", "--products", "64"]
    training_step.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    found = {row["name"]: row["median"] for row in read(tmp_path / "training_step.json")["rows"]}
    assert found["width 32, training step"] > 0
    assert found["width 32, share of that peak"] > 0
    assert 0 <= found["width 32, padding"] < 100


@pytest.mark.slow
def test_a_large_catalogue_is_trained_on_with_every_loss(tmp_path):
    sizes = ["--items", "300", "2000", "--width", "16", "--batch", "4", "--length", "10", "--negatives", "200"]
    large_catalogue.main([*sizes, "--steps", "120", "--walked", "40", "--repeats", "1", "--results", str(tmp_path)])
    found = {row["name"]: row["median"] for row in read(tmp_path / "large_catalogue.json")["rows"]}
    for name in ("all at once", "in chunks", "sampled"):
        assert found[f"300 items, {name}, a step"] > 0
    assert found["2,000 items, in chunks, NDCG@10"] > 0.5
    assert found["2,000 items, sampled, NDCG@10"] > 0.5


@pytest.mark.slow
def test_the_data_room_and_pandas_hold_the_same_movies_out(tmp_path, capsys):
    pytest.importorskip("pandas")
    data_room.main(["--rows", "5000", "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "data_room.json")
    assert result["missing"] == {}
    result["load_before"], result["missing"] = 2.0, {"a peer": "not installed"}
    (tmp_path / "data_room.json").write_text(json.dumps(result), encoding="utf-8")
    table.main(["--results", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "**The machine was busy** (load 2.0 a core before the run)" in printed
    assert "| pandas : hf_bert4rec, seconds |" in printed
    assert "| a peer | missing: not installed | | |" in printed


def test_a_table_without_results_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make bench` first"):
        table.main(["--results", str(tmp_path)])


def test_spread_and_ratios_are_taken_repeat_by_repeat():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "lower_quartile": 1.5, "upper_quartile": 2.5, "repeats": 3}
    assert row("a", "s", [1.0])["unit"] == "s"
    assert ratio_row("a : b", [2.0, 30.0], [1.0, 10.0])["median"] == 2.5


def test_calls_take_turns_and_none_is_always_first():
    called: list[str] = []
    seconds = interleaved({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert [len(times) for times in seconds.values()] == [3, 3]


def test_peak_memory_sees_what_a_call_takes_for_a_moment():
    peak = peak_megabytes(lambda: np.ones(25_000_000 // 8).sum())
    if peak is None:
        pytest.skip("the peak cannot be reset here")
    assert 20 < peak < 60


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))
