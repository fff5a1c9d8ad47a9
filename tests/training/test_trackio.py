"""Training reports to a local trackio project, which holds what the trainer logged."""

from __future__ import annotations

import pytest

from hf_bert4rec import Bert4RecTokenizer
from tests.training.test_trainer import ITEMS, make_trainer


@pytest.mark.slow
def test_a_run_is_read_back_from_trackio(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(ITEMS))})
    report = {"report_to": "trackio", "project": "cycle", "run_name": "small"}
    trainer = make_trainer(tokenizer, tmp_path / "checkpoints", num_train_epochs=1, **report)
    trainer.train()
    assert (tmp_path / "trackio" / "cycle.db").is_file()
    logs = SQLiteStorage.get_logs("cycle", run="small")
    for reported, logged in (("train/loss", "loss"), ("eval/ndcg@10", "eval_ndcg@10")):
        expected = {entry["step"]: entry[logged] for entry in trainer.state.log_history if logged in entry}
        assert expected
        assert {log["train/global_step"]: log[reported] for log in logs if reported in log} == pytest.approx(expected)
