"""Item tables in common formats, extended vocabularies, and the name of ids: normalised, or refused at once."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.model.items_bert4rec import split_year
from tests.conftest import MOVIES, NUM_MOVIES

CATALOGUE = {
    "movie_id": [1, 2, 3],
    "title": ["Toy Story", None, 300],
    "year": [1995.0, float("nan"), 2006.0],
    "genres": ["Animation|Comedy", None, "Action, War"],
}
EXPECTED = {
    "title": ["Toy Story", None, "300"],
    "year": [1995, None, 2006],
    "genres": [["Animation", "Comedy"], None, ["Action", "War"]],
}


def saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    return Bert4RecTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        CATALOGUE,
        pd.DataFrame(CATALOGUE),
        pl.DataFrame(CATALOGUE, strict=False),
        pl.DataFrame(CATALOGUE, strict=False).to_arrow(),
        Dataset(pl.DataFrame(CATALOGUE, strict=False).to_arrow()).to_iterable_dataset(),
    ],
    ids=["mapping", "pandas", "polars", "arrow", "stream"],
)
def test_a_pandas_catalogue_is_saved_and_loaded(table, tmp_path):
    again = saved_and_loaded(Bert4RecTokenizer.from_movies(table), tmp_path)
    assert again.item_ids == [1, 2, 3]
    assert again.items == EXPECTED
    assert again.titles == ["Toy Story (1995)", "2", "300 (2006)"]


def test_counts_in_any_form_are_integers_or_refused():
    for counts in ({1: 2.0, "3": np.int64(1)}, pd.Series([1, 3, 1]).value_counts(), {1.0: 2, 3: 1}):
        assert Bert4RecTokenizer.from_movies(CATALOGUE, counts).items["count"] == [2, 0, 1]
    for wrong in (2.5, float("nan"), -1):
        with pytest.raises(ValueError, match=f"count, row 0, is {wrong}; it must be an integer, 0 or more"):
            Bert4RecTokenizer.from_movies(CATALOGUE, {1: wrong})


def test_movies_added_from_pandas_are_saved_and_loaded(pipe, tmp_path):
    new = pd.DataFrame(
        {"movie_id": np.array([500, 501]), "title": ["New (2020)", np.nan], "genres": ['["Drama", "War"]', np.nan]}
    )
    pipe.add_items(new)
    pipe.save_pretrained(tmp_path)
    again = Bert4RecTokenizer.from_pretrained(tmp_path)
    assert again.item_ids[-2:] == [500, 501]
    assert again.items["title"][-2:] == ["New", None]
    assert again.items["year"][-2:] == [2020, None]
    assert again.items["genres"][-2:] == [["Drama", "War"], None]


@pytest.mark.parametrize(
    ("genres", "expected"),
    [
        ("Comedy", ["Comedy"]),
        ("Comedy|Sci-Fi, Fantasy", ["Comedy", "Sci-Fi, Fantasy"]),
        ("Comedy, Drama", ["Comedy", "Drama"]),
        ("Comedy; Sci-Fi, Fantasy", ["Comedy", "Sci-Fi, Fantasy"]),
        ('[{"id": 35, "name": "Comedy"}, {"id": 18, "name": "Drama"}]', ["Comedy", "Drama"]),
        ('["Comedy", "Drama"]', ["Comedy", "Drama"]),
        (("Comedy", " Drama "), ["Comedy", "Drama"]),
        (np.array(["Comedy", "Drama"]), ["Comedy", "Drama"]),
        ("(no genres listed)", []),
        ("", []),
    ],
)
def test_genres_in_any_form_are_a_list(genres, expected):
    assert Bert4RecTokenizer.from_movies({"movie_id": [1], "genres": [genres]}).items["genres"] == [expected]


@pytest.mark.parametrize("year", [1995, 1995.0, "1995", "1995.0", " 1995 ", np.int32(1995), np.float64(1995)])
def test_a_year_in_any_form_is_an_integer(year):
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [1, 2, 3], "year": [year, " ", None]})
    assert tokenizer.items["year"] == [1995, None, None]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("year", "MCMXCV", r"year, row 1, is 'MCMXCV'; it must be an integer or null"),
        ("year", 1995.5, r"year, row 1, is 1995.5"),
        ("year", True, r"year, row 1, is True"),
        ("title", 1.5, r"title, row 1, is 1.5; it must be a text or null"),
        ("title", "\ud800", r"title, row 1, is '\\ud800'"),
        ("genres", '[{"id": 16}]', r"genres, row 1, is .*; it must be a list of texts or null"),
        ("genres", "[Comedy", r"genres, row 1, is '\[Comedy'"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_row(column, value, message):
    with pytest.raises(ValueError, match=message):
        Bert4RecTokenizer.from_movies({"movie_id": [1, 2], column: [None, value]})


@pytest.mark.parametrize(
    ("column", "target"), [("name", "title"), ("movie_title", "title"), ("release_year", "year"), ("genre", "genres")]
)
def test_a_column_of_another_name_is_refused_with_the_fix(column, target):
    with pytest.raises(ValueError, match=f"no column '{target}'; rename its column '{column}' to '{target}'"):
        Bert4RecTokenizer.from_movies({"movie_id": [1], column: ["x"]})


@pytest.mark.parametrize("ids", [np.array([10, 20]), pd.Series([10.0, 20.0]), [np.int32(10), 20]])
def test_ids_of_numpy_and_pandas_are_integers(ids, tmp_path):
    again = saved_and_loaded(Bert4RecTokenizer.from_movies({"movie_id": ids}), tmp_path)
    assert again.item_ids == [10, 20]
    assert again.encode_items([10, 20.0, "10 "]) == [3, 4, 3]


@pytest.mark.parametrize("ids", [[True, False], [1.5, 2.0], [float("nan"), 1.0], ["", "a"], [None, 1], ["a\nb", "c"]])
def test_invalid_ids_are_refused(ids):
    with pytest.raises(ValueError, match=r"movie_id, row [01], is .*; an id is an integer or a non-empty line of text"):
        Bert4RecTokenizer.from_movies({"movie_id": ids})


def test_blanks_around_ids_are_ignored():
    with pytest.raises(ValueError, match="duplicate movie_id '10'"):
        Bert4RecTokenizer.from_movies({"movie_id": [" 10", "10"]})
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [" a", "b "]}, {"a ": 5, " b": 7})
    assert tokenizer.item_ids == ["a", "b"]
    assert tokenizer.items["count"] == [5, 7]
    assert tokenizer.encode_items(["a", " b", "c"]) == [3, 4, 2]
    assert "a\t" in tokenizer
    with pytest.raises(ValueError, match="in the catalogue already"):
        tokenizer.add_items({"movie_id": ["b "]})


@pytest.mark.parametrize("grow", ["add_tokens", "add_special_tokens"])
def test_new_tokens_are_refused_and_ids_are_unchanged(pipe, tokenizer, grow):
    expected = pipe([10, 13])
    new = ["99999"] if grow == "add_tokens" else {"cls_token": "[CLS]"}
    with pytest.raises(ValueError, match=r"cannot be added as a token: add items with tokenizer\.add_items"):
        getattr(tokenizer, grow)(new)
    assert len(tokenizer) == NUM_MOVIES + 3
    assert tokenizer.first_item_id == 3
    assert pipe([10, 13]) == expected
    assert tokenizer.add_tokens(["10", "[MASK]"]) == 0  # in the vocabulary already
    assert tokenizer("100 10")["input_ids"] == [33, 3]
    with pytest.raises(ValueError, match="cannot be added as a token"):
        tokenizer.add_special_tokens({"cls_token": "10"})


def test_truncation_keeps_the_most_recent_movies(tokenizer, tmp_path):
    history = "10 13 16 19 22"
    for candidate in (tokenizer, saved_and_loaded(tokenizer, tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        token_ids = candidate(history, truncation=True, max_length=2)["input_ids"]
        assert candidate.decode_items(token_ids) == [19, 22]


def test_the_window_of_the_model_is_the_length_of_the_tokenizer(pipe, config, tmp_path):
    pipe.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["model_max_length"] == config.max_position_embeddings - 1 == 11
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    token_ids = tokenizer(" ".join(map(str, MOVIES["movie_id"])), truncation=True)["input_ids"]
    assert tokenizer.decode_items(token_ids) == MOVIES["movie_id"][-11:]
    tokens = torch.tensor([[*token_ids, tokenizer.mask_token_id]])
    assert pipe.model(tokens).logits.shape == (1, 12, NUM_MOVIES + 3)


def test_a_pipeline_respects_a_shorter_model_max_length(model):
    tokenizer = Bert4RecTokenizer.from_movies(MOVIES, model_max_length=5)
    MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")
    assert tokenizer.model_max_length == 5


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Land Before Time III (1995) (V)", ("Land Before Time III", 1995)),
        (" Heat (1995) ", ("Heat", 1995)),
        ("Heat", ("Heat", None)),
        ("(1995)", ("(1995)", None)),
        ("V (1983) (TV)", ("V (1983) (TV)", None)),
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
    ],
)
def test_titles_and_years_by_hand(title, expected):
    assert split_year(title) == expected


ARTICLES = {"article": ["Ink-1", "Ink-2", "Tea-1", "Tea-2"], "title": ["Blue", "Green", "Assam", "Sencha"]}


@pytest.fixture
def shop() -> MovieRecommendationPipeline:
    tokenizer = Bert4RecTokenizer.from_movies(ARTICLES, dict.fromkeys(ARTICLES["article"], 1), item_id_name="article")
    torch.manual_seed(0)
    model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), hidden_size=16, max_position_embeddings=8))
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="item-recommendation")


def test_answers_are_keyed_by_the_own_name_of_ids(shop):
    answer = shop(["Blue", "Tea-2"], top_k=2, explain=True)
    assert {movie["article"] for movie in answer} == {"Ink-2", "Tea-1"}
    assert list(answer[0]) == ["article", "title", "genres", "score", "source", "because"]
    assert {reason["article"] for movie in answer for reason in movie["because"]} <= {"Ink-1", "Tea-2"}
    assert [list(movie) for movie in shop.similar("Blue", top_k=1)] == [["article", "title", "genres", "score"]]
    (report,) = shop.add_items({"article": ["Ink-3"], "title": ["Sepia"]})
    assert (report["article"], report["title"]) == ("Ink-3", "Sepia")
    assert shop.tokenizer.with_movies({"movie_id": ["Ink-3"], "title": ["Brown"]}).movie(7)["article"] == "Ink-3"


@pytest.mark.parametrize("task", ["item-recommendation", "movie-recommendation"])
def test_a_folder_keeps_the_name_and_has_both_tasks(shop, tmp_path, task):
    shop.save_pretrained(tmp_path)
    loaded = pipeline(task, model=str(tmp_path), pipeline_class=MovieRecommendationPipeline)
    assert loaded(["Blue"], top_k=3) == shop(["Blue"], top_k=3)
    assert set(json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]) == {
        "item-recommendation",
        "movie-recommendation",
    }


def test_folders_without_a_name_answer_with_movie_id(shop, tmp_path):
    shop.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    options = json.loads(path.read_text())
    assert options.pop("item_id_name") == "article"
    path.write_text(json.dumps(options))
    assert Bert4RecTokenizer.from_pretrained(tmp_path).movie(3) == {"movie_id": "Ink-1", "title": "Blue", "genres": []}


@pytest.mark.parametrize("name", ["title", "score", 7])
def test_names_of_other_keys_are_refused(name):
    with pytest.raises(ValueError, match="item_id_name is"):
        Bert4RecTokenizer.from_movies({"movie_id": [1]}, item_id_name=name)


@pytest.mark.parametrize(("column", "name"), [("article", "article"), ("movie_id", "movie_id"), ("title", "item_id")])
def test_the_name_is_that_of_the_column_in_the_table(column, name):
    table = pl.DataFrame({"user": [1] * 3 + [2] * 3, column: ["a", "b", "c"] * 2, "time": range(6)})
    arguments = DataArguments(ratings="shop", item_column=column, min_interactions=1)
    assert prepare(arguments, table).tokenizer.item_id_name == name
