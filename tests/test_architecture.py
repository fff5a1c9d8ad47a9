"""The file tree is the architecture: which folder may import which, without cycles, as docs/architecture.md says.

What else the files for the Hub may contain is checked in test_hub_code.py.
"""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HUB_FILES = sorted((ROOT / "hf_bert4rec" / "model").glob("[!_]*.py"))
ALLOWED_ON_THE_HUB = {"safetensors", "torch", "transformers", "huggingface_hub", "tokenizers"} | set(
    sys.stdlib_module_names
)
OPTIONAL_ON_THE_HUB = {("onnx_bert4rec.py", "onnxruntime")}  # imported only for backend="onnx"


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import of a file as (level, module), at any level of the file."""
    imported = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append((node.level, node.module or ""))
    return imported


@pytest.mark.parametrize("path", HUB_FILES, ids=lambda path: path.name)
def test_hub_files_import_siblings_and_required_libraries_only(path):
    siblings = {sibling.stem for sibling in HUB_FILES}
    for level, module in imports(path):
        if level:
            assert level == 1, f"{path.name} imports from a parent folder"
            assert module in siblings, f"{path.name} imports .{module}, which is not copied to the Hub with it"
        else:
            top = module.split(".")[0]
            if (path.name, top) in OPTIONAL_ON_THE_HUB:
                continue
            assert top in ALLOWED_ON_THE_HUB, f"{path.name} imports {module}"


FOLDERS = (
    "model",
    "data",
    "evaluation",
    "batch",
    "hub",
    "training",
    "cli",
)  # each may import itself and those before it
LIBRARY = sorted((ROOT / "hf_bert4rec").rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Absolute names of the modules of this package that a file imports."""
    package = list(path.relative_to(ROOT).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names & {module_of(file) for file in LIBRARY}


def folder_rank(module: str) -> int:
    """Rank of the folder a module is in; files at the top of the package are below all folders."""
    parts = module.split(".")
    return FOLDERS.index(parts[1]) if len(parts) > 1 and parts[1] in FOLDERS else -1


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.parent.name != "hf_bert4rec"], ids=module_of)
def test_imports_go_one_way(path):
    rank = folder_rank(module_of(path))
    for module in imported_modules(path):
        assert folder_rank(module) <= rank, f"{path} imports {module}, which is above it"


def test_no_import_cycles_exist():
    graph = {module_of(path): imported_modules(path) - {module_of(path)} for path in LIBRARY}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert len(order) == len(LIBRARY)


def test_the_library_never_imports_scripts_or_tests():
    outside = ("training", "model_card", "tests", "benchmarks", "examples")
    for path in LIBRARY:
        for level, module in imports(path):
            assert level or module.split(".")[0] not in outside, f"{path} imports {module}"


def test_every_package_is_in_the_wheel():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert {module_of(path.parent / "__init__.py") for path in LIBRARY} <= set(packages)


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
