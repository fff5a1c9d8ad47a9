"""Custom tables from the command line: mapped columns, optional ratings, quote characters; likes."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.histories import build_histories
from hf_bert4rec.data.prepare import load, prepare
from hf_bert4rec.training.arguments import parse

RATINGS = "who,what,when,stars\n" + "".join(
    f"u{user},{user + item},{1_714_521_600_000 + item * 1000},{'' if item % 2 else 'good'}\n"
    for user in range(4)
    for item in range(5)
)
ITEMS = "what,name,released,kinds\n" + "".join(
    f'{item},"Film ""{item}""",{1990 + item},"Crime, Drama"\n' for item in range(8)
)


@pytest.fixture
def table(tmp_path: Path) -> dict[str, str]:
    """The options of a table whose columns all have names of their own."""
    (tmp_path / "mine.csv").write_text(RATINGS)
    (tmp_path / "items.csv").write_text(ITEMS)
    return {
        "ratings": str(tmp_path / "mine.csv"),
        "items": str(tmp_path / "items.csv"),
        "user_column": "who",
        "item_column": "what",
        "time_column": "when",
        "title_column": "name",
        "year_column": "released",
        "genres_column": "kinds",
    }


def test_a_table_with_columns_of_its_own_names(table: dict[str, str]) -> None:
    data = prepare(DataArguments(**table, rating_column="", min_interactions=1))
    assert data.histories.column_names == ["user_id", "item_ids", "timestamps"]
    assert data.histories["timestamps"][0][:3] == [1_714_521_600, 1_714_521_601, 1_714_521_602]
    assert data.movies[3] == {"movie_id": 3, "title": 'Film "3"', "year": 1993, "genres": ["Crime", "Drama"]}
    assert data.split_tables["test"]["target"][:] == [4, 5, 6, 7]


def test_the_log_says_what_the_filters_leave(table: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    prepare(DataArguments(**table, rating_column="", min_interactions=3))  # leaves items 2 to 5
    assert "the filters leave 14 of 20 interactions, 4 users and 4 items" in caplog.text


def test_ratings_that_are_words_say_how_to_leave_them_out(table: dict[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r"'stars' is 'good', but a rating is .* rating_column=None \(--rating_column ''"
    ):
        load(DataArguments(**table, rating_column="stars"))


def test_options_of_the_command_line(table: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("rating_column: ''\nescape_char: '\\'\n")
    flags = [text for name, value in table.items() for text in (f"--{name}", value)]
    arguments = parse([str(recipe), *flags, "--quote_char", "'", "--output_dir", str(tmp_path / "out")])[0]
    assert (arguments.rating_column, arguments.quote_char, arguments.escape_char) == ("", "'", "\\")
    assert arguments.title_column == "name"
    arguments = parse([str(recipe), "--rating_column", "", "--title_column", "", "--output_dir", str(tmp_path)])[0]
    assert (arguments.rating_column, arguments.title_column) == ("", "")


def test_no_titles(table: dict[str, str]) -> None:
    tables = load(DataArguments(**{**table, "title_column": ""}, rating_column=""))
    assert tables["movies"][3]["title"] == "3"


@pytest.mark.parametrize(
    ("options", "items", "ratings"),
    [
        ({"repeats": "first"}, [10, 11, 12], [1.0, 2.0, 4.0]),
        ({"repeats": "last"}, [11, 12, 10], [2.0, 4.0, 5.0]),
        ({"repeats": "all"}, [10, 11, 12, 10], [1.0, 2.0, 4.0, 5.0]),
        ({"repeats": "first", "min_rating": 4.0}, [12, 10], [4.0, 5.0]),
    ],
)
def test_an_interaction_has_its_own_rating(options: dict[str, Any], items: list[int], ratings: list[float]) -> None:
    """The user first rated item 10 with 1 and at last with 5; the table is in another order."""
    times = {"rating": [5.0, 4.0, 1.0, 2.0], "timestamp": [4, 3, 1, 2]}
    table = Dataset.from_dict({"user_id": [1] * 4, "movie_id": [10, 12, 10, 11], **times})
    (history,) = build_histories(table, min_interactions=1, with_ratings=True, **options)
    assert (history["item_ids"], history["ratings"]) == (items, ratings)


def test_likes_are_rated_high_enough(table: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path(table["ratings"]).write_text(RATINGS.replace("good", "4.0").replace(",\n", ",3.5\n"))
    arguments = DataArguments(**table, rating_column="stars", min_interactions=1)
    data = prepare(arguments)
    assert data.rated
    assert data.train_liked.tolist() == [True, False, True] * 4
    assert prepare(replace(arguments, liked_rating=3.5)).train_liked.all()
    assert "is a like" not in caplog.text
    assert not prepare(replace(arguments, liked_rating=5)).train_liked.any()
    assert "no rating is a like, 5 or more: give the lowest one by --liked_rating" in caplog.messages


def test_all_interactions_are_likes_without_ratings(table: dict[str, str]) -> None:
    data = prepare(DataArguments(**table, rating_column="", min_interactions=1))
    assert not data.rated
    assert data.train_liked.tolist() == [True] * len(data.train.values)
