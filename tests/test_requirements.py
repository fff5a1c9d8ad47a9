"""Requirements are complete: imports are declared, and the lock has the versions of the constraints."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

from tests.processes import run_python

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^ +]+)")


def pins(name: str) -> dict[str, str]:
    matches = (PIN.match(line) for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in matches if pin}


def test_the_lock_pins_the_same_versions_as_the_constraints():
    locked, constrained = pins("requirements.lock"), pins("constraints.txt")
    assert "torch" in locked
    assert {name: version for name, version in locked.items() if constrained.get(name) != version} == {}


def test_every_pin_of_the_lock_has_a_hash_and_no_address():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


def declared(*extras: str) -> set[str]:
    """Normalised names of the project's requirements, with those of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {re.sub(r"[-_.]+", "-", re.split(r"[ <>=!\[;]", line)[0]).lower() for line in lines}


def test_every_import_of_the_package_is_declared():
    modules = set()
    for path in (ROOT / "hf_bert4rec").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.split(".")[0])
    modules -= {*sys.stdlib_module_names, "hf_bert4rec"}
    distributions = packages_distributions()
    names = {re.sub(r"[-_.]+", "-", distributions[module][0]).lower() for module in modules}
    assert {"torch", "httpx2", "pyyaml"} <= names
    assert names - declared("train", "onnx") == set()


IMPORT_WITHOUT_EXTRAS = """
import importlib, sys
for name in ("accelerate", "evaluate", "matplotlib", "onnx", "onnxruntime", "onnxscript", "tensorboard"):
    sys.modules[name] = None  # importing it raises ImportError from here on
import hf_bert4rec.data.prepare, hf_bert4rec.evaluation.evaluate, hf_bert4rec.hub.export
from hf_bert4rec.cli.main import COMMANDS
for module in {module for module, extra, _ in COMMANDS.values() if not extra}:
    importlib.import_module(f"hf_bert4rec.cli.{module}")
"""


def test_commands_without_an_extra_need_no_optional_dependency():
    run_python("-c", IMPORT_WITHOUT_EXTRAS)


def test_the_workflow_runs_the_targets_of_ci_run():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = re.compile(r"make [\w-]+|\.ci/browser\.sh")

    def targets(lines: list[str]) -> list[str]:
        return [match[0] for line in lines if (match := commands.match(line))]

    assert targets(steps) == targets(script)
    assert len(targets(steps)) == 6


BLOCK = """
import sys
from importlib.machinery import PathFinder

BLOCKED = {"datasets", "evaluate", "matplotlib", "pandas", "polars", "psutil", "pyarrow"}


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else super().find_spec(name, path, target)


sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
IMPORT = """
import hf_bert4rec
from hf_bert4rec.data import collators, encoding, random_streams, windows
from hf_bert4rec.evaluation import metrics, ranking, scoring
from hf_bert4rec.training import arguments, build, ema, trainer, training_forward

assert not BLOCKED & set(sys.modules)
"""


def run_without_libraries(code: str) -> None:
    """Run Python code in a new process in which `BLOCKED` libraries are not installed."""
    run_python("-c", BLOCK + code, cwd=ROOT)


def test_training_and_ranking_import_without_libraries_for_raw_data():
    run_without_libraries(IMPORT)


def test_blocked_libraries_cannot_be_imported():
    run_without_libraries(
        "try:\n    import polars\nexcept ModuleNotFoundError:\n    pass\nelse:\n    raise AssertionError(polars)"
    )
