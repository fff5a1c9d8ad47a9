"""The command line gives the pipeline's answers as tables or JSON, and reports bad input in one line."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hf_bert4rec.cli.main import COMMANDS, console, main
from hf_bert4rec.cli.query import make_parser, options_of, table
from hf_bert4rec.hub.export import write_folder
from tests.model.tiny import assert_same_answer, ids_of


@pytest.fixture
def folder(model, tokenizer, tmp_path) -> str:
    write_folder(model, tokenizer, tmp_path / "model", "# A card")
    return str(tmp_path / "model")


def run(capsys, *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_recommendations_as_json_are_the_pipelines(capsys, folder, pipe):
    answer = json.loads(run(capsys, "recommend", folder, "toy story", "13", "--top-k", "4", "--json"))
    expected = pipe([10, 13], top_k=4)
    assert_same_answer(answer, expected, abs=1e-6)
    assert [movie["title"] for movie in answer] == [movie["title"] for movie in expected]


def test_options_may_come_before_movies(capsys, folder):
    expected = run(capsys, "explain", folder, "10", "13", "--top-k", "2")
    assert run(capsys, "explain", "--top-k", "2", folder, "10", "13") == expected
    assert run(capsys, "recommend", folder, "--top-k", "2", "10", "--explain", "13") == expected


def test_recommendations_are_printed_as_a_table(capsys, folder):
    lines = run(capsys, "recommend", folder, "--genre", "romance", "--top-k", "2").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  1.  0.")
    assert {line.split("  ", 2)[2].strip().split("  ")[-1] for line in lines} == {"[Romance]"}
    assert {"Sabrina (1954)", "Sabrina (1995)"} == {line.split("  ")[-2].strip() for line in lines}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--exclude", "100", "--exclude", "amelie"], {"exclude": [100, 25]}),
        (["--genre", "Drama", "--genre", "Crime"], {"genres": ["Drama", "Crime"]}),
        (["--from-year", "1970", "--to-year", "1990"], {"years": (1970, 1990)}),
        (["--from-year", "1970"], {"years": (1970, None)}),
        (["--diversity", "0.7"], {"diversity": 0.7}),
        (["--popularity-penalty", "1"], {"popularity_penalty": 1.0}),
        (["--include-seen"], {"exclude_seen": False}),
        (["--ratings", "5,1"], {"ratings": [5, 1]}),
        (["--ratings= -,1", "--min-rating", "1"], {"ratings": [None, 1], "min_rating": 1}),
        (["--candidate", "100", "--candidate", "amelie", "--candidate", "100"], {"candidates": [100, 25], "top_k": 2}),
        (["--candidate", "100", "--candidate", "amelie", "--top-k", "1"], {"candidates": [100, 25], "top_k": 1}),
        (["--explain", "--top-k", "2"], {"explain": True, "top_k": 2}),
    ],
)
def test_every_option_reaches_the_pipeline(capsys, folder, pipe, arguments, options):
    answer = json.loads(run(capsys, "recommend", folder, "10", "28", *arguments, "--json"))
    expected = pipe([10, 28], **options)
    assert ids_of(answer) == ids_of(expected)
    assert [set(movie) for movie in answer] == [set(movie) for movie in expected]


def test_explanations_and_similar_movies(capsys, folder, pipe):
    raised = next(movie for movie in pipe([10, 28], top_k=20, explain=True) if movie["because"])
    lines = run(capsys, "explain", folder, "10", "28", "--movie", raised["title"]).splitlines()
    assert raised["title"] in lines[0]
    assert [line.split("  ")[-1] for line in lines[1:]] == [entry["title"] for entry in raised["because"]]
    lines = run(capsys, "explain", folder, "--top-k", "1").splitlines()
    assert [line.strip() for line in lines[1:]] == ["no movie of the history raises its score"]
    answer = json.loads(run(capsys, "similar", folder, "amelie", "--top-k", "3", "--json"))
    assert ids_of(answer) == ids_of(pipe.similar(25, top_k=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
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
        (["train", "ml-1"], "no recipe 'ml-1': give a YAML file, or one of auto, ml-100k, ml-10m, ml-1m-causal, "),
        (["train", "FOLDER/README.md"], "a recipe is a list of 'key: value' lines"),
        (["train", "ml-100k", "--learning_rat", "1"], "unknown option --learning_rat; did you mean --learning_rate?"),
        (["train", "ml-100k", "--hidden_size", "wide"], "argument --hidden_size/--hidden-size: invalid int value"),
        (["train", "ml-100k", "--dataset", "ml-9", "--output_dir", "FOLDER/new", "--use_cpu"], "ml-9"),
        (["train", "ml-100k", "--ratings", "FOLDER/none.csv", "--output_dir", "FOLDER/new"], "none.csv"),
        (["train", "ml-100k", "--ema_decay", "2"], "it must be between 0 and 1"),
        (["evaluate", "FOLDER", "--pat", "test"], "unknown option --pat; did you mean --part?"),
        (["evaluate", "FOLDER", "--part", "train"], "invalid choice: 'train' (choose from 'validation', 'test')"),
        (["export-onnx", "FOLDER/.."], "has no config.json"),
        (["push", "FOLDER", "no-slash"], "no-slash"),
    ],
)
def test_bad_input_is_one_line_on_stderr(capsys, folder, arguments, message):
    capsys.readouterr()  # progress bars of `folder`
    assert main([word.replace("FOLDER", folder) for word in arguments]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert message in printed.err
    assert printed.err.startswith("hf-bert4rec: ")
    assert printed.err.count("\n") == 1


def test_options_of_the_command_line_are_those_of_the_pipeline():
    parser = make_parser("recommend")
    assert options_of(parser.parse_args(["model", "10"]), 40) == {"explain": False}
    assert options_of(parser.parse_args(["model", "10", "--no-include-seen"]), 40)["exclude_seen"] is True
    assert options_of(parser.parse_args(["model", "10", "13", "--events", "buy, view"]), 40)["events"] == [
        "buy",
        "view",
    ]


def test_movies_without_titles_are_printed_by_their_ids():
    movie = {"movie_id": 7, "title": None, "genres": [], "score": 0.5}
    because = [{"movie_id": 8, "title": None, "contribution": 0.25}]
    assert table([{**movie, "because": because}]) == "  1.  0.5000  7\n              +0.250  8"


def test_a_missing_or_unknown_command_shows_the_usage(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("`hf-bert4rec`: train, evaluate and query recommenders")
    assert main(["recomend"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("hf-bert4rec: unknown command 'recomend'\n\n")
    assert all(f"\n  {command} " in error for command in COMMANDS)


def test_an_empty_answer_says_why(capsys, folder):
    assert main(["recommend", folder, "10", "--genre", "romance", "--to-year", "1900"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "no movies\n"
    assert "years=(None, 1900) leaves none" in printed.err


def test_unexpected_errors_keep_their_traceback(monkeypatch, folder):
    def fail(*arguments, **options):
        raise KeyError("a bug")

    monkeypatch.setattr("hf_bert4rec.cli.query.load_pipeline", fail)
    with pytest.raises(KeyError, match="a bug"):
        main(["similar", "someone/model-1.0", "10"])
    monkeypatch.setattr("hf_bert4rec.cli.query.load_pipeline", lambda *arguments, **options: np.zeros(2) + np.zeros(3))
    with pytest.raises(ValueError, match="broadcast"):  # raised by code outside the package
        main(["similar", folder, "10"])


def test_a_command_without_its_extra_names_it(monkeypatch, capsys, folder):
    monkeypatch.setattr("hf_bert4rec.cli.main.find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export-onnx", folder]) == 2
    assert capsys.readouterr().err == 'hf-bert4rec export-onnx needs onnxscript: pip install "hf-bert4rec[onnx]"\n'


def print_on_an_ascii_terminal(monkeypatch, *arguments: str) -> str:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["hf-bert4rec", *arguments])
    with pytest.raises(SystemExit, match=r"^0$"):
        console()
    return terminal.buffer.getvalue().decode("ascii")


def test_an_ascii_terminal_gets_an_answer(folder, monkeypatch):
    arguments = ("similar", folder, "toy story", "--top-k", "39")
    assert "Am?lie (2001)" in print_on_an_ascii_terminal(monkeypatch, *arguments)
    answer = json.loads(print_on_an_ascii_terminal(monkeypatch, *arguments, "--json"))
    assert "Amélie (2001)" in [movie["title"] for movie in answer]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_names_it(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: hf-bert4rec {command} [-h]")


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_closed_pipe_ends_the_command_quietly(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", "from hf_bert4rec.cli.main import console; console()", "--help"]
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_a_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["hf-bert4rec", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        console()


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_bert4rec.cli.main.main", interrupt)
    with pytest.raises(SystemExit, match=r"^130$"):
        console()
    assert capsys.readouterr().err == "hf-bert4rec: interrupted\n"


def test_the_command_is_installed_under_its_name():
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["scripts"] == {"hf-bert4rec": "hf_bert4rec.cli.main:console"}
