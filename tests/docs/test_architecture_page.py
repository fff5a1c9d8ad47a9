"""docs/architecture.md names every file of the package, and functions that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def tree() -> set[str]:
    """The paths of the file tree, folders with a slash at the end."""
    text = PAGE.split("## File tree", 1)[1].split("```")[1]
    paths: set[str] = set()
    parents: list[str] = []
    for line in text.strip("\n").splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        paths.add("".join(parents))
    return paths


def test_the_tree_lists_every_file_of_the_package():
    package = ROOT / "hf_bert4rec"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py") if path.stem != "__init__"}
    listed = {path for path in tree() if path.startswith("hf_bert4rec/") and path.endswith(".py")}
    assert listed == files


def test_every_path_of_the_tree_exists():
    assert not [path for path in tree() if not (ROOT / path).exists()]


def test_the_tree_lists_every_folder():
    folders = {path.parent.relative_to(ROOT).as_posix() + "/" for path in ROOT.glob("hf_bert4rec/**/__init__.py")}
    folders |= {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}
    assert folders <= tree()


@pytest.mark.parametrize("walk", ["One training row", "One request", "One evaluation figure"])
def test_walks_name_what_exists(walk):
    """A file is followed by the names that it defines, until the next file."""
    text = PAGE.split(f"## {walk}\n", 1)[1].split("\n## ", 1)[0]
    folder = ROOT / re.search(r"relative to `([^`]+)`", text)[1]
    steps = re.findall(r"^\d+\. ", text, flags=re.M)
    assert len(steps) == 10
    source = ""
    for token in re.findall(r"`([\w./]+)`", text.split("\n\n", 1)[1]):
        if token.endswith(".py"):
            source = (folder / token).read_text(encoding="utf-8")
        elif not token.endswith(".json") and token != "explain":
            defined = rf"(?:def|class) {re.escape(token)}\b"
            assert re.search(defined, source), f"{token} is not defined in the file named before it"
