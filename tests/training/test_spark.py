"""Spark writes the folder of histories that `prepare_folder` writes, and answers as the pipeline does."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.hub.folder import load_pipeline
from tests.data.test_prepare_folder import EVENTS, TABLES, assert_same_rows, table

ROOT = Path(__file__).resolve().parents[2]
AVAILABLE = find_spec("pyspark") is not None and shutil.which("java") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not AVAILABLE and os.environ.get("HF_BERT4REC_SPARK") != "required", reason="needs pyspark and Java"
    ),
]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("integers", {}),
    ("text", {"repeats": "last", "min_interactions": 3, "min_rating": 2.0}),
    ("events", {**EVENTS, "weight_column": "weight", "min_rating": 2.0, "min_interactions": 3}),
    ("events", {**EVENTS, "weight_column": "weight", "repeats": "all", "min_interactions": 1}),
    ("dates as numbers", {}),
    ("datetimes", {"repeats": "all", "min_interactions": 1, "split": "temporal", "quantile": 0.7}),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers import the functions by name
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.sql.session.timeZone", "Europe/Berlin")  # does not change times without a zone
        session = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
        yield session
        session.stop()


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_spark_writes_the_same_folder(spark, tmp_path, monkeypatch, kind, options):
    from training.spark import prepare as job

    monkeypatch.setattr(job, "INTERACTIONS_PER_FILE", 150)
    (tmp_path / "orders").mkdir()
    for number, part in enumerate((TABLES[kind][:250], TABLES[kind][250:])):
        part.write_parquet(tmp_path / "orders" / f"{number}.parquet")
    arguments = DataArguments(ratings=str(tmp_path / "orders"), **options)
    manifest = prepare_folder(arguments, tmp_path / "ours")
    theirs = job.prepare_with_spark(spark, arguments, tmp_path / "theirs")
    assert len(theirs["files"]) > 2
    assert {**theirs, "files": None} == {**manifest, "files": None}
    ours, spark_data = (prepare(DataArguments(ratings=str(tmp_path / name), **options)) for name in ("ours", "theirs"))
    assert table(spark_data.histories) == table(ours.histories)
    np.testing.assert_array_equal(spark_data.train_liked, ours.train_liked)
    assert spark_data.tokenizer.items == ours.tokenizer.items
    assert_same_rows(spark_data.next_item_dataset("test", timed=True), ours.next_item_dataset("test", timed=True))


def test_a_job_that_fails_leaves_no_folder(spark, tmp_path, monkeypatch):
    from training.spark import prepare as job

    TABLES["text"].write_parquet(tmp_path / "orders.parquet")
    arguments = DataArguments(ratings=str(tmp_path / "orders.parquet"))
    prepare_folder(arguments, tmp_path / "prepared")
    before = {path.name: path.read_bytes() for path in (tmp_path / "prepared").iterdir()}
    monkeypatch.setattr(job, "SHARD", "missing-folder/{:05}.arrow")  # the executors cannot write
    with pytest.raises(Exception, match="missing-folder"):
        job.prepare_with_spark(spark, arguments, tmp_path / "prepared")
    assert {path.name: path.read_bytes() for path in (tmp_path / "prepared").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orders.parquet", "prepared"]


def test_types_that_spark_does_not_read_are_named(spark, tmp_path):
    from training.spark.prepare import prepare_with_spark

    frame, number = TABLES["integers"], pl.int_range(pl.len())

    def sixth(value: Any, others: pl.Expr) -> pl.Expr:
        return pl.when(number == 5).then(pl.lit(value)).otherwise(others)

    for changed, message in [
        (frame.with_columns(timestamp=pl.lit("yesterday")), "times are numbers or timestamps: cast it"),
        (frame.with_columns(user_id=pl.col("user_id").cast(pl.Float64)), "ids are integers or text: cast it"),
        (frame.with_columns(movie_id=pl.lit(None, pl.Int64)), "'movie_id' has 600 missing values"),
        (frame.with_columns(rating=pl.lit(float("nan"))), "'rating' has 600 wrong values: a rating is a finite number"),
        (frame.with_columns(rating=pl.lit("4")), "ratings and weights are numbers: cast it"),
        (frame.with_columns(user_id=sixth("NULL", pl.col("user_id").cast(pl.String))), "the id 'NULL', which is"),
        (frame.with_columns(movie_id=sixth("9.78316E+12", pl.lit("i1"))), r"the id '9.78316E\+12', which is"),
        (frame.with_columns(timestamp=sixth(float("nan"), pl.lit(1.5e9))), "one that is not finite"),
        (frame.with_columns(timestamp=sixth(-(2**63), pl.lit(15 * 10**17))), "has a missing time"),
        (frame.with_columns(timestamp=sixth(1_500_000_000, pl.col("timestamp") * (number != 1))), "use one unit"),
        (frame.with_columns(timestamp=31_012_024), "write 2024-05-31"),
        (frame.with_columns(timestamp=sixth(0, pl.lit(20_240_501))), "dates such as 20240501"),
        (frame.head(4), "No user is left of 4 interactions of"),
    ]:
        changed.write_parquet(tmp_path / "orders.parquet")
        with pytest.raises(ValueError, match=message):
            prepare_with_spark(spark, DataArguments(ratings=str(tmp_path / "orders.parquet")), tmp_path / "prepared")


def test_spark_recommends_as_the_pipeline_does(spark, model_folder, tmp_path):
    from pyspark.sql import functions as F

    from training.spark.recommend import collect_histories, recommend_with_spark

    pipe = load_pipeline(model_folder)
    ids = pipe.tokenizer.item_ids
    rows = [(user, ids[(user * 7 + step) % len(ids)], step // 2) for user in range(9) for step in range(4)]
    frame = pl.DataFrame(rows, schema=["user_id", "movie_id", "timestamp"], orient="row")
    frame.write_parquet(tmp_path / "orders.parquet")
    histories = collect_histories(spark.read.parquet(str(tmp_path / "orders.parquet")), *frame.columns)
    answers = recommend_with_spark(histories, str(model_folder), top_k=5).toPandas()
    for user in range(9):
        expected = pipe([item for owner, item, _ in rows if owner == user], top_k=5)
        own = answers[answers["user_id"] == user].sort_values("rank")
        assert own["item_id"].tolist() == [movie[pipe.tokenizer.item_id_name] for movie in expected]
        assert own["score"].tolist() == pytest.approx([movie["score"] for movie in expected], abs=1e-6)
    as_text = histories.withColumn("history", F.col("history").cast("array<string>"))
    texts = recommend_with_spark(as_text, str(model_folder), top_k=5).toPandas()
    assert texts["item_id"].tolist() == answers["item_id"].astype(str).tolist()
    for name, column, message in [
        ("timestamp", pl.col("timestamp").cast(pl.String), "times are numbers or timestamps"),
        ("user_id", pl.when(pl.col("user_id") > 0).then("user_id"), "'user_id' has 4 missing values"),
    ]:
        frame.with_columns(**{name: column}).write_parquet(tmp_path / "changed.parquet")
        with pytest.raises(ValueError, match=message):
            collect_histories(spark.read.parquet(str(tmp_path / "changed.parquet")), *frame.columns)
