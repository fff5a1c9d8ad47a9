"""The recipe `auto`: what is chosen from which data, what the user gives wins, and log, record and card say so."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.quality.synthetic_data import SYNTHETIC_DATA
from hf_bert4rec import fit
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import load, prepare_tables
from hf_bert4rec.training import auto
from hf_bert4rec.training.arguments import AUTO_OPTIONS, CLASSES, parse, parse_options
from hf_bert4rec.training.auto import (
    Choice,
    apply_choices,
    choose_data_options,
    choose_training_options,
    prepare_and_choose,
)


def choose(frame: pl.DataFrame, **options: Any) -> dict[str, Any]:
    """All options that are chosen for a table."""
    data = DataArguments(ratings="table", time_column="time" if "time" in frame.columns else "", **options)
    tables = load(data, frame)
    choices = choose_data_options(tables["ratings"], data)
    apply_choices(choices, AUTO_OPTIONS, [data])
    choices += choose_training_options(prepare_tables(tables, data))
    return {name: value for choice in choices for name, value in choice.options.items()}


def uniform(users: int, length: int, items: int = 50, seconds: int = 0) -> pl.DataFrame:
    """Every user has `length` different items, each `seconds` after the last, if that is not 0."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, step * seconds)
        for user in range(users)
        for step, item in enumerate(generator.permutation(items)[:length].tolist())
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return frame if seconds else frame.drop("time")


def test_sizes_of_a_small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    # 100 users with 12 interactions, of which 10 train: 1,000 interactions, two orders of magnitude below ml-100k.
    chosen = choose(uniform(100, 12))
    assert chosen | {"num_train_epochs": 0} == {
        **{"repeats": "first", "min_interactions": 5, "hidden_size": 64, "intermediate_size": 256},
        **{"hidden_dropout_prob": 0.6, "weight_decay": 0.1, "learning_rate": 0.001, "ema_decay": 0.99},
        **{"max_position_embeddings": 16, "window_stride": 8, "per_device_train_batch_size": 16},
        **{"num_train_epochs": 0, "time_aware": False, "memory_size": 200, "taste_size": 128},
    }
    assert chosen["num_train_epochs"] == 100  # of 7 steps each
    monkeypatch.setattr(auto, "MAX_DENSE_ITEMS", 49)
    assert choose(uniform(100, 12)) == {**chosen, "sampled_negatives": 8192}  # for 50 items
    data = DataArguments(ratings="table", time_column="")
    halves = choose_training_options(prepare_tables(load(data, uniform(100, 12)), data), parts=2)
    options = {name: value for choice in halves for name, value in choice.options.items()}
    assert (options["per_device_train_batch_size"], options["num_train_epochs"]) == (8, 100)


def test_times_count_if_they_span_a_day() -> None:
    assert choose(uniform(50, 12, seconds=3600))["time_aware"] is False  # eleven hours
    assert choose(uniform(50, 12, seconds=86_400))["time_aware"] is True
    assert choose(uniform(50, 12, seconds=86_400))["memory_size"] == 400


def test_repeats_count_where_there_are_many() -> None:
    frame = uniform(60, 18)
    few, many = (frame.with_columns(pl.col("item") % items) for items in (49, 6))
    assert choose(few)["repeats"] == "first"
    chosen = choose(many, min_interactions=1)
    assert chosen["repeats"] == "all"
    # Of 16 training interactions with 6 items, 10 or more are repeats: 0.6 · (1 - 10 / 16) or less.
    assert 0.1 <= chosen["hidden_dropout_prob"] <= 0.23
    data = DataArguments(ratings="table", time_column="", split="last-n")
    (repeats, _) = choose_data_options(load(data, many)["ratings"], data)
    assert repeats.options == {"repeats": "first"}  # the split needs different targets


def test_another_kind_of_event_is_no_repeat() -> None:
    """Everything is viewed and then bought, once."""
    views = uniform(20, 10, seconds=60)
    events = pl.concat(
        [views.with_columns(kind=pl.lit("view")), views.with_columns(pl.col("time") + 1, kind=pl.lit("buy"))]
    )
    options = {"event_column": "kind", "target_events": ["buy"], "min_interactions": 1}
    assert choose(events, **options)["repeats"] == "first"
    again = pl.concat([events, events.with_columns(pl.col("time") + 10_000)])
    assert choose(again, **options)["repeats"] == "all"


def test_short_sessions_are_not_dropped() -> None:
    assert choose(SYNTHETIC_DATA["sessions"](users=400))["min_interactions"] == 2


