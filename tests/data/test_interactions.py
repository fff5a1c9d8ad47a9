"""Tables and sequence files of every kind, valid and invalid."""

import dataclasses
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import Dataset

from hf_bert4rec.data import build_histories, load_ml1m_sequences, read_interactions, read_sequences, sequences

REAL = Path(os.environ.get("HF_BERT4REC_DATA") or "nowhere") / "ml-1m"
COLUMNS = {"user_id": [2, 1, 1], "movie_id": [7, 7, 5], "rating": [4.0, 3.5, 1.0], "timestamp": [9, 8, 7]}
ROWS = [tuple(row) for row in zip(*COLUMNS.values(), strict=True)]
TABLE = "the table of interactions"


def write_csv(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_text_and_numbers_read_the_same(kind: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(COLUMNS)
    tables = read_interactions(frame if kind == "numbers" else write_csv(tmp_path, frame.write_csv()))
    assert [tuple(row.values()) for row in tables["ratings"]] == ROWS
    kinds = {name: feature.dtype for name, feature in tables["ratings"].features.items()}
    assert kinds == {"user_id": "int64", "movie_id": "int64", "rating": "float32", "timestamp": "int64"}
    assert tables["movies"].to_list() == [
        {"movie_id": 5, "title": "5", "year": None, "genres": []},
        {"movie_id": 7, "title": "7", "year": None, "genres": []},
    ]
    assert build_histories(tables["ratings"], 1)["item_ids"][:] == [[5, 7], [7]]


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "who,what,when,stars\na,x,1,5\nb,y,2,4\n")
    tables = read_interactions(str(path), "who", "what", "when", "stars")
    assert tables["ratings"][1] == {"user_id": "b", "movie_id": "y", "rating": 4.0, "timestamp": 2}


def test_the_log_has_the_first_and_the_last_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read_interactions(pl.DataFrame(COLUMNS).with_columns(timestamp=pl.Series([9.5, 1_714_521_605_000, 7])))
    assert f"{TABLE}: times from 1970-01-01T00:00:00 to 2024-05-01T00:00:05" in caplog.text


def test_without_times_and_ratings_none_are_invented() -> None:
    tables = read_interactions(pl.DataFrame({"user_id": [1], "movie_id": [2]}), time_column=None)
    assert tables["ratings"].column_names == ["user_id", "movie_id"]
    tables = read_interactions(pl.DataFrame(COLUMNS), time_column=None, rating_column=None)
    assert tables["ratings"].column_names == ["user_id", "movie_id"]


def items(**columns: Any) -> list[dict[str, Any]]:
    table = pl.DataFrame(columns)
    return read_interactions(pl.DataFrame(COLUMNS), items=table)["movies"].to_list()


def test_items_with_years_and_genres_of_every_kind(tmp_path: Path) -> None:
    heat = {"movie_id": 5, "title": "Heat", "year": 1995, "genres": ["Crime", "Drama"]}
    alien = {"movie_id": 7, "title": "Alien", "year": None, "genres": []}
    ids, genres = [5, 7], ["Crime|Drama", "(no genres listed)"]
    assert items(movie_id=ids, title=[" Heat (1995) ", "Alien"], genres=genres) == [heat, alien]
    assert items(movie_id=["5", "7"], title=["Heat", "Alien"], year=["1995", ""], genres=genres) == [heat, alien]
    # With a year column, a year in the title is part of the title.
    assert items(movie_id=ids, title=["Heat (1995)", "x"], year=[1, 2])[0]["title"] == "Heat (1995)"
    path = write_csv(tmp_path, 'sku,name,kind\n5,"Heat, the ""big"" one (1995)",Crime|Drama\n7,,\n')
    mapping = {"movie_id": "sku", "title": "name", "genres": "kind"}
    movies = read_interactions(pl.DataFrame(COLUMNS), items=path, item_columns=mapping)["movies"].to_list()
    assert movies == [
        {"movie_id": 5, "title": 'Heat, the "big" one', "year": 1995, "genres": ["Crime", "Drama"]},
        {"movie_id": 7, "title": "7", "year": None, "genres": []},
    ]


@pytest.mark.parametrize(
    "text", ["['Crime' \"Children's\"]", "['Crime'\n \"Children's\"]", '["Crime", null, "Children\'s"]']
)
def test_genres_in_lists_as_numpy_and_json_write_them(text: str) -> None:
    assert str(np.array(["Crime", "Children's"])) == "['Crime' \"Children's\"]"
    assert [item["genres"] for item in items(movie_id=[5, 7], genres=[text, "[]"])] == [["Crime", "Children's"], []]


def test_genres_as_lists_from_pandas() -> None:
    table = pd.DataFrame({"movie_id": [5, 7], "title": ["Heat", "Alien"], "genres": [["Crime"], []]})
    movies = read_interactions(pd.DataFrame(COLUMNS), items=table)["movies"]
    assert movies["genres"][:] == [["Crime"], []]


def test_items_without_a_row_are_added_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert items(movie_id=[9, 5], title=["Nine", "Five"]) == [
        {"movie_id": 9, "title": "Nine", "year": None, "genres": []},
        {"movie_id": 5, "title": "Five", "year": None, "genres": []},
        {"movie_id": 7, "title": "7", "year": None, "genres": []},
    ]
    assert "1 items have no row in the items' table (the first is 7)" in caplog.text


def test_ids_of_two_types_are_compared_as_strings() -> None:
    tables = read_interactions(pl.DataFrame(COLUMNS), items=pl.DataFrame({"movie_id": ["5", "7", "x9"]}))
    assert tables["ratings"]["movie_id"][:] == ["7", "7", "5"]
    assert tables["movies"]["movie_id"][:] == ["5", "7", "x9"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": [1, None, 2]}, r"row 1 \(counted from 0, without a header\): column 'user_id' is None, but an id"),
        ({"user_id": ["a", " ", "b"]}, r"row 1 .*column 'user_id' is ' ', but an id is needed"),
        ({"movie_id": [1.0, 2.0, float("nan")]}, r"row 2 .*column 'movie_id' is nan"),
        ({"movie_id": [1.0, 2.5, 3.0]}, r"row 1 .*is 2.5, but an id is an integer or text"),
        ({"movie_id": [True, False, True]}, r"column 'movie_id' is of type Boolean"),
        ({"timestamp": [1, None, None]}, r"row 1 .*a time is needed; 2 of 3 rows are like that"),
        ({"timestamp": [1.0, 2.0, float("inf")]}, r"row 2 .*column 'timestamp' is inf, but a time is a finite"),
        ({"timestamp": ["2024-01-01", "yesterday", None]}, r"row 1 .*'yesterday', but a time is a number or an ISO"),
        ({"timestamp": ["5", "2024-01-01", "6"]}, r"row 1 .*'2024-01-01', but a time is a finite number, as elsew"),
        ({"timestamp": [None, None, None]}, r"column 'timestamp' is of type Null"),
        ({"timestamp": [datetime(2024, 1, 1), None, None]}, r"row 1 .*a time is needed"),
        ({"rating": ["4", "good", "5"]}, r"row 1 .*'good', but a rating is a finite number"),
        ({"rating": [1.0, float("nan"), 2.0]}, r"row 1 .*is nan, but a rating is a finite number"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{TABLE}.*{message}"):
        read_interactions(pl.DataFrame({**COLUMNS, **change}))


def test_missing_columns_say_how_to_map(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "who,what,when\n1,2,3\n")
    message = (
        r"mine.csv has no column 'user_id', 'movie_id', 'timestamp'; it has \['who', 'what', 'when'\]. "
        r"Name .* user_column=... and item_column=... and time_column=... \(time_column='' if the rows are in order"
    )
    with pytest.raises(ValueError, match=message):
        read_interactions(path)
    with pytest.raises(ValueError, match=r"no column 'stars'.*rating_column=\.\.\."):
        read_interactions(path, "who", "what", "when", "stars")
    with pytest.raises(ValueError, match="item_column is '', and a table needs a column of items"):
        read_interactions(path, "who", "", "when")
    with pytest.raises(
        ValueError, match=r"table of items has no column 'movie_id'.*item_columns=\{'movie_id': \.\.\.\}"
    ):
        items(code=[5, 7])
    with pytest.raises(ValueError, match=r"item_columns maps \['name'\], but only"):
        read_interactions(pl.DataFrame(COLUMNS), items=pl.DataFrame({"movie_id": [5]}), item_columns={"name": "title"})


def test_items_with_other_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="none of its 2 items is in the items' table; ids are like 5 here and"):
        items(movie_id=[50, 70])


def test_tables_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="interactions has no rows"):
        read_interactions(pl.DataFrame(COLUMNS).clear())
    with pytest.raises(ValueError, match=r"mine.csv has no rows"):
        read_interactions(write_csv(tmp_path, "user_id,movie_id,timestamp\n"))


def test_sequences_keep_their_order(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "2 1\n1 3\n2 3\n1 1\n1 2\n", "seq.txt")
    tables = read_sequences(path)
    assert tables["ratings"].column_names == ["user_id", "movie_id"]
    assert build_histories(tables["ratings"], 1)["item_ids"][:] == [[3, 1, 2], [1, 3]]
    assert tables["movies"]["title"][:] == ["1", "2", "3"]


def test_sequences_with_mapping_and_titles(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "1 2\r\n1 1\r\n", "seq.txt")
    mapping = write_csv(tmp_path, "1 50\n2 318\n3 9\n", "map.txt")
    movies = Dataset.from_dict(
        {"movie_id": [50, 318], "title": ["Usual", "Shawshank"], "year": [1995, 1994], "genres": [["Crime"], []]}
    )
    tables = read_sequences(path, movies, mapping)
    assert tables["ratings"]["movie_id"][:] == [318, 50]
    assert tables["movies"].to_list() == movies.to_list()


@pytest.mark.parametrize(
    "text",
    ["user item\n1 5\n2 6\n", "user_id\tmovie_id\nann x\nbob y\n", "User Item\n1 a\n", "user_id 5\n1 5\n2 6\n"],
)
def test_a_header_of_a_sequence_file_is_not_an_interaction(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seq.txt, line 1: '.*' looks like a header; remove this line"):
        read_sequences(write_csv(tmp_path, text, "seq.txt"))


def test_a_byte_order_mark_is_not_part_of_the_first_user(tmp_path: Path) -> None:
    tables = read_sequences(write_csv(tmp_path, "\ufeff1 5\n1 6\n", "seq.txt"))
    assert build_histories(tables["ratings"], 1).to_list() == [{"user_id": 1, "item_ids": [5, 6]}]


def test_sequences_of_words_need_no_header(tmp_path: Path) -> None:
    tables = read_sequences(write_csv(tmp_path, "ann x\nbob x\n", "seq.txt"))
    assert tables["ratings"]["user_id"][:] == ["ann", "bob"]


def test_bad_sequences_are_named(tmp_path: Path) -> None:
    mapping = write_csv(tmp_path, "1 50\n", "map.txt")
    with pytest.raises(ValueError, match=r"seq.txt, line 2: item 9 is not in .*map.txt"):
        read_sequences(write_csv(tmp_path, "1 1\n1 9\n", "seq.txt"), id_mapping=mapping)
    with pytest.raises(ValueError, match=r"seq.txt, line 2: expected 2 fields, not 3"):
        read_sequences(write_csv(tmp_path, "1 1\n1 2 3\n", "seq.txt"))
    with pytest.raises(ValueError, match=r"seq.txt, line 2: expected 2 fields, not 1"):
        read_sequences(write_csv(tmp_path, "1 1\n1\n", "seq.txt"))
    with pytest.raises(ValueError, match=r"seq.txt has no rows"):
        read_sequences(write_csv(tmp_path, "\n", "seq.txt"))
    twice = write_csv(tmp_path, "1 50\n2 50\n", "twice.txt")
    with pytest.raises(ValueError, match=r"twice.txt, line 2: duplicate id 50"):
        read_sequences(write_csv(tmp_path, "1 1\n", "seq.txt"), id_mapping=twice)


def test_ml1m_sequences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_csv(tmp_path, "1 1\n1 2\n2 1\n", "ml-1m.txt")
    write_csv(tmp_path, "1 1198\n2 3552\n", "item_mapping.txt")
    with pytest.raises(FileNotFoundError, match=r"lacks movies.dat"):
        load_ml1m_sequences(tmp_path)
    text = "1198::Misérables, Les (1995)::Drama\n3552::Caddyshack (1980)::Comedy\n"
    (tmp_path / "movies.dat").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"ml-1m.txt is not ml-1m.txt: it has 3 ratings \(999,611 expected\), 2 users \(6,040 exp"
    ):
        load_ml1m_sequences(tmp_path)
    counts = {"users": 2, "rated_movies": 2, "movies": 2, "ratings": 3}
    monkeypatch.setattr(sequences, "PUBLISHED", dataclasses.replace(sequences.PUBLISHED, **counts))
    tables = load_ml1m_sequences(tmp_path)
    assert tables["ratings"]["movie_id"][:] == [1198, 3552, 1198]
    assert tables["movies"]["title"][:] == ["Misérables, Les", "Caddyshack"]


@pytest.mark.skipif(not (REAL / "ml-1m.txt").is_file(), reason="HF_BERT4REC_DATA names no folder with ml-1m/ml-1m.txt")
def test_the_real_sequences() -> None:
    tables = load_ml1m_sequences(REAL)  # which checks the counts
    histories = build_histories(tables["ratings"])
    assert (len(histories), histories.column_names) == (6_040, ["user_id", "item_ids"])
    titles = dict(zip(tables["movies"]["movie_id"], tables["movies"]["title"], strict=True))
    assert titles[histories["item_ids"][0][0]] == "Raiders of the Lost Ark"
    assert sum(map(len, histories["item_ids"])) == 999_611
