"""Every snippet of README.md and docs/ runs, or gives a reason; every path, link and command in them exists.

The commands run on generated releases of forty movies, so figures differ from those on the pages.
"""

import importlib.util
import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from transformers import dynamic_module_utils

from hf_bert4rec.cli.main import COMMANDS, main
from hf_bert4rec.data import releases
from tests.data.movielens_archives import small_release, write_release

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CHECKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
OUTSIDE_PATH = re.compile(r"\b(?:hf_bert4rec|training|model_card|benchmarks|examples|tests|docs)/[\w./-]*\w/?")
IMPORT = re.compile(r"^(?:from|import) .*$", re.M)
NAMED = {
    (1, "Toy Story (1995)", "Animation Children's Comedy"),
    (8, "Babe (1995)", "Children's Comedy Drama"),
    (50, "Star Wars (1977)", "Action Sci-Fi War"),
    (100, "Fargo (1996)", "Crime Drama"),
    (181, "Return of the Jedi (1983)", "Action Sci-Fi War"),
    (172, "Empire Strikes Back, The (1980)", "Action Sci-Fi War"),
    (257, "Men in Black (1997)", "Comedy Sci-Fi"),
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it starts on, why it does not run, and the output below it."""

    language: str
    text: str
    line: int
    reason: str | None
    output: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page with a language, in order."""
    text = page.read_text(encoding="utf-8")
    matches = list(BLOCK.finditer(text))
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("text")),
            match["reason"],
            following["text"] if following and not following["language"] else None,
        )
        for match, following in zip(matches, [*matches[1:], None], strict=False)
        if match["language"]
    ]


def commands(block: Block) -> list[list[str]]:
    """The commands of a bash block, split into arguments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def snippets(language: str) -> Iterator[tuple[Path, Block]]:
    return ((page, block) for page in CHECKED for block in blocks(page) if block.language == language)


def forget_remote_code() -> None:
    """Let models' code be imported from another cache: the package of all of it is imported from one folder."""
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Callable[..., int]]:
    """Runs a command once, in a folder with generated releases and the trained model, and returns its exit status."""
    folder = tmp_path_factory.mktemp("docs")
    movies = sorted(
        [(number, title, genres.split()) for number, title, genres in NAMED]
        + [
            (1000 + number, f"Movie {number} (199{number % 10})", [["Comedy"], ["Western"]][number % 2])
            for number in range(34)
        ]
    )
    generator = np.random.default_rng(0)
    ratings = [
        (user, movies[index][0], 4, 880_000_000 + 1000 * user + step)
        for user in range(1, 41)
        for step, index in enumerate(generator.permutation(len(movies))[: 20 + user % 9])
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ml-100k", "ml-latest-small"):
            patch.setitem(releases.RELEASES, name, small_release(name, ratings, movies))
            write_release(folder / "data", name, ratings, movies)
        patch.setenv("HF_BERT4REC_DATA", str(folder / "data"))
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder / "modules"))
        patch.syspath_prepend(folder / "modules")
        forget_remote_code()
        patch.chdir(folder)
        make_tables = next(block for block in blocks(ROOT / "docs" / "training.md") if "shop.csv" in block.text)
        exec(make_tables.text, {})
        once = cache(lambda *words: main(words))  # pages repeat commands that train
        once("train", "ml-100k")
        yield once
        forget_remote_code()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page, run, capsys):
    # Previous interactions, which a caller of fine_tune has.
    names = {"earlier": Dataset.from_dict({"user_id": [1] * 4, "movie_id": [1, 50, 100, 1]})}
    for block in blocks(page):
        if block.reason is not None:
            if block.language == "python":
                exec(compile("\n".join(IMPORT.findall(block.text)), str(page), "exec"), names)
            continue
        if block.language == "python":
            capsys.readouterr()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
            printed = capsys.readouterr().out + "".join(f"UserWarning: {warning.message}\n" for warning in caught)
            if block.output:
                check_output(page, block.output, printed)
        for words in commands(block) if block.language == "bash" else ():
            assert words[0] == "hf-bert4rec", f"{page.name}, line {block.line}: only hf-bert4rec runs here"
            refused = (block.output or "").startswith("hf-bert4rec:")
            assert run(*words[1:]) == (2 if refused else 0), shlex.join(words)


def check_output(page: Path, expected: str, printed: str) -> None:
    """Compare the output on a page with the printed one: its number of lines, or its text if no model is involved."""
    assert len(printed.splitlines()) == len(expected.splitlines())
    if expected.startswith("UserWarning"):
        assert re.sub(r"\d+", "", printed) == re.sub(r"\d+", "", expected)
    if page.name == "evaluation.md":
        assert printed == expected
    if page.name == "training.md":  # from one article of ink to another, whatever the digits
        assert [line.split()[2] for line in printed.splitlines()] == ["['Ink']"] * 2
        assert printed.split()[:2] == expected.split()[:2] == ["Ink-3", "Sepia"]


@pytest.mark.parametrize(("page", "block"), snippets("bash"), ids=lambda value: getattr(value, "name", None))
def test_commands_exist(page, block):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for program, *words in commands(block):
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets
        elif program == "hf-bert4rec":
            assert words[0] in COMMANDS
        elif program == "pip":
            assert set(re.findall(r"\[(.+)\]", words[-1])) <= set(extras)
        elif program == "python" and words[0] == "-m":
            assert importlib.util.find_spec(words[1])
        else:
            assert program in ("python", "accelerate", "curl", "hf"), (
                f"{page.name}, line {block.line}: unknown command {program!r}"
            )


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.name)
def test_paths_and_links_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in set(OUTSIDE_PATH.findall(text)):
        roots = (ROOT, ROOT / "hf_bert4rec")  # walks through the package shorten its paths
        assert any((root / path).exists() for root in roots), f"{page.name} names {path}"
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.M) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}


def test_inline_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    for page in CHECKED:
        for name in re.findall(r"`hf-bert4rec ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert name in COMMANDS, f"{page.name}: hf-bert4rec {name}"
        for name in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert name in targets, f"{page.name}: make {name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