def test_the_window_holds_nearly_all_histories() -> None:
    assert choose(uniform(60, 42))["max_position_embeddings"] == 48  # 40 items, [MASK], a multiple of 8
    assert choose(uniform(30, 200, items=300), min_interactions=1)["max_position_embeddings"] == 100


def test_what_the_user_gives_wins(tmp_path: Path) -> None:
    _, _, masking, _ = parse(["auto", "--hidden_size", "32", "--repeats=all", "--output_dir", str(tmp_path)])
    assert {*masking.auto} == AUTO_OPTIONS - {"hidden_size", "repeats"}
    (_, _, masking, _), argv = parse_options("auto", {"num_train_epochs": 3, "output_dir": tmp_path})
    assert {*masking.auto} == AUTO_OPTIONS - {"num_train_epochs"}
    assert parse(argv)[2] == masking
    assert parse_options({"memory_size": 5, "output_dir": tmp_path}, {})[0][2].auto == []
    recipe = {"auto": ["hidden_size"], "hidden_size": 48, "output_dir": tmp_path}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**recipe, "output_dir": str(tmp_path)}))
    for given in (recipe, tmp_path / "recipe.yaml"):  # a recipe's own value is a default
        assert parse_options(given, {})[0][2].auto == ["hidden_size"]
        assert parse_options(given, {"hidden_size": 32})[0][2].auto == []
    with pytest.raises(ValueError, match="auto lists causal; it can have ema_decay, "):
        parse(["auto", "--auto", "causal", "--output_dir", str(tmp_path)])


def test_every_option_of_auto_exists() -> None:
    assert {entry.name for cls in CLASSES for entry in fields(cls)} >= AUTO_OPTIONS


def test_choices_are_sentences() -> None:
    data = DataArguments()
    choices = [Choice("a reason", repeats="all", min_interactions=2), Choice("another", hidden_size=64)]
    assert apply_choices(choices, ["repeats", "hidden_size"], [data]) == [
        "repeats all: a reason",
        "hidden_size 64: another",
    ]
    assert (data.repeats, data.min_interactions) == ("all", 5)
    assert not hasattr(data, "hidden_size")


def test_synthetic_data_have_the_described_histories() -> None:
    lengths = {
        name: make(users=100).group_by("user").len()["len"].sort().to_list() for name, make in SYNTHETIC_DATA.items()
    }
    assert {name: len(each) for name, each in lengths.items()} == dict.fromkeys(SYNTHETIC_DATA, 100)
    assert (lengths["sessions"][0], lengths["sessions"][-1]) == (2, 5)
    assert (lengths["sequential"][0] >= 10, lengths["sequential"][-1] <= 40) == (True, True)
    assert 7 < np.mean(lengths["shop"]) < 11
    for name, make in SYNTHETIC_DATA.items():
        table = make(users=100)
        assert table.equals(make(users=100))
        repeated = 1 - table.select("user", "item").n_unique() / table.height
        assert (repeated > 0.4) if name == "repeating" else (repeated == 0)
        assert ("time" in table.columns) == (name != "shop")


@pytest.mark.slow
def test_a_table_of_repeats_is_trained_by_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = SYNTHETIC_DATA["repeating"](users=60)
    pipe = fit(table, output_dir=tmp_path / "listens", num_train_epochs=2, use_cpu=True, bf16=False)
    assert pipe.model.config.exclude_seen is False
    assert "options chosen from the data:\n- repeats all: " in caplog.text
    record = json.loads((tmp_path / "listens" / "training.json").read_text())
    assert record["options"]["repeats"] == "all"
    assert record["options"]["num_train_epochs"] == 2
    assert record["auto"][0].startswith("repeats all: ")
    assert record["command"].startswith("hf-bert4rec train auto --num_train_epochs=2")
    card = (tmp_path / "listens" / "README.md").read_text()
    assert "- repeats all: " in card
    assert "this model is" in card
    assert "Markov" in card


def test_a_prepared_folder_keeps_its_options(tmp_path: Path) -> None:
    uniform(40, 12, seconds=86_400).write_parquet(tmp_path / "table.parquet")
    options: dict[str, Any] = {"min_interactions": 3, "repeats": "all"}
    prepare_folder(DataArguments(ratings=str(tmp_path / "table.parquet"), **options), tmp_path / "folder")
    arguments, _ = parse_options("auto", {"ratings": str(tmp_path / "folder"), "output_dir": str(tmp_path / "out")})
    data, sentences = prepare_and_choose(arguments)
    assert sentences[0] == "repeats all, min_interactions 3: as the folder was prepared"
    assert "time_aware True: times span 9 days" in sentences
    assert (arguments[0].repeats, arguments[0].min_interactions, arguments[1].time_aware) == ("all", 3, True)
    assert len(data.histories) == 40
