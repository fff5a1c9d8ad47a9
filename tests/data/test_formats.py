"""Every form of table that docs/formats.md names, and what is understood of its columns."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import constants

from hf_bert4rec.data import read_interactions
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from tests.data.formats import CASES, END, FRAME, PAGE, ROWS, START, markdown
from tests.hub.hub_clients import run
from tests.hub.hub_server import Hub

READER = """
import json, sys
from huggingface_hub import HfApi
from hf_bert4rec.data import read_interactions
request = json.load(sys.stdin)
HfApi().create_repo("someone/orders", repo_type="dataset")
HfApi().upload_folder(repo_id="someone/orders", repo_type="dataset", folder_path=request["folder"])
result = {}
for name, options in request["reads"]:
    try:
        result[name + str(options)] = [tuple(row.values()) for row in read_interactions(name, **options)["ratings"]]
    except (OSError, ValueError) as error:
        result[name + str(options)] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(result))
"""


def test_the_page_has_the_results_of_all_cases() -> None:
    table = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    assert table == markdown(), "write the table again: python -m tests.data.formats"
    assert len({(table, tried) for table, tried, _ in CASES}) == len(CASES)


def test_lines_of_user_and_item_are_in_chronological_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "seq.txt").write_text("2 7\n1 5\n2 5\n")
    ratings = read_interactions(tmp_path / "seq.txt")["ratings"]
    assert [tuple(row.values()) for row in ratings] == [(2, 7), (1, 5), (2, 5)]
    understood = """seq.txt: "user item" text, users in 'user_id', items in 'movie_id'; rows in chronological order"""
    assert understood in caplog.text


@pytest.mark.parametrize(
    ("columns", "understood"),
    [
        (["userId", "movieId", "rating", "timestamp"], ["userId", "movieId", "timestamp"]),
        (["Customer ID", "SKU", "Date", "price"], ["Customer ID", "SKU", "Date"]),
        (["user_id", "customer", "movie_id", "item", "timestamp", "date"], ["user_id", "movie_id", "timestamp"]),
    ],
)
def test_columns_are_found_by_their_usual_names(
    columns: list[str], understood: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    frame = pl.DataFrame({name: [number] for number, name in enumerate(columns)})
    ratings = read_interactions(frame)["ratings"]
    assert ratings[0] == {
        name: columns.index(column)
        for name, column in zip(
            ["user_id", "movie_id", "rating", "timestamp"],
            [*understood[:2], "rating", understood[2]],
            strict=True,
        )
        if column in columns
    }
    users, items, times = map(repr, understood)
    assert f"users in {users}, items in {items}" in caplog.text
    assert f"times in {times}" in caplog.text


@pytest.mark.parametrize("header", ["UserId,ProductId,Rating,Timestamp", "user_id, item_id, rating, timestamp"])
def test_ratings_are_not_lost_to_the_spelling_of_their_column(tmp_path: Path, header: str) -> None:
    (tmp_path / "beauty.csv").write_text(f"{header}\n1, 2, 4.5, 3\n")
    ratings = read_interactions(tmp_path / "beauty.csv")["ratings"]
    assert ratings.to_list() == [{"user_id": 1, "movie_id": 2, "rating": 4.5, "timestamp": 3}]
    assert "rating" not in read_interactions(tmp_path / "beauty.csv", rating_column=None)["ratings"].column_names


def test_items_have_the_column_of_the_interactions_or_one_with_a_usual_name() -> None:
    for column in ("article", "product_id"):
        movies = read_interactions(FRAME, items=pl.DataFrame({column: ["Tinte"], "title": ["Ink"]}))["movies"]
        assert movies[0] == {"movie_id": "Tinte", "title": "Ink", "year": None, "genres": []}


def test_only_the_columns_in_use_are_read(tmp_path: Path) -> None:
    lazy = FRAME.lazy().with_columns(broken=pl.col("time").map_batches(lambda _: 1 / 0, pl.Int64))
    assert [tuple(row.values()) for row in read_interactions(lazy)["ratings"]] == ROWS


def test_a_folder_is_trained_on_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "purchases"
    folder.mkdir()
    frame = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 1, 2, 3], "ts": [1, 2, 3, 4, 5, 6]})
    frame[:4].write_parquet(folder / "a.parquet")
    frame[4:].write_parquet(folder / "b.parquet")
    for table in (folder, folder / "*.parquet"):
        data = prepare(DataArguments(ratings=str(table), min_interactions=1))
        assert data.name == "purchases"
        assert data.histories["item_ids"][:] == [[1, 2, 3], [1, 2, 3]]


def test_brackets_in_the_name_of_a_parquet_file_are_no_pattern(tmp_path: Path) -> None:
    for number, name in enumerate(("orders1", "orders[1]")):
        pl.DataFrame({"user": [number], "item": [number], "ts": [number]}).write_parquet(tmp_path / f"{name}.parquet")
    assert read_interactions(tmp_path / "orders[1].parquet")["ratings"]["user_id"][:] == [1]


def test_rows_without_times_are_in_the_order_of_numbered_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in (10, 2, 1):
        (tmp_path / f"part-{number}.csv").write_text(f"user,item\n1,{number}\n")
    for table in (tmp_path, tmp_path / "*.csv"):
        assert read_interactions(table, time_column=None)["ratings"]["movie_id"][:] == [1, 2, 10]
    assert caplog.messages[0].startswith(f"{tmp_path}: 3 files of text with ',' between fields, users in 'user'")


def test_a_folder_names_no_column_that_the_file_has_itself(tmp_path: Path) -> None:
    folder = tmp_path / "date=2024-05-31"  # of the export
    folder.mkdir()
    pl.DataFrame({"user": [1], "item": [2], "date": ["2024-05-01"]}).write_parquet(folder / "orders.parquet")
    for table in (folder / "orders.parquet", folder, tmp_path):
        assert read_interactions(table)["ratings"]["timestamp"][:] == [1_714_521_600]


def test_files_with_different_types_of_a_column_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1], "item": [2], "time": [datetime(2024, 5, 1)]})
    for zone in ("UTC", "Europe/Berlin"):
        zoned = frame.with_columns(pl.col("time").dt.replace_time_zone(zone))
        zoned.write_parquet(tmp_path / f"{zone[:3]}.parquet")
    with pytest.raises(ValueError, match=rf"{tmp_path}: .* types .* datetime.*Europe/Berlin.* and datetime.*UTC"):
        read_interactions(tmp_path)


@pytest.mark.parametrize("text", ['[{"user": 1, "item": 2}]', '{"user": 1, "item": 2}\n'])
def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path, text: str) -> None:
    (tmp_path / "orders.json").write_text(text, encoding="utf-8-sig")
    ratings = read_interactions(tmp_path / "orders.json", time_column=None)["ratings"]
    assert ratings.to_list() == [{"user_id": 1, "movie_id": 2}]


def test_a_split_in_memory_is_named_as_on_the_hub() -> None:
    part = Dataset.from_dict({"user": [1], "item": [2], "ts": [3]})
    splits = DatasetDict(train=part, test=part.select([]))
    assert len(read_interactions(splits, dataset_split="train")["ratings"]) == 1
    with pytest.raises(ValueError, match="has the splits train, test: name one by dataset_split"):
        read_interactions(splits)


def test_a_name_that_is_no_path_is_looked_for_on_the_hub() -> None:
    assert constants.HF_HUB_OFFLINE
    with pytest.raises(
        FileNotFoundError, match="someone/nothing cannot be loaded as a data set on the Hub, or a folder"
    ):
        read_interactions("someone/nothing")


@pytest.mark.slow
def test_a_data_set_on_the_hub_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "data").mkdir(parents=True)
    FRAME.write_parquet(folder / "data" / "train.parquet")
    FRAME[:1].write_parquet(folder / "data" / "test.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: data/train.parquet\n"
        "- config_name: both\n  data_files:\n  - split: train\n    path: data/train.parquet\n"
        "  - split: test\n    path: data/test.parquet\n---\n"
    )
    reads: list[tuple[str, dict[str, Any]]] = [
        ("someone/orders", {"dataset_config": "all"}),
        ("someone/orders", {"dataset_config": "both", "dataset_split": "test"}),
        ("someone/orders", {"dataset_config": "both"}),
        ("someone/orders", {"dataset_config": "both", "dataset_split": "dev"}),
        ("someone/orders", {}),
        ("someone/nothing", {}),
    ]
    with Hub() as hub:
        answers = run(READER, {"folder": str(folder), "reads": reads}, hub.environment(tmp_path / "home")).values()
    everything, test, both, dev, unnamed, missing = answers
    assert [tuple(row) for row in everything] == ROWS
    assert [tuple(row) for row in test] == ROWS[:1]
    assert both == (
        "ValueError: someone/orders has the splits train, test: name one by dataset_split=... (--dataset_split)"
    )
    assert dev.startswith("ValueError: someone/orders cannot be loaded")
    assert "Unknown split" in dev
    assert "Please pick one among the available configs: ['all', 'both']" in unnamed
    assert missing.startswith("FileNotFoundError: someone/nothing cannot be loaded as a data set on the Hub")
