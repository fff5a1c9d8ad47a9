"""The table of quantized models is that of its result file, and int8 weights cost less than a hundredth of NDCG@10."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality.quantized import BASELINE, MARKS, PAGE, RESULT, main, table


def test_the_table_is_that_of_the_result_file():
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(MARKS[0])[1].split(MARKS[1])[0].strip() == table(result)


def test_int8_weights_keep_the_accuracy():
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    reference = rows[BASELINE]["ndcg@10"]
    for name in ("`model_quantized.onnx`", "torchao, int8", "bitsandbytes, 8 bits"):
        assert abs(rows[name]["ndcg@10"] / reference - 1) < 0.01, name


def test_a_memory_that_knows_the_targets_is_refused(tmp_path, capsys):
    (tmp_path / "training.json").write_text(json.dumps({"options": {"refresh_memory": True}}))
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "knows the targets" in capsys.readouterr().err
