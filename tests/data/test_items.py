"""Tables of items: genres in every notation, years, titles under another name."""

import logging
from datetime import date
from typing import Any

import polars as pl
import pytest

from hf_bert4rec.data.items import read_genres, read_items
from hf_bert4rec.model.items_bert4rec import read_table, split_year, split_years


def read(mapping: dict[str, str | None] | None = None, **columns: Any) -> list[tuple[Any, ...]]:
    return read_items(pl.DataFrame(columns), mapping or {}, "mine").rows()


@pytest.mark.parametrize(
    "genres",
    [
        ["Crime|Drama", "War, Peace", None],
        ["Crime;Drama", "War, Peace", ""],
        ['["Crime", "Drama"]', '["War, Peace"]', "[]"],
        ["[{'id': 80, 'name': 'Crime'}, {'id': 18, 'name': 'Drama'}]", "['War, Peace']", None],
        [["Crime", " Drama "], ["War, Peace"], None],
        [[{"id": 80, "name": "Crime"}, {"id": 18, "name": "Drama"}], [{"id": 1, "name": "War, Peace"}], []],
    ],
)
def test_genres_in_every_notation(genres: list[Any]) -> None:
    items = read(movie_id=[5, 7, 9], title=["a", "b", "c"], genres=genres)
    assert [row[3] for row in items] == [["Crime", "Drama"], ["War, Peace"], []]


def test_genres_between_commas() -> None:
    assert read_genres(pl.Series(["Crime, Drama", "War"]), "mine").to_list() == [["Crime", " Drama"], ["War"]]
    assert read(movie_id=[1, 2], genres=["Crime, Drama", "unknown"])[0][3] == ["Crime", "Drama"]


@pytest.mark.parametrize("bad", ["[Crime]", "Crime", '"Crime"', "[1, {}]", "{'name': 'Crime'}", "["])
def test_invalid_lists_of_genres_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"mine, row 1 \(counted from 0\): genres .* is not a list of names"):
        read_genres(pl.Series(['["Crime"]', bad]), "mine")


def test_a_title_column_of_another_name_is_requested() -> None:
    with pytest.raises(ValueError, match=r"mine has no column 'title'; it has \['movie_id', 'name'\].*--title_column"):
        read(movie_id=[5], name=["Heat"])
    assert read({"title": "name"}, movie_id=[5], name=["Heat"]) == [(5, "Heat", None, [])]
    assert read({"title": None}, movie_id=[5], name=["Heat"]) == [(5, "5", None, [])]
    assert read(movie_id=[5], price=[9.5]) == [(5, "5", None, [])]
    with pytest.raises(ValueError, match=r"no column 'kind'.*item_columns=\{'genres': \.\.\.\} or --genres_column"):
        read({"genres": "kind"}, movie_id=[5])


def test_columns_that_are_not_read_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    read(movie_id=[5], title=["Heat"], year=[1995], genre=["Crime"])
    assert "mine has no genres; its columns ['genre'] are not read" in caplog.text


def test_every_column_is_mapped_and_years_of_every_type() -> None:
    mapping: dict[str, str | None] = {"movie_id": "sku", "title": "name", "year": "released", "genres": "kind"}
    assert read(mapping, sku=[" 5 "], name=["Heat"], released=["1995.0"], kind=["Crime"]) == [
        (5, "Heat", 1995, ["Crime"])
    ]
    assert read(movie_id=[5], title=["Heat"], year=[date(1995, 12, 15)])[0][2] == 1995
    assert read(movie_id=[5, 7], title=["Heat", "x"], year=[1995.0, None])[1][2] is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"title": [[1, 2]]}, r"column 'title' is of type List\(Int64\); titles are text"),
        ({"title": [True]}, "column 'title' is of type Boolean; titles are text"),
        (
            {"title": ["a"], "year": [19951215]},
            r"row 0 .*: column 'year' is '19951215', but a year is an integer up to 9999",
        ),
        ({"title": ["a"], "year": [1995.5]}, "'year' is '1995.5', but a year is an integer"),
        ({"title": ["a"], "year": ["1995-12-15"]}, "'year' is '1995-12-15', but a year is an integer"),
        ({"title": ["a"], "year": ["MMXX"]}, "'year' is 'MMXX', but a year is an integer"),
        ({"title": ["a"], "genres": [[{"id": 1}]]}, "genres are objects without a name"),
    ],
)
def test_columns_that_cannot_be_read(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"mine.*{message}"):
        read(movie_id=[5], **columns)


def test_titles_that_are_numbers() -> None:
    assert [row[1] for row in read(movie_id=[5, 7], title=[300.0, None])] == ["300", "7"]
    assert read(movie_id=[5], title=[1984])[0][1] == "1984"


def test_duplicate_items_are_refused_after_blanks_are_removed() -> None:
    with pytest.raises(ValueError, match=r"mine, row 1 .* is 5, but an earlier row has this id: give each"):
        read(movie_id=["5", " 5"], title=["a", "b"])


def test_years_are_split_off_as_the_tokenizer_does() -> None:
    titles = ["Heat (1995)", " Land Before Time III (1995) (V)", "(1995)", "1984 (1956) ", "Alien", None, "x (19)"]
    names, years = split_years(titles)
    assert names == ["Heat", "Land Before Time III", "(1995)", "1984", "Alien", None, "x (19)"]
    assert years == [1995, 1995, None, 1956, None, None, None]
    assert list(zip(names, years, strict=True)) == [split_year(title) if title else (None, None) for title in titles]


def test_a_year_in_both_title_and_column_is_split_off() -> None:
    columns = {"title": ["Heat (1995)", "Heat (1995)", "Heat (1995)", " Heat "], "year": [1995, 1996, None, 1995]}
    expected = [("Heat", 1995), ("Heat (1995)", 1996), ("Heat", 1995), ("Heat", 1995)]
    assert [row[1:3] for row in read(movie_id=[1, 2, 3, 4], **columns)] == expected
    _, items = read_table({"movie_id": [1, 2, 3, 4], **columns})
    assert list(zip(items["title"], items["year"], strict=True)) == expected
