"""Answers name ids as the data set's own column does, and the task has two names."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch
from transformers import pipeline

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare

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
