"""Every benchmark runs on tiny sizes and writes its rows; the tables are rendered from them."""

import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    catalogue_growth,
    data_parallel,
    data_preparation,
    demo_page,
    demo_pictures,
    large_catalogue,
    large_data,
    measure,
    scaling_curves,
    serve_folder,
    serving,
    step_profile,
    table,
    training_step,
)
from benchmarks.data import synthetic_interactions
from benchmarks.measure import RESULTS, cpu_load, peak_megabytes, ratio_row, row, time_interleaved
from hf_bert4rec.training import training_forward
from tests.hub.page import NEEDS_BROWSER


@pytest.fixture(autouse=True)
def _short_load_sampling(monkeypatch):
    monkeypatch.setattr(measure, "LOAD_SECONDS", 0.2)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def medians(path: Path) -> dict[str, float]:
    return {row["name"]: row["median"] for row in read(path)["rows"]}


def call_directly(call, *arguments):
    """In place of `run_in_process`: starting a process takes seconds."""
    return call(*arguments)


def serve_here(command, **options):
    """In place of the process that serves a folder."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        serve_folder.main(command[3:])
    return stdout.getvalue()


@pytest.mark.slow
def test_serving_measures_every_feature_and_leaves_the_model_unchanged(model_folder, tmp_path):
    before = {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()}
    sizes = ["--repeats", "2", "--calls", "3", "--users", "70", "--length", "5"]
    serving.main([str(model_folder), *sizes, "--results", str(tmp_path)])
    assert {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()} == before
    names = set(medians(tmp_path / "serving.json")) | set(read(tmp_path / "serving.json")["missing"])
    for level in ("p50", "p99"):
        assert f"latency {level} of one request, pipeline / forward pass" in names
    assert "batch throughput, pipeline / model and topk" in names
    features = (
        "recommend",
        "filters",
        "diversity",
        "similar",
        "embed_users",
        "embed_items",
        "explain",
        "add_items",
        "ONNX",
    )
    assert {f"latency, {feature}" for feature in features} <= names


@pytest.mark.slow
@NEEDS_BROWSER
def test_the_demo_is_measured_and_pictured(model_folder, tmp_path, monkeypatch):
    demo_page.main([str(model_folder), "--repeats", "1", "--calls", "2", "--results", str(tmp_path)])
    values = medians(tmp_path / "demo_page.json")
    names = ("size of all files", "first answer after a cold load", "next answer, goal next")
    assert all(values[f"small, 40 movies, {name}"] > 0 for name in names)
    monkeypatch.setattr(demo_pictures, "PICKED", ("casablanca",))
    demo_pictures.main([str(model_folder), "--images", str(tmp_path)])
    for name, (width, height, _) in demo_pictures.PICTURES.items():
        header = (tmp_path / name).read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        assert struct.unpack(">II", header[16:]) == (width, height)


def test_a_training_step_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(training_step, "run_in_process", call_directly)
    sizes = ["--length", "16", "--batch", "4", "--steps", "2", "--users", "40", "--matmul_size", "64"]
    training_step.main(["--hidden_sizes", "32", *sizes, "--repeats", "1", "--results", str(tmp_path)])
    values = medians(tmp_path / "training_step.json")
    assert values["hidden size 32, throughput"] > 0
    assert values["hidden size 32, share of peak matmul"] > 0
    assert 0 <= values["hidden size 32, padding"] < 100


def test_every_loss_trains_on_a_large_catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", training_forward.MAX_DENSE_LOGITS)  # restored later
    monkeypatch.setattr(large_catalogue, "run_in_process", call_directly)
    sizes = ["--items", "1000", "--hidden_size", "16", "--batch", "4", "--length", "10", "--negatives", "200"]
    large_catalogue.main([*sizes, "--steps", "150", "--chain", "40", "--repeats", "1", "--results", str(tmp_path)])
    values = medians(tmp_path / "large_catalogue.json")
    for loss in large_catalogue.LOSSES.values():
        assert values[f"1,000 items, step time, {loss}"] > 0
    assert values["1,000 items, NDCG@10, chunked logits"] > 0.5
    assert values["1,000 items, NDCG@10, sampled softmax"] > 0.5


def test_the_shares_of_a_step_profile_sum_to_one(tmp_path):
    sizes = ["--hidden_sizes", "32", "--length", "16", "--batch", "4", "--steps", "2", "--users", "40"]
    step_profile.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    shares = medians(tmp_path / "step_profile.json")
    assert shares["hidden size 32, matmul"] > 0
    assert shares["hidden size 32, data loading"] > 0
    assert sum(shares.values()) == pytest.approx(100)


def test_scaling_curves_are_measured_along_every_axis_and_drawn(tmp_path, monkeypatch):
    sizes = scaling_curves.Sizes(users=20, length=10, items=250)
    monkeypatch.setattr(scaling_curves, "START_SIZES", dict.fromkeys(scaling_curves.START_SIZES, sizes))
    scaling_curves.main(["--repeats", "1", "--doublings", "1", "--results", str(tmp_path)])
    curves = read(tmp_path / "scaling_curves.json")["curves"]
    assert {(curve["work"], curve["axis"]) for curve in curves} == {
        (work, axis) for work in scaling_curves.START_SIZES for axis in scaling_curves.AXES
    }
    assert [len(curve["points"]) for curve in curves] == [2] * 12
    table.write_tables(tmp_path, [])
    assert (tmp_path / "scaling_curves.png").read_bytes().startswith(b"\x89PNG")
    assert "(scaling_curves.png)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_an_exponent_is_the_slope_between_logarithms():
    points = [{"size": size, "seconds": [size**2.0, 5.0], "megabytes": [0.0, 0.5]} for size in (1, 2, 4)]
    assert scaling_curves.exponents(points, "seconds") == pytest.approx([2, 0])
    assert scaling_curves.exponents(points, "megabytes") == pytest.approx([0, 0])


@pytest.mark.slow
def test_two_processes_are_compared_with_one(tmp_path, monkeypatch):
    setups = {"1 process × 1 thread": (1, 1), "2 processes × 1 thread": (2, 1)}
    monkeypatch.setattr(data_parallel, "SETUPS", setups)
    sizes = ["--hidden_size", "32", "--length", "16", "--batch", "8", "--steps", "4", "--users", "60"]
    data_parallel.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    values = medians(tmp_path / "data_parallel.json")
    ratio = values["throughput, 2 processes × 1 thread"] / values["throughput, 1 process × 1 thread"]
    assert values["speed-up, 2 processes × 1 thread"] == pytest.approx(ratio)


@pytest.mark.slow
def test_data_preparation_and_pandas_produce_the_same_test_items(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    data_preparation.main(["--rows", "5000", "--repeats", "1", "--results", str(tmp_path)])  # raises if they differ
    result = read(tmp_path / "data_preparation.json")
    assert "speed-up over pandas" in [row["name"] for row in result["rows"]]
    rectools = [data_preparation.TITLES[action] for action in data_preparation.SCRIPTS]
    assert result["missing"] == dict.fromkeys(rectools, "not installed, run `make bench-peers`")


def test_cpu_load_sees_other_processes():
    assert 0 <= cpu_load() <= 1
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        assert cpu_load() > measure.MAX_LOAD
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_synthetic_interactions_have_every_item_and_no_repeats():
    interactions = synthetic_interactions(users=50, items=200, median=20)
    assert interactions.select("user_id", "movie_id").is_unique().all()
    assert interactions["movie_id"].value_counts()["count"].min() >= 5
    assert interactions["movie_id"].n_unique() == 200


@pytest.fixture
def results(tmp_path) -> Path:
    rows = [
        row("a", "s", [1.0, 3.0], at_most=1),
        row("b", "×", [7.0], at_least=10, lower_bound=True),
        row("c", "s", [1]),
    ]
    result = {"benchmark": "peers_quality", "rows": rows, "missing": {"d": "exited with 1"}, "load_before": 0.5}
    result |= {"peers": {}, "machine": "2 cores", "environment": {"versions": {"torch": "2"}, "date": "2026-01-02T03"}}
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "peers_quality.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_the_summary_has_rows_with_a_target_and_missing_ones(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\nold\n".join(table.MARKS) + "\nafter\n", encoding="utf-8")
    for _ in range(2):
        table.write_tables(results, [page])
    lines = page.read_text(encoding="utf-8").splitlines()
    title = table.TITLES["peers_quality"]
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert f"| {title}: a | 2 | 1.5 … 2.5 | s | ≤ 1 s | no |" in lines
    assert f"| {title}: b | > 7 |  | × | ≥ 10 × | unknown |" in lines
    assert f"| {title}: d | missing: exited with 1 | | | | |" in lines
    assert not any(f"{title}: c" in line or line == "old" for line in lines)
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the marks"):
        table.write_tables(results, [page])


def test_the_full_table_has_all_rows_and_warns_of_a_busy_machine(results):
    text = table.write_tables(results, [])
    assert "**The machine was busy** (50% CPU load before the run)" in text
    assert "| c | 1 |  | s |  |  |" in text
    assert text in (results / "README.md").read_text(encoding="utf-8")


def test_the_tables_of_this_repository_are_up_to_date(tmp_path):
    results = Path(shutil.copytree(table.RESULTS, tmp_path / "results"))
    copies = {path: Path(shutil.copy(path, tmp_path)) for path in table.TARGETS}
    table.write_tables(results, list(copies.values()))
    for path, copy in {**copies, table.RESULTS / "README.md": results / "README.md"}.items():
        assert copy.read_text() == path.read_text(), f"{path} is stale: run `make bench-table`"


def test_the_tables_of_single_results_are_up_to_date():
    for page, name, expected in table.parts_of_pages():
        marks = table.marks_of(name)
        text = page.read_text(encoding="utf-8").split(marks[0])[1].split(marks[1])[0]
        assert text.strip() == expected, f"{page} is stale: run `make bench-table`"


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make bench` first"):
        table.write_tables(tmp_path, [])


def test_quartiles_and_ratios_are_computed_over_repeats():
    quartiles = {"median": 2.0, "lower_quartile": 1.5, "upper_quartile": 2.5, "repeats": 3}
    assert row("a", "s", [3.0, 1.0, 2.0]) == {"name": "a", "unit": "s", **quartiles}
    assert ratio_row("a / b", [2.0, 30.0], [1.0, 10.0])["median"] == 2.5


def test_interleaved_calls_alternate_and_rotate():
    called: list[str] = []
    seconds = time_interleaved({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert [len(times) for times in seconds.values()] == [3, 3]


def test_peak_memory_includes_memory_freed_during_the_call():
    peak = peak_megabytes(lambda: np.ones(25_000_000 // 8).sum())
    assert 20 < peak < 60


def test_growing_catalogues_are_served_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_growth.subprocess, "check_output", serve_here)
    sizes = ["--items", "100", "--doublings", "1", "--calls", "2", "--repeats", "1"]
    catalogue_growth.main([*sizes, "--results", str(tmp_path)])
    values = medians(tmp_path / "catalogue_growth.json")
    assert values["200 items, load"] > 0
    assert values["200 items, recall of the best 10"] == 1
    assert {"disk vs catalogue size", "request p50 vs catalogue size"} <= set(values)
    table.write_tables(tmp_path, [])
    assert (tmp_path / "catalogue_growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_of_sizes_is_in_the_order_of_the_rows(monkeypatch):
    monkeypatch.setattr(table, "SIZES_COLUMNS", ("time", "disk"))
    monkeypatch.setattr(table, "provenance", lambda result: "here")
    values = {"1,000 rows, time": 2.0, "200 rows, time": 1.5, "1,000 rows, CPU time": 9.0}
    rows = [{"name": name, "unit": "s", "median": value} for name, value in values.items()]
    rows += [{"name": f"{size} rows, disk", "unit": "MB", "median": 3.0} for size in ("1,000", "200")]
    assert table.sizes_table({"rows": rows, "points": [{"rows": 200}, {"rows": 1000}]}).splitlines()[2:] == [
        "| rows | time | disk |",
        "|---:|---:|---:|",
        "| 200 | 1.5 s | 3 MB |",
        "| 1,000 | 2 s | 3 MB |",
    ]


def test_the_growth_table_has_the_medians():
    points = [{"size": 1000, "seconds": [0.002, 0.5, 0.001]}, {"size": 2000, "seconds": [3.0, 1.5, 2.0]}]
    memory = [{"size": 1000, "megabytes": [10.0]}, {"size": 2000, "megabytes": [1234.0]}]
    result = {
        **read(RESULTS / "catalogue_growth.json"),
        "curves": [
            {"work": "load", "axis": "items", "points": points},
            {"work": "disk", "axis": "items", "points": memory},
        ],
    }
    assert table.growth_table(result).splitlines()[2:] == [
        "| items | load | disk |",
        "|---:|---:|---:|",
        "| 1,000 | 2 ms | 10 MB |",
        "| 2,000 | 2 s | 1,234 MB |",
    ]


def test_made_up_movies_have_titles_of_every_form():
    movies, counts = catalogue_growth.synthetic_movies(1000)
    assert len(movies["title"]) == len(counts) == 1000
    for part in (", The", "The ", "É", "(a.k.a. New "):
        assert any(part in title for title in movies["title"])


def test_a_large_table_is_measured_to_the_first_training_step(tmp_path, monkeypatch):
    monkeypatch.setattr(large_data, "run_in_process", call_directly)
    sizes = ["--hidden_size", "16", "--intermediate_size", "16", "--num_attention_heads", "2"]
    monkeypatch.setattr(large_data, "RECIPE", [*large_data.RECIPE, *sizes, "--memory_size", "8"])
    large_data.main(["--rows", "3000", "--results", str(tmp_path)])
    large_data.main(["--rows", "6000", "--results", str(tmp_path)])
    values = medians(tmp_path / "large_data.json")
    assert values["3,000 rows, time to the first step"] > values["3,000 rows, time of prepare"] > 0
    assert values["6,000 rows, disk, prepared folder"] > values["3,000 rows, disk, prepared folder"] > 0
