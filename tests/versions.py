"""Load exported folders, and test this package, with other versions than those installed.

    python -m tests.versions
    python -m tests.versions 5.0.0
    python -m tests.versions .venv-py310/bin/python .venv-py313/bin/python

The first makes an environment for each of several versions of transformers, with its own huggingface_hub and tokenizers
and the other packages of this environment, and writes a table to docs/versions.md, row by row. The second does so for
one version. The third prints a row for each of the environments that these interpreters belong to.
"""

import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

from benchmarks.markdown import replace_between_marks
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.hub.verify import TOLERANCE, BrokenExportError, answer_in_isolation, probe_histories

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "versions.md"
REQUIREMENTS = {
    "4.57.6": ("huggingface-hub==0.36.2", "tokenizers==0.22.0"),
    "5.0.0": ("huggingface-hub==1.3.0", "tokenizers==0.22.0", "safetensors==0.4.3"),
    "5.3.0": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.5.4": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.10.4": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.11.0": ("huggingface-hub==1.33.0", "tokenizers==0.22.2", "torch==2.6.0"),
    "5.24.0": ("huggingface-hub==2.4.0", "tokenizers==0.23.3"),
}
PACKAGE_TESTS = ("tests/model", "tests/hub", "tests/training", "-m", "not slow")
SAME_RANKING = "loads, same ranking"
TIMED = {"pre_layer_norm": True, "rotary_positions": True, "memory_size": 4, "time_aware": True}
MODELS: dict[str, dict[str, Any]] = {
    "paper": {},
    "masked": {"previous_item": True, **TIMED},
    "causal": {"causal": True, "taste_size": 4, "taste_popularity_penalty": 0.4, "taste_neighbours": 2, **TIMED},
}
COLUMNS = ("transformers", "huggingface_hub", "tokenizers", "torch")
MARKS = ("<!-- versions: written by tests/versions.py -->", "<!-- end of versions -->")
HEADER = """The answers are compared with those of transformers {transformers} and torch {torch}.

| Python | transformers | huggingface_hub | tokenizers | torch | exported folder | tests of the package |
|---|---|---|---|---|---|---|
"""


def make_environment(folder: Path, requirements: list[str]) -> str:
    """Make an environment with these packages, unlike those of this one, and return its interpreter.

    torch comes with its dependencies: its default build is linked to the libraries of CUDA, three gigabytes.
    """
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages)]
    if torches := [requirement for requirement in requirements if requirement.startswith("torch=")]:
        subprocess.run([*command, *torches], check=True)
    others = [requirement for requirement in requirements if requirement not in torches]
    subprocess.run([*command, "--no-deps", *others], check=True)
    shared = [path for path in sys.path if path.endswith("-packages")]
    (packages / "shared.pth").write_text("\n".join([str(ROOT), *shared]), encoding="utf-8")
    return str(folder / "bin" / "python")


def answers(model: Path, request: dict[str, Any], python: str) -> dict[str, Any] | str:
    """Answers of the model in the environment of an interpreter, or the last line of the error if it does not load."""
    try:
        return answer_in_isolation(model, request, python)
    except BrokenExportError as error:
        return str(error).splitlines()[-1]


def differs(result: dict[str, Any], expected: list[list[dict[str, Any]]]) -> bool:
    """Whether a result ranks differently, or scores differ by more than the tolerance of an export."""
    pairs = [
        (movie, other)
        for answer, expected_answer in zip(result["answers"], expected, strict=True)
        for movie, other in zip(answer, expected_answer, strict=True)
    ]
    same = all(a["movie_id"] == b["movie_id"] and abs(a["score"] - b["score"]) <= TOLERANCE for a, b in pairs)
    return not same or bool(result["problems"])


