"""Load and rank exported folders with other versions than those installed.

    python -m tests.versions
    python -m tests.versions .venv-py310/bin/python .venv-py313/bin/python

The first installs several versions of transformers, each with its own huggingface_hub and tokenizers in a folder before
the packages of this environment, and writes a table to docs/versions.md. The second prints a row for each of the
environments that these interpreters belong to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import replace_between_marks
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer
from hf_bert4rec.hub.export import export
from hf_bert4rec.hub.verify import ISOLATED_LOADER, TOLERANCE, probe_histories

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "versions.md"
REQUIREMENTS = {
    "4.57.6": ("huggingface-hub==0.36.2", "tokenizers==0.22.0"),
    "5.0.0": ("huggingface-hub==1.3.0", "tokenizers==0.22.0", "safetensors==0.4.3"),
    "5.3.0": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.5.4": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.10.4": ("huggingface-hub==1.33.0", "tokenizers==0.22.2"),
    "5.24.0": ("huggingface-hub==2.4.0", "tokenizers==0.23.3"),
}
SAME_RANKING = "loads, same ranking"
MODELS: dict[str, dict[str, Any]] = {
    "paper": {},
    "masked": {
        "previous_item": True,
        "pre_layer_norm": True,
        "rotary_positions": True,
        "memory_size": 4,
        "time_aware": True,
    },
    "causal": {
        "causal": True,
        "pre_layer_norm": True,
        "rotary_positions": True,
        "memory_size": 4,
        "time_aware": True,
    },
}
MARKS = ("<!-- versions: written by tests/versions.py -->", "<!-- end of versions -->")
HEADER = """Torch is {torch}, Python {python}; the answers are compared with those of transformers {transformers}.

| transformers | huggingface_hub | tokenizers | result |
|---|---|---|---|
"""


def install(name: str, requirements: tuple[str, ...], folder: Path) -> Path:
    """Install a version of transformers, without the packages that it shares with this environment."""
    target = folder / name
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*command, f"transformers=={name}", *requirements], check=True)
    return target


def answers(model: Path, packages: Path | None, request: dict, python: str = sys.executable) -> dict | str:
    """Answers of the model with the packages of a folder first; the last line of the error if it does not load."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "HF_MODULES_CACHE": cache, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(packages or "")
        done = subprocess.run(
            [python, "-c", ISOLATED_LOADER, str(model)],
            input=json.dumps(request),
            cwd=cache,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
    return json.loads(done.stdout.rsplit("\n", 1)[-1])


def differs(result: dict, expected: dict) -> bool:
    """Whether two results rank differently, or scores differ by more than the tolerance of an export."""
    pairs = [
        (movie, other)
        for answer, expected_answer in zip(result["answers"], expected["answers"], strict=True)
        for movie, other in zip(answer, expected_answer, strict=True)
    ]
    same = all(a["movie_id"] == b["movie_id"] and abs(a["score"] - b["score"]) <= TOLERANCE for a, b in pairs)
    return not same or bool(result["problems"])


def export_models(folder: Path) -> tuple[dict[str, Path], dict]:
    """Export a model of each kind; returns the folders, and a request that all can answer."""
    movies = {"movie_id": list(range(10, 50)), "title": [f"Movie {number}" for number in range(40)]}
    tokenizer = Bert4RecTokenizer.from_movies(movies, dict.fromkeys(movies["movie_id"], 1))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 12, "initializer_range": 0.5}
    folders = {}
    for name, options in MODELS.items():
        torch.manual_seed(0)
        model = Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=len(tokenizer), **sizes, **options)).eval()
        folders[name] = export(model, tokenizer, folder / name, "# Card")
    return folders, {"histories": probe_histories(tokenizer), "top_k": 10}


def check(folders: dict[str, Path], request: dict, expected: dict[str, Any], packages: Path | None, python: str) -> str:
    """The result of a version for the table."""
    for model, folder in folders.items():
        result = answers(folder, packages, request, python)
        if isinstance(result, str):
            return result
        if differs(result, expected[model]):
            return f"the {model} model ranks differently"
    return SAME_RANKING


def environment_row(python: str, result: str) -> str:
    """Versions of an interpreter's environment, and the result."""
    code = "import sys, torch, numpy, transformers as t; print(sys.version.split()[0], torch.__version__, "
    code += "numpy.__version__, t.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"| {' | '.join(done.stdout.split())} | {result} |"


def main(interpreters: list[str]) -> int:
    """Check every version and write the page; returns 1 if a version from 5.0 on does not load and rank the same."""
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as directory:
        folders, request = export_models(Path(directory))
        expected = {model: answers(folder, None, request) for model, folder in folders.items()}
        for python in interpreters:
            print(environment_row(python, check(folders, request, expected, None, python)), flush=True)
        for name, requirements in REQUIREMENTS.items() if not interpreters else ():
            packages = install(name, requirements, Path(directory))
            result = check(folders, request, expected, packages, sys.executable)
            failed |= name.startswith("5.") and result != SAME_RANKING
            hub, tokenizers = (requirement.split("==")[1] for requirement in requirements[:2])
            rows.append(f"| {name} | {hub} | {tokenizers} | {result} |")
            print(rows[-1], flush=True)
    if interpreters:
        return 0
    header = HEADER.format(
        transformers=version("transformers"), torch=torch.__version__, python=".".join(map(str, sys.version_info[:3]))
    )
    replace_between_marks(PAGE, MARKS, header + "\n".join(rows))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
