"""The command line answers as the pipeline does: tables for people, JSON for machines, errors in one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from hf_bert4rec.cli.main import main
from hf_bert4rec.hub.export import write_folder


@pytest.fixture
def folder(model, tokenizer, tmp_path) -> str:
    write_folder(model, tokenizer, tmp_path / "model", "# A card")
    return str(tmp_path / "model")


def run(capsys, *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_recommendations_as_json_are_the_pipelines(capsys, folder, pipe):
    found = json.loads(run(capsys, "recommend", folder, "toy story", "13", "--top-k", "4", "--json"))
    expected = pipe([10, 13], top_k=4)
    assert [movie["movie_id"] for movie in found] == [movie["movie_id"] for movie in expected]
    assert [movie["score"] for movie in found] == pytest.approx([movie["score"] for movie in expected], abs=1e-6)
    assert [movie["title"] for movie in found] == [movie["title"] for movie in expected]


def test_a_table_to_read(capsys, folder):
    lines = run(capsys, "recommend", folder, "--genre", "romance", "--top-k", "2").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  1.  0.")
    assert {line.split("  ", 2)[2].strip().split("  ")[-1] for line in lines} == {"[Romance]"}
    assert {"Sabrina (1954)", "Sabrina (1995)"} == {line.split("  ")[-2].strip() for line in lines}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--exclude", "100", "--exclude", "amelie"], {"exclude": [100, 25]}),
        (["--genre", "Drama", "--genre", "Crime"], {"genres": ["Drama", "Crime"]}),
        (["--from-year", "1970", "--to-year", "1990"], {"years": (1970, 1990)}),
        (["--from-year", "1970"], {"years": (1970, None)}),
        (["--diversity", "0.7"], {"diversity": 0.7}),
        (["--popularity-penalty", "1"], {"popularity_penalty": 1.0}),
        (["--include-seen"], {"exclude_seen": False}),
        (["--ratings", "5,1"], {"ratings": [5, 1]}),
        (["--ratings=-,1", "--min-rating", "1"], {"ratings": [None, 1], "min_rating": 1}),
        (["--candidate", "100", "--candidate", "amelie"], {"candidates": [100, 25], "top_k": 2}),
        (["--explain", "--top-k", "2"], {"explain": True, "top_k": 2}),
    ],
)
def test_every_option_reaches_the_pipeline(capsys, folder, pipe, words, options):
    found = json.loads(run(capsys, "recommend", folder, "10", "28", *words, "--json"))
    expected = pipe([10, 28], **options)
    assert [movie["movie_id"] for movie in found] == [movie["movie_id"] for movie in expected]
    assert [set(movie) for movie in found] == [set(movie) for movie in expected]


def test_explanations_and_similar_movies(capsys, folder, pipe):
    lines = run(capsys, "explain", folder, "10", "28", "--movie", "the godfather").splitlines()
    expected = pipe([10, 28], candidates=[13], top_k=1, explain=True)[0]
    assert "Godfather, The (1972)" in lines[0]
    assert [line.split("  ")[-1] for line in lines[1:]] == [entry["title"] for entry in expected["because"]]
    found = json.loads(run(capsys, "similar", folder, "amelie", "--top-k", "3", "--json"))
    assert [movie["movie_id"] for movie in found] == [movie["movie_id"] for movie in pipe.similar(25, top_k=3)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "FOLDER", "Toy Storie"], "did you mean 'Toy Story (1995)'"),
        (["recommend", "FOLDER", "999"], "no movie is called '999'"),
        (["recommend", "FOLDER", "Sabrina"], "may mean 2 movies"),
        (["recommend", "FOLDER", "10", "--genre", "Romanse"], "did you mean Romance"),
        (["recommend", "FOLDER", "10", "--ratings", "good"], "'good' is neither a number nor '-'"),
        (["recommend", "FOLDER", "10", "--top-k", "0"], "top_k is 0"),
        (["recommend", "FOLDER", "10", "--from-year", "1999", "--to-year", "1990"], "swap them"),
        (["similar", "FOLDER", "Toy Storie"], "did you mean 'Toy Story (1995)'"),
        (["recommend", "FOLDER/nothing", "10"], "nothing is neither a folder nor a name on the Hub"),
        (["recommend", "FOLDER/..", "10"], "has no config.json"),
    ],
)
def test_bad_input_is_told_in_a_line(capsys, folder, words, message):
    assert main([word.replace("FOLDER", folder) for word in words]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert message in told.err
    assert told.err.startswith("hf-bert4rec: ")
    assert told.err.count("\n") == 1


def test_an_empty_answer_says_why(capsys, folder):
    assert main(["recommend", folder, "10", "--genre", "romance", "--to-year", "1900"]) == 0
    told = capsys.readouterr()
    assert told.out == "no movies\n"
    assert "years=(None, 1900) leaves none" in told.err


def test_the_command_is_installed_under_its_name():
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["scripts"] == {"hf-bert4rec": "hf_bert4rec.cli.main:console"}