def export_models(folder: Path) -> dict[Path, tuple[dict[str, Any], list[list[dict[str, Any]]]]]:
    """Export a model of each kind; returns for each folder a request and its answers here."""
    movies = {"movie_id": list(range(10, 50)), "title": [f"Movie {number}" for number in range(40)]}
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict.fromkeys(movies["movie_id"], 1))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 12, "initializer_range": 0.5}
    exported = {}
    for name, options in MODELS.items():
        torch.manual_seed(0)
        model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **sizes, **options)).eval()
        if model.taste is not None:
            fill_taste(model)
        pipe = write_folder(model, tokenizer, folder / name, "# Card")
        goals = ("taste", "next") if model.taste is not None else ("next",)
        histories = [{"history": history, "goal": goal} for history in probe_histories(tokenizer) for goal in goals]
        expected = [pipe(history, top_k=10) for history in histories]
        exported[folder / name] = {"histories": histories, "top_k": 10}, expected
    return exported


def fill_taste(model: Bert4RecForMaskedLM) -> None:
    """Set random factors and neighbours of taste; those of a new model are zero."""
    taste, first = model.taste, model.config.unk_token_id + 1
    taste.factors[first:].normal_()
    taste.precisions[first:].uniform_(1, 2)
    taste.shares[first:].uniform_(0.01, 0.02)
    taste.log_popularity[first:].uniform_(-7, -3)
    taste.neighbours[first:].random_(first, model.config.vocab_size)
    taste.correlations[first:].uniform_(0.1, 0.9)


def check(exported: dict[Path, tuple[dict[str, Any], list[list[dict[str, Any]]]]], python: str) -> str:
    """Whether the folders load and rank the same in the environment of an interpreter, for the table."""
    for folder, (request, expected) in exported.items():
        result = answers(folder, request, python)
        if isinstance(result, str):
            return result
        if differs(result, expected):
            return f"the {folder.name} model ranks differently"
    return SAME_RANKING


def run_package_tests(python: str, requirement: Requirement, name: str) -> str:
    """The last line of pytest in the environment of an interpreter, if the package supports this version."""
    if name not in requirement.specifier:
        return f"not run: the package needs {requirement}"
    done = subprocess.run(
        [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *PACKAGE_TESTS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.stdout.strip().splitlines()[-1].strip("= ").rpartition(" in ")[0]


def environment_row(python: str, packages: tuple[str, ...], *results: str) -> str:
    """A row of the versions of an interpreter and of packages in its environment, and of results."""
    code = "import sys; from importlib.metadata import version; "
    code += "print(sys.version.split()[0], *map(version, sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return f"| {' | '.join([*done.stdout.split(), *results])} |"


def write_rows(rows: dict[str, str]) -> None:
    """Write rows to the page, by version of transformers; others stay if they were made in the same way."""
    header = HEADER.format(transformers=version("transformers"), torch=version("torch"))
    table = PAGE.read_text(encoding="utf-8").split(MARKS[0])[1].split(MARKS[1])[0]
    if header in table:
        rows = {line.split()[3]: line for line in table.splitlines() if line.startswith("| ")} | rows
    replace_between_marks(PAGE, MARKS, header + "\n".join(rows[name] for name in REQUIREMENTS if name in rows))


def package_requirement() -> Requirement:
    """What pyproject.toml requires of transformers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return next(Requirement(line) for line in project["dependencies"] if line.startswith("transformers"))


def main(arguments: list[str]) -> int:
    """Print a row per environment, and write those of versions to the page; returns 1 if one from 5.0 on fails."""
    rows, failed = {}, False
    versions = [argument for argument in arguments if argument in REQUIREMENTS]
    requirement = package_requirement()
    with tempfile.TemporaryDirectory() as directory:
        exported = export_models(Path(directory))
        for python in [argument for argument in arguments if argument not in REQUIREMENTS]:
            python = str(Path(python).absolute())
            result = check(exported, python)
            failed |= result != SAME_RANKING
            print(environment_row(python, ("torch", "numpy", "transformers"), result), flush=True)
        for name in versions if arguments else REQUIREMENTS:
            requirements = [f"transformers=={name}", *REQUIREMENTS[name]]
            python = make_environment(Path(directory) / f"python-{name}", requirements)
            result = check(exported, python)
            failed |= name.startswith("5.") and result != SAME_RANKING
            tests = run_package_tests(python, requirement, name)
            failed |= "failed" in tests or "error" in tests
            rows[name] = environment_row(python, COLUMNS, result, tests)
            print(rows[name], flush=True)
            write_rows(rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
