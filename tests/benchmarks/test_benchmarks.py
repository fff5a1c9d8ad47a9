"""Every benchmark runs from start to end on tiny sizes, and its result is a table; the figures mean nothing here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    data_preparation,
    large_catalogue,
    scaling,
    scaling_curves,
    serving,
    step_profile,
    table,
    training_step,
)
from benchmarks.histories import made_up
from benchmarks.measure import QUIET, interleaved, load_of_machine, peak_megabytes, ratio_row, row, spread


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
    for name in ("at every place", "all at once", "in chunks", "sampled"):
        assert found[f"300 items, {name}, a step"] > 0
    assert found["2,000 items, in chunks, NDCG@10"] > 0.5
    assert found["2,000 items, sampled, NDCG@10"] > 0.5


@pytest.mark.slow
def test_the_step_profile_is_shared_out(tmp_path):
    sizes = ["--widths", "32", "--length", "16", "--batch", "4", "--steps", "2", "--users", "40"]
    step_profile.main([*sizes, "--repeats", "2", "--results", str(tmp_path)])
    shares = {row["name"]: row["median"] for row in read(tmp_path / "step_profile.json")["rows"]}
    assert shares["width 32, matrix products"] > 0
    assert shares["width 32, data"] > 0
    assert 90 < sum(shares.values()) < 110  # medians need not add up to all


@pytest.mark.slow
def test_growth_is_measured_along_every_size_and_drawn(tmp_path):
    scaling_curves.main(["--repeats", "2", "--doublings", "1", "--scale", "0.05", "--results", str(tmp_path)])
    result = read(tmp_path / "scaling_curves.json")
    assert {(curve["work"], curve["axis"]) for curve in result["curves"]} == {
        (work, axis) for work in scaling_curves.STARTS for axis in scaling_curves.AXES
    }
    assert [len(curve["points"]) for curve in result["curves"]] == [2] * 12
    table.main(["--results", str(tmp_path)])
    assert (tmp_path / "scaling_curves.png").read_bytes().startswith(b"\x89PNG")
    assert "(scaling_curves.png)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_power_is_the_slope_between_logarithms():
    points = [{"size": size, "seconds": [size**2.0, 5.0], "megabytes": [0.0, 0.5]} for size in (1, 2, 4)]
    assert scaling_curves.powers(points, "seconds") == pytest.approx([2, 0])
    assert scaling_curves.powers(points, "megabytes") == pytest.approx([0, 0])


@pytest.mark.slow
def test_two_processes_are_measured_beside_one(tmp_path):
    sizes = ["--width", "32", "--length", "16", "--batch", "8", "--steps", "4", "--users", "60"]
    scaling.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    found = {row["name"]: row["median"] for row in read(tmp_path / "scaling.json")["rows"]}
    assert found["two processes, one thread each"] > 0
    assert found["two processes, one thread each : one process, one thread"] > 0


@pytest.mark.slow
def test_the_data_preparation_and_pandas_hold_the_same_movies_out(tmp_path, capsys, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    data_preparation.main(["--rows", "5000", "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "data_preparation.json")
    assert result["missing"] == dict.fromkeys(
        ["RecTools to splits", "RecTools Dataset.construct alone"], "not installed, run `make bench-peers`"
    )
    result["load_before"], result["missing"] = 0.5, {"a peer": "not installed"}
    (tmp_path / "data_preparation.json").write_text(json.dumps(result), encoding="utf-8")
    table.main(["--results", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "**The machine was busy** (50% of its cores before the run)" in printed
    assert "| pandas : hf_bert4rec, seconds |" in printed
    assert "| a peer | missing: not installed | | | | |" in printed


def test_a_machine_is_busy_while_others_work_on_it():
    assert 0 <= load_of_machine() <= 1
    cores = os.cpu_count() or 1
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        assert load_of_machine() > QUIET
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_made_up_histories_have_every_item_and_none_twice():
    table = made_up(users=50, items=200, median=20)
    assert table.select("user_id", "movie_id").is_unique().all()
    assert table["movie_id"].value_counts()["count"].min() >= 5
    assert table["movie_id"].n_unique() == 200


def test_the_page_gets_what_has_a_target_and_what_is_missing(tmp_path):
    rows = [
        row("a", "s", [1.0, 3.0], at_most=1),
        row("b", "×", [7.0], at_least=10, lower_bound=True),
        row("c", "s", [1]),
    ]
    result = {"benchmark": "peers_quality", "rows": rows, "missing": {"d": "said no"}, "load_before": 0.1, "peers": {}}
    result |= {"machine": "2 cores", "environment": {"versions": {"torch": "2"}, "date": "2026-01-02T03"}}
    (tmp_path / "peers_quality.json").write_text(json.dumps(result), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\nold\n".join(table.MARKS) + "\nafter\n", encoding="utf-8")
    for _ in range(2):
        table.main(["--results", str(tmp_path), "--page", str(page)])
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "| Peers quality: a | 2 | 1.5 … 2.5 | s | ≤ 1 s | not met |" in lines
    assert "| Peers quality: b | > 7 |  | × | ≥ 10 × | not known |" in lines
    assert "| Peers quality: d | missing: said no | | | | |" in lines
    assert not any("Peers quality: c" in line or line == "old" for line in lines)
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for the table"):
        table.main(["--results", str(tmp_path), "--page", str(page)])


def test_the_tables_of_this_repository_are_those_of_its_results(tmp_path):
    results = Path(shutil.copytree(table.RESULTS, tmp_path / "results"))
    page = Path(shutil.copy(table.PAGE, tmp_path / "page.md"))
    table.main(["--results", str(results), "--page", str(page)])
    assert page.read_text() == table.PAGE.read_text(), "run `make bench-table`"
    assert (results / "README.md").read_text() == (table.RESULTS / "README.md").read_text()


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
