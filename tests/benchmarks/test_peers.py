"""Those who are compared: measured by their own means, and missing for a reason where they are not there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import peers_evaluation, peers_quality, peers_training
from benchmarks.peers import common
from benchmarks.peers.common import Clock, Stopwatch, TimeOver, counted
from benchmarks.peers.running import ROOT, Field, PeerMissing, listen, run


def test_training_is_measured_beside_peers_and_says_which_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    sizes = ["--widths", "32", "--length", "12", "--batch", "16", "--users", "60"]
    peers_training.main([*sizes, "--seconds", "0.2", "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "peers_training.json")
    assert [row["median"] > 0 for row in result["rows"]] == [True] * len(result["rows"])
    assert "width 32, hf_bert4rec, float32" in [row["name"] for row in result["rows"]]
    for peer in ("width 32, RecTools, float32", "width 32, RePlay, bfloat16", "width 32, cornac, float32", "RecBole"):
        assert result["missing"][peer] == "not installed, run `make bench-peers`"


def test_the_fastest_peer_is_one_of_the_same_precision_or_slower():
    speeds = {("ours", "bfloat16"): [60.0], ("ours", "float32"): [30.0]}
    speeds |= {("replay", "float32"): [3.0], ("replay", "bfloat16"): [6.0], ("cornac", "float32"): [5.0]}
    found = {row["name"]: row["median"] for row in peers_training.rows_of("width 8", speeds) if "at_least" in row}
    assert found == {
        "width 8, hf_bert4rec, bfloat16 : fastest peer (RePlay, bfloat16)": 10.0,
        "width 8, hf_bert4rec, float32 : fastest peer (cornac, float32)": 6.0,
    }


def test_evaluation_is_measured_beside_peers(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    sizes = ["--items", "300", "--users", "30", "--width", "32", "--length", "12", "--batch", "8"]
    peers_evaluation.main([*sizes, "--repeats", "1", "--results", str(tmp_path)])
    result = read(tmp_path / "peers_evaluation.json")
    assert [row["name"] for row in result["rows"]] == ["300 items, hf_bert4rec"]
    assert set(result["missing"]) == {"300 items, RecTools", "300 items, RePlay"}
    assert result["peers"]["hf_bert4rec"]["torch"]


def test_minutes_to_a_quality_are_read_off_a_curve(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    options = ["num_train_epochs=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=16"]
    sizes = ["--users", "60", "--thresholds", "0.0", "0.99", "--looks", "2", "--options", *options]
    peers_quality.main([*sizes, "--results", str(tmp_path)])
    result = read(tmp_path / "peers_quality.json")
    minutes = {row["name"]: row["median"] for row in result["rows"]}
    curve = result["trained"]["ours"]["float32"]
    assert len(curve) >= 2
    assert minutes["validation NDCG@10 0.0, hf_bert4rec, float32"] == curve[0]["seconds"] / 60
    assert result["missing"]["validation NDCG@10 0.99, hf_bert4rec, float32"].startswith("reached 0.")
    assert result["missing"]["RecTools"] == result["missing"]["RePlay"] == "not installed, run `make bench-peers`"


def test_a_peer_that_is_stopped_early_gives_a_lower_bound():
    curve = [{"seconds": 10.0, "ndcg@10": 0.1}, {"seconds": 30.0, "ndcg@10": 0.14}]
    trained = {
        "ours": {"float32": curve},
        "rectools": {"curve": [{"seconds": 99.0, "ndcg@10": 0.12}], "seconds": 300.0},
    }
    rows = {row["name"]: row for row in peers_quality.rows_of(0.13, trained, Field())}
    ratio = rows["validation NDCG@10 0.13, RecTools : hf_bert4rec, float32"]
    assert ratio["median"] == 12
    assert ratio["lower_bound"]
    assert "lower_bound" not in rows["validation NDCG@10 0.13, hf_bert4rec, float32"]


def test_a_peer_that_fails_or_takes_too_long_is_missing_for_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_BERT4REC_PEERS", str(tmp_path))
    (tmp_path / ".venv-peers" / "bin").mkdir(parents=True)
    (tmp_path / ".venv-peers" / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(PeerMissing, match="ended with 1: ModuleNotFoundError: No module named"):
        run("rectools", "train", {}, bound=60)
    with pytest.raises(PeerMissing, match="no answer within 0 s"):
        run("rectools", "train", {}, bound=0.001)
    with pytest.raises(RuntimeError, match="KeyError: 'dance'"):
        run("ours", "dance", {}, bound=60)


def test_what_a_contender_says_is_told_from_what_it_prints(tmp_path):
    lines = ["print('a library talks')", "print(ask({'scores': 1}))", "say({'versions': {}, 'went_on': ask({})})"]
    code = "; ".join(["from benchmarks.peers.common import ask, say", *lines])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        said: list[dict] = []
        answer = listen(process, lambda message: said.append(message) or len(said) == 1)
    assert said == [{"scores": 1}, {}]
    assert answer == {"versions": {}, "went_on": False}


def test_the_clock_counts_what_comes_after_the_warm_up():
    clock = Clock(0.0)
    assert [clock.batch_done(tokens) for tokens in (100, 100, 7)] == [False, False, True]
    assert clock.tokens == 7
    assert clock.result()["steps"] == 1
    with pytest.raises(ValueError, match="too few to measure"):
        Clock(1.0).result()


def test_a_pause_does_not_count_within_or_after_it(monkeypatch):
    now = iter([0.0, 5.0, 105.0, 107.0])  # started, paused, resumed, asked
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(now))
    watch = Stopwatch()
    assert watch.pause(lambda: watch.seconds) == 5
    assert watch.seconds == 7


def test_a_loss_that_is_counted_ends_the_loop_that_calls_it():
    losses = counted(Clock(0.0), lambda batch: sum(batch), len)
    assert [losses([1, 2]) for _ in range(3)] == [3, 3, 3]
    with pytest.raises(TimeOver):
        losses([1, 2])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))
