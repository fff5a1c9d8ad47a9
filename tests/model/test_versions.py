"""Folders load with every supported version: what can be tested of that without installing the others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hf_bert4rec.model
from hf_bert4rec.model.versions_bert4rec import MINIMUM_VERSIONS, check_versions, parse_version
from tests.model.tiny import answers, build

FOLDER = Path(hf_bert4rec.model.__file__).parent
ENTRY_FILES = [f"{name}_bert4rec" for name in ("configuration", "modeling", "tokenization", "pipeline")]


def siblings(name: str) -> list[str]:
    """Files that a file imports from its own folder, also under TYPE_CHECKING, in order."""
    nodes = ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module]
    return [node.module for node in sorted(imports, key=lambda node: node.lineno)]


def reachable(name: str) -> set[str]:
    reached, pending = set(), [name]
    while pending:
        new = set(siblings(pending.pop())) - reached
        reached |= new
        pending += new
    return reached


@pytest.mark.parametrize("name", ENTRY_FILES)
def test_files_that_transformers_loads_name_all_that_they_need(name):
    # transformers before 5.10 copies these files of a local folder, and not what they import in turn.
    assert reachable(name) - set(siblings(name)) == set()


def test_the_model_takes_every_file_along():
    files = {path.stem for path in FOLDER.glob("*_bert4rec.py")}
    assert reachable("modeling_bert4rec") | {"modeling_bert4rec", "tokenization_bert4rec"} == files


@pytest.mark.parametrize("name", ENTRY_FILES)
def test_versions_are_checked_before_anything_else_is_imported(name):
    body = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [node.names[0].name if isinstance(node, ast.Import) else node.module for node in imports]
    first = next(module.split(".")[0] for module in modules if module.split(".")[0] not in sys.stdlib_module_names)
    assert first == "versions_bert4rec"


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("transformers", "4.57.6", "this model needs transformers 5.0 or newer: upgrade transformers, which is 4.57"),
        ("torch", "2.3.1+cu121", "this model needs torch 2.4 or newer: upgrade torch, which is 2.3"),
        ("Python", "3.9.18", "this model needs Python 3.10 or newer: upgrade Python, which is 3.9"),
    ],
)
def test_an_older_version_is_refused_in_one_sentence(name, version, message):
    with pytest.raises(ImportError) as raised:
        check_versions({**MINIMUM_VERSIONS, name: parse_version(version)})
    assert str(raised.value) == message


def test_the_oldest_versions_pass():
    check_versions(MINIMUM_VERSIONS)
    assert parse_version("5.0.0.dev0") == (5, 0)


OLD_TRANSFORMERS = """
import transformers
transformers.__version__ = "4.57.6"
from transformers import AutoConfig
AutoConfig.from_pretrained({folder!r}, trust_remote_code=True)
"""


def test_a_folder_names_the_version_that_it_needs(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    code = OLD_TRANSFORMERS.format(folder=str(tmp_path / "model"))
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: this model needs transformers 5.0 or newer: upgrade transformers, which is 4.57"
    )


@pytest.mark.filterwarnings("error::FutureWarning")
def test_no_deprecated_arguments_are_used(kind, rows):
    assert answers(build(kind), rows).isfinite().all()
