"""`benchmarks.gpu`: every row runs on a CPU at tiny sizes; failures, time limits and resumption are recorded."""

import json
import os
import subprocess

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import steps
from benchmarks.gpu.data import EncodedSplits
from benchmarks.gpu.process import RowFailed, Worker
from benchmarks.gpu.rows import Row, all_rows
from benchmarks.gpu.sizes import TINY
from benchmarks.measure import row
from tests.test_requirements import run_without_libraries


class InThisProcess:
    """A worker without a process of its own, which would import torch again."""

    def run(self, measure, options, seconds):
        try:
            return measure(**options)
        except Exception as error:
            raise RowFailed(f"{type(error).__name__}: {error}", "Traceback\n") from error

    def close(self):
        pass


def answer(sizes, name, value):
    return {"rows": [row(name, "s", [value])]}


def fail(sizes, name):
    raise ValueError(f"{name}\nsecond line")


def record_of(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "tiny.npz"
    EncodedSplits.random(TINY).save(path)
    return path


@pytest.mark.slow
def test_every_row_is_measured_at_tiny_sizes(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "Worker", InThisProcess)
    options = ["--tiny", "--results", str(tmp_path), "--data", str(data), "--seconds", "10000"]
    gpu.main(options)
    record = record_of(tmp_path / "gpu.json")
    # Kernels and a library that a CPU does not have, and sharding, which accelerate does on accelerators only.
    elsewhere = ("sdpa efficient", "sdpa cudnn", "flash_attention_2", "FSDP")
    failed = [name for name in record["failures"] if not any(part in name for part in elsewhere)]
    assert not failed, record["failures"]
    titles = [gpu.title(each) for each in all_rows(TINY, data)]
    assert set(titles) == record["measurements"].keys() | record["failures"].keys()
    values = {line["name"]: line["median"] for line in record["rows"]}
    assert values["training: masked, width 32, batch 4, throughput"] > 0
    assert values["training: masked, width 32, batch 4, speed-up over BertForMaskedLM"] > 0
    assert values["numerics: causal, float32 against the CPU, gradient"] == 0
    assert 0 < values["numerics: causal, bfloat16 against the CPU, gradient"] < 0.05
    assert 0 < values["recipe: ml-1m-quick, seed 1, NDCG@10 of the test items"] < 1
    assert values["launcher: DDP on one device, throughput"] > 0
    assert "DistributedDataParallel" in record["measurements"]["launcher: DDP on one device"]["wrappers"]
    before = (tmp_path / "gpu.json").stat().st_mtime_ns
    monkeypatch.setattr(InThisProcess, "run", None)  # nothing is left to measure
    gpu.main([*options, "--only", "training"])
    assert (tmp_path / "gpu.json").stat().st_mtime_ns > before
    assert record_of(tmp_path / "gpu.json")["measurements"] == record["measurements"]


def test_without_a_gpu_nothing_is_measured(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu.main(["--results", str(tmp_path)])
    assert "there is no GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_worker_survives_failures(tmp_path):
    worker = Worker()  # runs what starts without importing torch
    assert worker.run(dict, {"rows": [2]}, 100) == {"rows": [2]}
    with pytest.raises(RowFailed, match="JSONDecodeError: Expecting value") as error:
        worker.run(json.loads, {"s": "no JSON"}, 100)
    assert "Traceback" in error.value.log
    with pytest.raises(RowFailed, match="stopped after 0 s"):
        worker.run(subprocess.run, {"args": ["sleep", "5"]}, 0.2)
    with pytest.raises(RowFailed, match="terminated abruptly"):
        worker.run(os._exit, {"status": 3}, 100)
    assert worker.run(dict, {"rows": [3]}, 100) == {"rows": [3]}
    worker.close()


def test_rows_without_time_are_left_for_the_next_call(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "Worker", InThisProcess)
    rows = [Row("part", "good", answer, {"value": 1.0}), Row("part", "bad", fail, {}), Row("other", "late", fail, {})]
    monkeypatch.setattr(gpu, "all_rows", lambda sizes, data: rows)
    gpu.main(["--tiny", "--results", str(tmp_path), "--only", "good"])
    record = record_of(tmp_path / "gpu.json")
    assert [line["name"] for line in record["rows"]] == ["part: good"]
    assert record["missing"] == {"part: bad": gpu.NOT_MEASURED, "other (all rows)": gpu.NOT_MEASURED}
    rows[0] = Row("part", "good", fail, {})  # it has a result and is not measured again
    gpu.main(["--tiny", "--results", str(tmp_path)])
    record = record_of(tmp_path / "gpu.json")
    assert [line["name"] for line in record["rows"]] == ["part: good"]
    assert record["failures"]["part: bad"].startswith("ValueError: part: bad")
    assert "Traceback" in capsys.readouterr().err
    assert "Traceback" not in (tmp_path / "gpu.json").read_text(encoding="utf-8")
    gpu.main(["--tiny", "--results", str(tmp_path), "--fresh", "--seconds", "1"])
    assert record_of(tmp_path / "gpu.json")["missing"] == dict.fromkeys(
        ["part (all rows)", "other (all rows)"], gpu.NO_TIME
    )


def test_encoded_splits_are_those_of_leave_one_out(data):
    splits = EncodedSplits.load(data)
    validation, test = splits.next_item_dataset("validation"), splits.next_item_dataset("test")
    assert len(test) == TINY.users
    for user in range(TINY.users):
        held_out = validation[user]["targets"].tolist()
        assert test[user]["input_ids"].tolist() == [*validation[user]["input_ids"].tolist(), *held_out]
        assert test[user]["targets"].item() not in test[user]["input_ids"]


def test_operations_are_those_of_the_matrix_products():
    """Against the count of torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    width, rows, length = 32, 4, 16
    config = BertConfig(
        vocab_size=63,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=length,
        attn_implementation="eager",
    )
    with FlopCounterMode(display=False) as counter:
        BertForMaskedLM(config).eval()(torch.ones(rows, length, dtype=torch.long))
    positions = rows * length
    ours = 2 * steps.layer_operations(positions, width, length) + steps.head_operations(positions, width, 60)
    assert ours == counter.get_total_flops()


def test_rows_need_no_libraries_for_raw_data():
    run_without_libraries("import benchmarks.gpu.__main__\nassert not BLOCKED & set(sys.modules)")
