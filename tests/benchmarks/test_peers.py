"""Comparisons with other libraries: measurements, interpolation, and reasons for missing ones."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import measure, peers_evaluation, peers_quality, peers_training
from benchmarks.measure import ROOT
from benchmarks.peers import common
from benchmarks.peers.common import Stopwatch, ThroughputMeter, TimeUp, metered
from benchmarks.peers.runner import OURS, PeerMissing, PeerRuns, read_messages, run

NOT_INSTALLED = "not installed, run `make bench-peers`"


@pytest.fixture(autouse=True)
def environments(tmp_path, monkeypatch) -> Path:
    """The folder that is searched for the environments of the peers, empty."""
    monkeypatch.setattr(measure, "LOAD_SECONDS", 0.1)
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    return tmp_path


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_training_is_measured_and_missing_peers_are_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(peers_training.PRECISIONS, OURS, ("float32",))
    sizes = ["--hidden_sizes", "32", "--length", "12", "--batch", "16", "--users", "60"]
    peers_training.main([*sizes, "--seconds", "0.2", "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "peers_training.json")
    assert [row["name"] for row in result["rows"]] == ["hidden size 32, throughput, hf_bert4rec float32"]
    assert result["rows"][0]["median"] > 0
    for peer in ("RecTools float32", "RePlay bfloat16", "cornac float32"):
        assert result["missing"][f"hidden size 32, throughput, {peer}"] == NOT_INSTALLED
    assert result["missing"]["RecBole"] == result["missing"]["RecTools fast_transformers"] == NOT_INSTALLED


def test_float32_is_compared_with_the_fastest_peer_in_float32():
    throughputs = {(OURS, "bfloat16"): [60.0], (OURS, "float32"): [30.0]}
    throughputs |= {("replay", "float32"): [3.0], ("replay", "bfloat16"): [6.0], ("cornac", "float32"): [5.0]}
    rows = peers_training.result_rows("hidden size 8", throughputs)
    assert {row["name"]: row["median"] for row in rows if "at_least" in row} == {
        "hidden size 8, speed-up, hf_bert4rec bfloat16 over the fastest peer (RePlay bfloat16)": 10.0,
        "hidden size 8, speed-up, hf_bert4rec float32 over the fastest peer (cornac float32)": 6.0,
    }


@pytest.mark.slow
def test_evaluation_is_measured_and_missing_peers_are_reported(tmp_path):
    sizes = ["--items", "300", "--users", "30", "--hidden_size", "32", "--length", "12", "--batch", "8"]
    peers_evaluation.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "peers_evaluation.json")
    assert [row["name"] for row in result["rows"]] == ["300 items, throughput, hf_bert4rec"]
    assert set(result["missing"]) == {"300 items, throughput, RecTools", "300 items, throughput, RePlay"}
    assert result["peers"]["hf_bert4rec"]["torch"]


@pytest.mark.slow
def test_training_time_to_a_quality_is_read_off_the_curve(tmp_path):
    options = ["num_train_epochs=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=16"]
    sizes = ["--users", "60", "--thresholds", "0.0", "0.99", "--evaluations_per_epoch", "2", "--options", *options]
    peers_quality.main([*sizes, "--results", str(tmp_path)])
    result = read(tmp_path / "peers_quality.json")
    minutes = {row["name"]: row["median"] for row in result["rows"]}
    curve = result["trained"][OURS]["float32"]
    assert len(curve) >= 2
    assert minutes["NDCG@10 0.0, training time, hf_bert4rec float32"] == curve[0]["seconds"] / 60
    assert result["missing"]["NDCG@10 0.99, training time, hf_bert4rec float32"].startswith("reached 0.")
    assert result["missing"]["RecTools"] == result["missing"]["RePlay"] == NOT_INSTALLED


def test_a_peer_that_does_not_reach_the_threshold_gives_a_lower_bound():
    curve = [{"seconds": 10.0, "ndcg@10": 0.1}, {"seconds": 30.0, "ndcg@10": 0.14}]
    rectools = {"curve": [{"seconds": 99.0, "ndcg@10": 0.12}], "seconds": 300.0}
    trained = {OURS: {"float32": curve}, "rectools": rectools}
    rows = {row["name"]: row for row in peers_quality.result_rows(0.13, trained, PeerRuns())}
    speed_up = rows["NDCG@10 0.13, speed-up, hf_bert4rec float32 over RecTools"]
    assert speed_up["median"] == 12
    assert speed_up["lower_bound"]
    assert "lower_bound" not in rows["NDCG@10 0.13, training time, hf_bert4rec float32"]


def test_a_peer_that_fails_or_times_out_is_missing_with_the_reason(environments):
    (environments / ".venv-peers" / "bin").mkdir(parents=True)
    (environments / ".venv-peers" / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(PeerMissing, match="exited with 1: ModuleNotFoundError: No module named"):
        run("rectools", "train", {}, timeout=60)
    with pytest.raises(PeerMissing, match="no result within 0 s"):
        run("rectools", "train", {}, timeout=0.001)


@pytest.mark.slow
def test_a_failure_of_hf_bert4rec_raises():
    with pytest.raises(RuntimeError, match="KeyError: 'no_such_action'"):
        run(OURS, "no_such_action", {}, timeout=60)


def test_messages_are_separated_from_other_output():
    lines = [
        "print('a library prints')",
        "print(ask_to_continue({'scores': 1}))",
        "send({'versions': {}, 'continued': ask_to_continue({})})",
    ]
    code = "; ".join(["from benchmarks.peers.common import ask_to_continue, send", *lines])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        messages: list[dict] = []
        result = read_messages(process, lambda message: messages.append(message) or len(messages) == 1)
    assert messages == [{"scores": 1}, {}]
    assert result == {"versions": {}, "continued": False}


def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    ballast = np.ones(25_000_000)  # 200 MB, many times what the other process needs
    code = "from benchmarks.peers.common import process_megabytes; print(process_megabytes('VmHWM'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < ballast.nbytes / 1e6


def test_throughput_excludes_the_warm_up():
    meter = ThroughputMeter(0.0)
    assert [meter.batch_done(tokens) for tokens in (100, 100, 7)] == [False, False, True]
    assert meter.tokens == 7
    assert meter.result()["steps"] == 1
    with pytest.raises(ValueError, match="ended after 0 batches, 3 are needed"):
        ThroughputMeter(1.0).result()


def test_a_stopwatch_excludes_pauses(monkeypatch):
    times = iter([0.0, 5.0, 105.0, 107.0])  # started, paused, resumed, read
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(times))
    watch = Stopwatch()
    assert watch.pause(lambda: watch.seconds) == 5
    assert watch.seconds == 7


def test_a_metered_loss_ends_the_training_loop():
    loss = metered(ThroughputMeter(0.0), lambda batch: sum(batch), len)
    assert [loss([1, 2]) for _ in range(3)] == [3, 3, 3]
    with pytest.raises(TimeUp):
        loss([1, 2])
