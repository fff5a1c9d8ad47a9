"""The file tree is the architecture: which room may import which, and that the README shows the rooms there are."""

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
FORBIDDEN_ON_THE_HUB = {"subprocess", "socket", "urllib", "http", "requests", "httpx", "ctypes", "pickle", "shutil"}
BUILTINS_FORBIDDEN = {"eval", "exec", "compile", "__import__"}

# What opens, writes, moves or removes files: each file may do what loading and saving needs, and nothing else may.
TOUCHES_FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rename", "replace", "rmdir"}
TOUCHES_FILES |= {"mkdir", "rmtree", "touch", "chmod", "symlink_to", "hardlink_to", "iterdir", "glob", "rglob", "walk"}
TOUCHES_FILES |= {
    "load",
    "save",
    "load_file",
    "save_file",
    "fromfile",
    "tofile",
    "memmap",
    "cached_file",
    "hf_hub_download",
}
TOUCHES_FILES |= {
    "system",
    "popen",
    "environ",
    "getenv",
    "remove",
    "listdir",
    "scandir",
    "stat",
    "urlopen",
    "load_library",
}
FILE_ACCESS = {
    "items_bert4rec.py": {"read_text"},  # items.json, which transformers found
    "tokenization_bert4rec.py": {"write_text"},  # items.json, where transformers saves
    "onnx_bert4rec.py": {"cached_file"},  # onnx/model.onnx of the model's own folder
}
FILE_MODULES = {
    "os",
    "io",
    "tempfile",
    "glob",
    "fileinput",
    "mmap",
    "sqlite3",
    "zipfile",
    "tarfile",
    "importlib",
    "runpy",
}


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
            assert top not in FORBIDDEN_ON_THE_HUB, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", HUB_FILES, ids=lambda path: path.name)
def test_hub_files_evaluate_no_text(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & BUILTINS_FORBIDDEN


@pytest.mark.parametrize("path", HUB_FILES, ids=lambda path: path.name)
def test_hub_files_touch_no_file_that_loading_does_not_need(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [node.func.value for node in ast.walk(tree) if is_text_replacement(node)]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.value not in strings}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    allowed = FILE_ACCESS.get(path.name, set())
    assert names & TOUCHES_FILES <= allowed, f"{path.name} uses {sorted(names & TOUCHES_FILES - allowed)}"
    for _, module in imports(path):
        assert module.split(".")[0] not in FILE_MODULES | FORBIDDEN_ON_THE_HUB, f"{path.name} imports {module}"


def is_text_replacement(node: ast.AST) -> bool:
    """`text.replace(old, new)`, which has two arguments where a path's `replace` has one."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return called and node.func.attr == "replace" and len(node.args) == 2


def test_there_are_hub_files():
    assert len(HUB_FILES) >= 5


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
