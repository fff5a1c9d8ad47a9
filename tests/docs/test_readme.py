"""What the README shows is run: the requests on a small model, the worked example from table to answer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from hf_bert4rec import Bert4RecTokenizer, MovieRecommendationPipeline
from tests.conftest import MOVIES

ROOT = Path(__file__).resolve().parents[2]
NAMED = {"Star Wars": 1977, "Toy Story": 1995, "Fargo": 1996, "Babe": 1995, "Men in Black": 1997, "Dust": 1930}


def blocks(section: str) -> list[tuple[str, str]]:
    """The fenced blocks of a section as (language, text), in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = readme.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run(arguments: list[str], folder: Path) -> str:
    """What a new process prints that runs Python in a folder."""
    environment = {**os.environ, "HF_MODULES_CACHE": str(folder / "modules")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def named(model):
    """A pipeline whose catalogue has the movies that the README names."""
    movies = {name: list(column) for name, column in MOVIES.items()}
    movies["title"] = [*NAMED, *(f"Movie {number}" for number in range(len(NAMED), len(movies["title"])))]
    movies["year"][: len(NAMED)] = NAMED.values()
    movies["genres"] = [["Comedy", "Western"] if year > 1990 else ["Drama"] for year in movies["year"]]
    movies["movie_id"] = [50, 1, 100, *range(200, 200 + len(movies["title"]) - 3)]
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict.fromkeys(movies["movie_id"], 3))
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


@pytest.mark.filterwarnings("ignore:10 movies requested, none left", "ignore:this model was trained without times")
def test_the_requests_of_the_readme_run(named, capsys):
    earlier = Dataset.from_dict({"user_id": [1] * 4, "movie_id": [1, 50, 100, 1]})
    names = {"pipe": named, "earlier": earlier}
    snippets = [text for language, text in blocks("Ask for more") if language == "python"]
    assert len(snippets) == 7
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "Men in Black (1997)" in printed
    assert "Toy Story 2 (1999) similar movies" in printed
    assert names["logits"].shape == (40,)
    assert names["tuned"].report["users"] == 2


@pytest.mark.slow
def test_the_worked_example_runs_as_it_stands(tmp_path):
    for name in ("training", "hf_bert4rec", "model_card"):
        (tmp_path / name).symlink_to(ROOT / name)
    make, command, ask, shown = [text for _, text in blocks("Train on your own table")]
    run(["-c", make], tmp_path)
    run(shlex.split(command.replace("\\\n", " "))[1:], tmp_path)
    printed = run(["-c", ask], tmp_path)
    found, expected = ([line.split() for line in text.splitlines()] for text in (printed, shown))
    assert len(found) == len(expected) == 2
    assert found[0][:3] == expected[0][:3] == ["Ink-3", "Sepia", "['Ink']"]
    assert found[1][2] == "['Ink']"
