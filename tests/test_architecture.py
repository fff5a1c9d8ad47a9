"""The file tree is the architecture: which room may import which, and that the README shows the rooms there are.

What else the files for the Hub may hold is in test_hub_code.py.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HUB_FILES = sorted((ROOT / "hf_bert4rec").glob("*_bert4rec.py"))
ALLOWED_ON_THE_HUB = {"safetensors", "torch", "transformers", "huggingface_hub", "tokenizers"} | set(
    sys.stdlib_module_names
)
OPTIONAL_ON_THE_HUB = {("onnx_bert4rec.py", "onnxruntime")}  # imported only for backend="onnx"


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import of a file as (level, module), wherever in the file it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


@pytest.mark.parametrize("path", HUB_FILES, ids=lambda path: path.name)
def test_hub_files_import_siblings_and_what_every_user_has(path):
    siblings = {sibling.stem for sibling in HUB_FILES}
    for level, module in imports(path):
        if level:
            assert level == 1, f"{path.name} imports from a parent folder"
            assert module in siblings, f"{path.name} imports .{module}, which does not travel with it"
        else:
            top = module.split(".")[0]
            if (path.name, top) in OPTIONAL_ON_THE_HUB:
                continue
            assert top in ALLOWED_ON_THE_HUB, f"{path.name} imports {module}"


def test_the_library_never_imports_the_scripts():
    paths = sorted((ROOT / "hf_bert4rec").rglob("*.py"))
    assert paths
    for path in paths:
        for _, module in imports(path):
            assert module.split(".")[0] not in ("training", "model_card", "tests"), f"{path} imports {module}"


def test_the_data_room_knows_nothing_of_evaluation_and_training():
    for path in sorted((ROOT / "hf_bert4rec" / "data").glob("*.py")):
        for level, module in imports(path):
            first = module.split(".")[0]
            assert not (level == 2 and first in ("evaluation", "trainer", "hub")), f"{path.name} imports ..{module}"


def test_the_readme_shows_every_module_there_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in ("hf_bert4rec", "training", "model_card"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != "__init__.py" and path.parent.name not in ("hit_rate", "ndcg", "mrr"):
                assert re.search(rf"\b{re.escape(path.name)}\b", readme), f"the README's tree lacks {path}"
