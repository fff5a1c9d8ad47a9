"""`hf-bert4rec recommend-all`: the pipeline's answers for all users, also if interrupted and from two processes."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from transformers import pipeline

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.batch.recommend_all import Shards
from hf_bert4rec.batch.users import read_users
from hf_bert4rec.cli.recommend_all import main
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.evaluation.evaluate import evaluate_model
from hf_bert4rec.hub.folder import load_pipeline
from tests.processes import run_python
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
    path.write_text("\n".join(["user_id,movie_id,timestamp", *lines, "new user,no such item,1"]) + "\n")
    return path


def options(ratings: Path, output: Path, *others: str) -> list[str]:
    table = ["--ratings", str(ratings), "--output", str(output), "--top_k", "5"]
    return [*table, "--users_per_shard", "4", "--batch_size", "3", *others]


def assert_same_table(path: Path, other: Path) -> None:
    """The same users, movies and ranks; scores up to rounding, which may depend on the alignment of memory."""
    table, expected = pq.read_table(path), pq.read_table(other)
    assert table.drop_columns("score").equals(expected.drop_columns("score"))
    assert table["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), rel=1e-5)


def table_of(path: Path) -> pa.Table:
    table = pq.read_table(path)
    assert table.schema.names == ["user_id", "movie_id", "rank", "score", "source"]
    return table


@pytest.fixture(scope="module")
def unbroken(folder, ratings, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "recs.parquet"
    main([str(folder), *options(ratings, output)])
    return output


def test_the_table_holds_the_pipelines_answers(folder, histories, unbroken):
    pipe = pipeline("movie-recommendation", model=str(folder), trust_remote_code=True)
    recommended = rows_by_user(unbroken)
    assert set(recommended) == {*histories, "new user"}
    ids = {str(item): item for item in Bert4RecTokenizer.from_pretrained(folder).item_ids}
    for user, items in histories.items():
        assert_same_answer(recommended[user], pipe([ids[str(item)] for item in items], top_k=5))
    assert_same_answer(recommended["new user"], pipe([], top_k=5))


def test_a_prepared_folder_gives_the_same_table(folder, ratings, unbroken, tmp_path, caplog):
    lines = ratings.read_text().splitlines()
    known = tmp_path / "known.csv"
    known.write_text("\n".join(line for line in lines if not line.startswith("new user")) + "\n")
    for name, table in (("known", known), ("all", ratings)):
        data = DataArguments(ratings=str(table), min_interactions=1, repeats="all")
        prepare_folder(data, tmp_path / name)
        main([str(folder), *options(table, tmp_path / "table.parquet")])
        main([str(folder), *options(tmp_path / name, tmp_path / "folder.parquet")])
        assert_same_table(tmp_path / "folder.parquet", tmp_path / "table.parquet")
    assert caplog.text.count("1 of 358 interactions are with items outside the model's catalogue") == 2
    assert "was prepared with" not in caplog.text
    prepare_folder(DataArguments(ratings=str(ratings), min_interactions=2), tmp_path / "filtered")
    main([str(folder), *options(tmp_path / "filtered", tmp_path / "filtered.parquet")])
    assert "filtered was prepared with min_interactions 2, repeats first" in caplog.text


@pytest.mark.parametrize("option", ["event_column", "time_column"])
def test_a_folder_with_other_columns_is_refused(folder, ratings, tmp_path, option):
    prepare_folder(DataArguments(ratings=str(ratings), min_interactions=1, repeats="all"), tmp_path / "prepared")
    value = {"event_column": "kind", "time_column": ""}[option]
    with pytest.raises(ValueError, match=f"{option} is .*, and the folder was prepared with"):
        main([str(folder), *options(tmp_path / "prepared", tmp_path / "recs.parquet", f"--{option}", value)])


def rows_by_user(path: Path) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for row in table_of(path).to_pylist():
        rows.setdefault(row["user_id"], []).append(row)
    return rows


def assert_same_answer(rows: list[dict], answer: list[dict]) -> None:
    # Batches and single requests round differently: movies of nearly equal scores may be swapped.
    assert {str(row["movie_id"]) for row in rows} == {str(movie["movie_id"]) for movie in answer}
    assert [row["score"] for row in rows] == pytest.approx([movie["score"] for movie in answer], rel=1e-4)
    assert [row["source"] for row in rows] == [movie["source"] for movie in answer]
    assert [row["rank"] for row in rows] == list(range(1, len(answer) + 1))


VISITORS = 40


@pytest.fixture(scope="module")
def visits(folder) -> dict[str, list[tuple[int, float]]]:
    """Movies and ratings of this week's visitors, oldest first: the last two movies of most occur once in the table.

    One visitor watched a movie twice, one likes nothing, one knows only movies that the model does not know.
    """
    items = Bert4RecTokenizer.from_pretrained(folder).item_ids
    popular, rare = items[:8], items[8:]
    visits = {
        f"v{visitor}": [(popular[(visitor + step) % 8], 5.3 - step % 3) for step in range(5)]
        + [(rare[(2 * visitor + step) % len(rare)], 5.0) for step in range(2)]
        for visitor in range(VISITORS)
    }
    visits["v1"].append(visits["v1"][0])
    visits["v2"] = [(item, 1.0) for item, _ in visits["v2"]]
    visits["v3"] = [(900001, 5.0), (900002, 5.0)]
    visits["v4"] = [(900001, 5.0), *visits["v4"]]
    return visits


@pytest.mark.parametrize("min_rating", [None, 4.0, 3.3])
def test_every_visitor_gets_what_the_pipeline_answers(folder, visits, tmp_path, min_rating):
    table, output = tmp_path / "visitors.csv", tmp_path / "recs.parquet"
    lines = [
        f"{user},{item},{rating},{time}" for user, rows in visits.items() for time, (item, rating) in enumerate(rows)
    ]
    table.write_text("\n".join(["user_id,movie_id,rating,timestamp", *lines]) + "\n")
    threshold = [] if min_rating is None else ["--min_rating", str(min_rating)]
    main([str(folder), "--ratings", str(table), "--output", str(output), "--top_k", "10", *threshold])
    recommended, pipe = rows_by_user(output), load_pipeline(folder)
    assert set(recommended) == set(visits)
    for user, rows in visits.items():
        request = {"history": [item for item, _ in rows]}
        if min_rating is not None:
            request |= {"ratings": [rating for _, rating in rows], "min_rating": min_rating}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pipeline warns of unknown movies
            assert_same_answer(recommended[user], pipe(request, top_k=10))
        assert not {row["movie_id"] for row in recommended[user]} & {item for item, _ in rows}
    by_popularity = {user for user, rows in recommended.items() if rows[0]["source"] == "popularity"}
    assert by_popularity == ({"v3"} if min_rating is None else {"v2", "v3"})
    prepare_folder(DataArguments(ratings=str(table), min_interactions=1, repeats="all"), tmp_path / "prepared")
    main([str(folder), "--ratings", str(tmp_path / "prepared"), "--output", str(output), "--top_k", "10", *threshold])
    assert rows_by_user(output) == recommended


def test_a_rating_threshold_without_ratings_is_reported(folder, ratings, unbroken, tmp_path, caplog):
    main([str(folder), *options(ratings, tmp_path / "recs.parquet", "--min_rating", "4")])
    assert "no ratings: min_rating 4 is not applied" in caplog.text
    assert_same_table(tmp_path / "recs.parquet", unbroken)


def test_the_items_table_of_training_is_not_needed(folder, ratings, unbroken, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((copy / "training.json").read_text())
    record["options"] |= {"ratings": "gone.csv", "items": "gone-items.csv"}
    (copy / "training.json").write_text(json.dumps(record))
    main([str(copy), *options(ratings, tmp_path / "recs.parquet")])
    assert_same_table(tmp_path / "recs.parquet", unbroken)


def test_a_user_who_has_seen_almost_everything_gets_the_rest(folder, tmp_path, caplog):
    items = Bert4RecTokenizer.from_pretrained(folder).item_ids
    table = tmp_path / "ratings.csv"
    lines = [f"1,{item},{time}" for time, item in enumerate(items[:-2])]
    table.write_text("\n".join(["user_id,movie_id,timestamp", *lines]) + "\n")
    main([str(folder), *options(table, tmp_path / "recs.parquet")])
    rows = table_of(tmp_path / "recs.parquet").to_pylist()
    assert sorted(row["movie_id"] for row in rows) == sorted(items[-2:])
    assert "1 users have fewer than 5 unseen movies" in caplog.text


@pytest.mark.filterwarnings("ignore:5 movies requested, none left")
def test_a_user_who_has_seen_everything_gets_nothing(folder, tmp_path, caplog):
    items = Bert4RecTokenizer.from_pretrained(folder).item_ids
    table, output = tmp_path / "ratings.csv", tmp_path / "recs.parquet"
    header = "user_id,movie_id,rating,timestamp"
    everything = [
        f"{user},{item},{rating},{time}" for user, rating in ((1, 5), (2, 1)) for time, item in enumerate(items)
    ]
    table.write_text("\n".join([header, *everything]) + "\n")
    main([str(folder), *options(table, output, "--min_rating", "3")])
    assert table_of(output).num_rows == 0
    table.write_text("\n".join([header, *everything, f"3,{items[0]},5,1"]) + "\n")
    main([str(folder), *options(table, output, "--min_rating", "3")])
    assert table_of(output)["user_id"].to_pylist() == [3] * 5
    assert "2 users have fewer than 5 unseen movies" in caplog.text
    pipe = load_pipeline(folder)
    assert pipe(items, top_k=5) == pipe(items, ratings=[1] * len(items), min_rating=3, top_k=5) == []


def test_scoring_continues_after_an_interruption(folder, ratings, unbroken, tmp_path, monkeypatch, caplog):
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
    with caplog.at_level("INFO", "hf_bert4rec"):
        main([str(folder), *options(ratings, output)])
    assert "continuing: 6 of 23 parts" in caplog.text
    assert_same_table(output, unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]


def test_parts_of_other_options_are_written_again(folder, ratings, unbroken, tmp_path, monkeypatch):
    output, other = tmp_path / "recs.parquet", shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 10.0}))  # the weights are the same
    monkeypatch.setattr(Shards, "merge", lambda self: None)
    main([str(folder), *options(ratings, output, "--top_k", "3")])
    main([str(other), *options(ratings, output)])
    monkeypatch.undo()
    main([str(folder), *options(ratings, output)])
    assert_same_table(output, unbroken)


@pytest.mark.slow
def test_two_processes_write_the_table_of_one(folder, ratings, unbroken, tmp_path):
    output = tmp_path / "recs.parquet"
    command = [*LAUNCHER[1:], str(ROOT / "training" / "recommend.py"), str(folder), *options(ratings, output)]
    run_python(*command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert_same_table(output, unbroken)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--top_k", "0"), "top_k is 0; it must be 1 or more"),
        (("--users_per_shard", "-4"), "users_per_shard is -4; it must be 1 or more"),
        (("--top_k", "1000000"), "is more than the model's"),
        (("--ratings", "/no/such.csv"), "no table /no/such.csv"),
        (("--min_interactions", "50"), "unknown option --min_interactions"),
        (("--split", "temporal"), "unknown option --split"),
        (("--items", "items.csv"), "unknown option --items"),
    ],
)
def test_wrong_options_are_named(folder, ratings, tmp_path, wrong, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main([str(folder), *options(ratings, tmp_path / "recs.parquet", *wrong)])
    assert not list(tmp_path.iterdir())


def damage(folder: Path, kind: str) -> None:
    """Remove a weight, or swap two items of the tokenizer."""
    if kind == "a weight is missing":
        weights = load_file(folder / "model.safetensors")
        del weights["bert4rec.layers.0.attention.key.weight"]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    else:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["100"], vocabulary["101"] = vocabulary["101"], vocabulary["100"]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("kind", "message"),
    [("a weight is missing", "the weights lack .*key.weight"), ("two items are swapped", "made for other items")],
)
def test_a_damaged_model_is_neither_used_nor_evaluated(folder, ratings, tmp_path, kind, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, kind)
    with pytest.raises(ValueError, match=message):
        main([str(copy), *options(ratings, tmp_path / "recs.parquet")])
    with pytest.raises(ValueError, match=message):
        evaluate_model(copy)
    assert not (tmp_path / "recs.parquet").exists()


def test_a_table_with_no_known_item_is_answered_by_popularity_with_a_warning(folder, tmp_path, caplog):
    table, output = tmp_path / "ratings.csv", tmp_path / "recs.parquet"
    table.write_text("user_id,movie_id,timestamp\n1,nothing,1\n1,nobody,2\n")
    main([str(folder), *options(table, output)])
    assert "none is known: was the model trained on another data set?" in caplog.text
    assert {row["source"] for row in table_of(output).to_pylist()} == {"popularity"}


def test_a_release_is_not_mistaken_for_a_prepared_table_in_the_current_folder(ratings, tmp_path, monkeypatch):
    prepare_folder(DataArguments(ratings=str(ratings), min_interactions=1), tmp_path / "prepared")
    monkeypatch.chdir(tmp_path / "prepared")
    with pytest.raises(FileNotFoundError, match="absent, named by data_dir"):
        read_users(DataArguments(data_dir="absent"), tokenizer=None)


def test_without_interaction_counts_there_is_no_answer_by_popularity(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    items = json.loads((copy / "items.json").read_text())
    del items["count"]
    (copy / "items.json").write_text(json.dumps(items))
    table = tmp_path / "ratings.csv"
    table.write_text("user_id,movie_id,timestamp\n1,nothing,1\n")
    with pytest.raises(ValueError, match="popularity is not known"):
        main([str(copy), *options(table, tmp_path / "recs.parquet")])
    assert not (tmp_path / "recs.parquet").exists()
