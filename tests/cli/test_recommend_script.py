"""`training/recommend.py`: the pipeline's answers for all users, killed or not, from one process or two."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.cli.recommend_all import Shards, main
from tests.published import make_folder
from tests.training.two_processes import LAUNCHER

ROOT = Path(__file__).resolve().parents[2]
USERS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("trained") / "small")


@pytest.fixture(scope="module")
def histories(folder) -> dict[str, list]:
    items = Bert4RecTokenizer.from_pretrained(folder).item_ids
    generator = np.random.default_rng(0)
    return {f"user {user}": list(generator.permutation(items)[: 1 + user % 7]) for user in range(USERS)}


@pytest.fixture(scope="module")
def ratings(histories, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("table") / "ratings.csv"
    lines = [f"{user},{item},{time}" for user, items in histories.items() for time, item in enumerate(items)]
    path.write_text("\n".join(["user_id,movie_id,timestamp", *lines, "a stranger,no such item,1"]) + "\n")
    return path


def options(ratings: Path, output: Path, *others: str) -> list[str]:
    told = ["--ratings", str(ratings), "--min_interactions", "1", "--output", str(output), "--top_k", "5"]
    return [*told, "--users_per_shard", "4", "--batch_size", "3", *others]


def assert_same_table(path: Path, other: Path) -> None:
    """The same users, movies and ranks; scores equal but for rounding, which differs from process to process on
    processors whose matrix products look at where the numbers lie in memory."""
    found, expected = pq.read_table(path), pq.read_table(other)
    assert found.drop_columns("score").equals(expected.drop_columns("score"))
    assert found["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), rel=1e-5)


def table_of(path: Path) -> pa.Table:
    table = pq.read_table(path)
    assert table.schema.names == ["user_id", "movie_id", "rank", "score"]
    return table


@pytest.fixture(scope="module")
def unbroken(folder, ratings, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "recs.parquet"
    main([str(folder), *options(ratings, output)])
    return output


def test_it_is_what_the_pipeline_answers(folder, histories, unbroken):
    pipe = pipeline("movie-recommendation", model=str(folder), trust_remote_code=True)
    rows = table_of(unbroken).to_pylist()
    assert {row["user_id"] for row in rows} == set(histories)  # the stranger is left out
    found: dict[str, list] = {}
    for row in rows:
        found.setdefault(row["user_id"], []).append(row)
    ids = {str(item): item for item in Bert4RecTokenizer.from_pretrained(folder).item_ids}
    for user, items in histories.items():
        answer = pipe([ids[str(item)] for item in items], top_k=5)
        assert [str(row["movie_id"]) for row in found[user]] == [str(movie["movie_id"]) for movie in answer]
        assert [row["score"] for row in found[user]] == pytest.approx([movie["score"] for movie in answer], rel=1e-4)
        assert [row["rank"] for row in found[user]] == list(range(1, len(answer) + 1))


def test_it_goes_on_where_it_was_broken_off_and_takes_no_other_run_s_parts(
    folder, ratings, unbroken, tmp_path, monkeypatch
):
    output = tmp_path / "recs.parquet"

    write = Shards.write

    def write_or_break(self, number, table):
        if number == 6:
            raise KeyboardInterrupt
        write(self, number, table)

    monkeypatch.setattr(Shards, "write", write_or_break)
    with pytest.raises(KeyboardInterrupt):
        main([str(folder), *options(ratings, output)])
    assert not output.exists()
    assert len(list(tmp_path.glob("recs.parquet.parts/*.parquet"))) == 6
    monkeypatch.undo()
    main([str(folder), *options(ratings, output)])
    assert_same_table(output, unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]


def test_parts_of_other_options_are_written_again(folder, ratings, unbroken, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    monkeypatch.setattr(Shards, "merge", lambda self: None)
    main([str(folder), *options(ratings, output, "--top_k", "3")])
    monkeypatch.undo()
    main([str(folder), *options(ratings, output)])
    assert_same_table(output, unbroken)


def launch(folder: Path, arguments: list[str], *launcher: str) -> subprocess.Popen:
    command = [*(launcher or (sys.executable,)), str(ROOT / "training" / "recommend.py"), str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_half_way_it_ends_as_if_it_had_not_been(folder, ratings, unbroken, tmp_path):
    output = tmp_path / "recs.parquet"
    with launch(folder, options(ratings, output)) as process:
        while process.poll() is None and len(list(tmp_path.glob("recs.parquet.parts/[0-9]*.parquet"))) < 5:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -9, "it ended before it could be killed"
    assert not output.exists()
    kept = {path: path.stat().st_ino for path in tmp_path.glob("recs.parquet.parts/[0-9]*.parquet")}
    assert 5 <= len(kept) < 23
    with launch(folder, options(ratings, output)) as process:
        assert f"goes on: {len(kept)} of 23 parts" in process.stderr.read()
    assert process.returncode == 0
    assert_same_table(output, unbroken)


@pytest.mark.slow
def test_two_processes_write_the_table_of_one(folder, ratings, unbroken, tmp_path):
    output = tmp_path / "recs.parquet"
    with launch(folder, options(ratings, output), *LAUNCHER) as process:
        told = process.stderr.read()
    assert process.returncode == 0, told
    assert_same_table(output, unbroken)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--top_k", "0"), "--top_k 0 counts from 1"),
        (("--users_per_shard", "-4"), "--users_per_shard -4 counts from 1"),
        (("--top_k", "1000000"), "is more than the model's"),
        (("--ratings", "/no/such.csv"), "no table /no/such.csv"),
    ],
)
def test_wrong_options_are_named(folder, ratings, tmp_path, wrong, told):
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        main([str(folder), *options(ratings, tmp_path / "recs.parquet", *wrong)])
    assert not list(tmp_path.iterdir())


def test_a_data_set_of_which_nothing_is_known_is_refused(folder, tmp_path):
    table = tmp_path / "ratings.csv"
    table.write_text("user_id,movie_id,timestamp\n1,nothing,1\n1,nobody,2\n")
    with pytest.raises(ValueError, match="knows none of the data set's items"):
        main([str(folder), *options(table, tmp_path / "recs.parquet")])
