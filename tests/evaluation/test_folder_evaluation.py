"""The evaluation of a prepared folder, which is read in chunks, has the figures of the same table in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder import prepare_folder as module
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.leakage import LeakageError
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.evaluation import baselines
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.evaluate import evaluate_model
from hf_bert4rec.files import TRAINING_FILE, write_json
from hf_bert4rec.training.arguments import parse_options
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.record import run_options
from tests.data.test_prepare_folder import EVENTS, TABLES

RECIPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "memory_size": 8,
    "taste_size": 8,
    "time_aware": True,
    "use_cpu": True,
    "bf16": False,
}
LAST_TWO: dict[str, Any] = {"split": "last-n", "targets": 2}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("integers", {"min_interactions": 2}),
    ("text", {"held_out_users": 0.4, "min_interactions": 1, "liked_rating": 2.0}),
    ("events", {**EVENTS, **LAST_TWO, "target_events": ["buy"], "weight_column": "weight", "min_interactions": 1}),
    ("events", {**EVENTS, "split": "temporal", "quantile": 0.7, "min_interactions": 1, "repeats": "all"}),
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_PER_PARTITION", 110)
    monkeypatch.setattr(baselines, "KNN_BLOCK", 7)
    monkeypatch.setattr(baselines, "KNN_PAIRS", 1)


def sources(path: Path, kind: str, options: dict[str, Any]) -> tuple[DataArguments, DataArguments]:
    """The options for a table and for its folder, which have the same name."""
    (path / "table").mkdir()
    (path / "folder").mkdir()
    TABLES[kind].write_parquet(path / "table" / "orders")
    table = DataArguments(ratings=str(path / "table" / "orders"), **options)
    prepare_folder(table, path / "folder" / "orders")
    return table, replace(table, ratings=str(path / "folder" / "orders"))


def write_model(folder: Path, table: DataArguments, options: dict[str, Any]) -> None:
    """An untrained model with everything that is counted in the training part, and its record."""
    arguments, _ = parse_options(RECIPE, {"ratings": table.ratings, "output_dir": str(folder), **options})
    data = prepare(table)
    trainer = build_trainer(data, *arguments[1:])
    trainer.model.save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)
    write_json(folder / TRAINING_FILE, {"options": run_options(arguments[:-1], arguments[-1])})


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in report.items() if name != "environment"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_the_report_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any]
) -> None:
    table, folder = sources(tmp_path, kind, options)
    write_model(tmp_path / "model", table, options)
    part = "validation" if kind == "text" else "test"
    config = EvaluationConfig(part=part, ks=[1, 5], batch_size=4)
    expected = evaluate_model(tmp_path / "model", table, config)
    for name in ("histories", "split_tables"):  # which would be in memory
        monkeypatch.setattr(PreparedData, name, None)
    report = evaluate_model(tmp_path / "model", folder, config)
    assert without_run(report) == without_run(expected)
    assert {"baselines", "times"} <= report.keys()


TRAINED: list[dict[str, Any]] = [
    {"split": "temporal", "quantile": 0.3},
    {"split": "temporal", "quantile": 0.9},
    {"split": "leave-one-out"},
    {"split": "last-n", "targets": 1},
    {"split": "last-n", "targets": 4},
]


@pytest.mark.parametrize("evaluated", [{}, {"split": "last-n", "targets": 3}, {"split": "temporal", "quantile": 0.6}])
def test_training_by_another_split_is_found(tmp_path: Path, evaluated: dict[str, Any]) -> None:
    options = {**evaluated, "min_interactions": 2}
    table, folder = sources(tmp_path, "integers", options)
    memory, mapped = prepare(table), prepare(folder)
    found = []
    for trained in TRAINED:
        messages = []
        for data in (memory, mapped):
            try:
                data.check_training(replace(table, **trained))
                messages.append("")
            except LeakageError as error:
                messages.append(str(error))
        assert messages[0] == messages[1]
        found.append(bool(messages[0]))
    assert True in found
    assert not evaluated or False in found
