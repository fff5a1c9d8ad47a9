"""The tables of new users and kin are those of the result files."""

from __future__ import annotations

import json

from benchmarks.quality import new_users


def test_the_tables_are_those_of_the_result_files():
    page = new_users.PAGE.read_text(encoding="utf-8")
    assert page.split(new_users.MARKS[0])[1].split(new_users.MARKS[1])[0].strip() == new_users.text()


def test_taste_is_not_below_item_knn_for_a_few_titles():
    for path in new_users.RESULTS.glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        for scorers in result["new_users"]["results"].values():
            assert scorers["item_knn"]["difference"]["ndcg@10"]["high"] > 0
        assert result["kin"]["results"]["item_knn"]["difference"]["found@10"]["high"] > 0


def test_a_report_is_recorded_by_its_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(new_users, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(new_users, "load_report", lambda path: json.loads(path.read_text()))
    report = {"protocol": {"dataset": "ml-1m.txt"}, "kin": {"k": 10}, "environment": {}, "metrics": {}}
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    new_users.record(tmp_path)
    written = json.loads((tmp_path / "results" / "ml-1m.json").read_text())
    assert written == {"dataset": "ml-1m.txt", "kin": {"k": 10}, "environment": {}}
