"""The sections of a card on installing and calling the model, and on the files of its repository."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from ...data.releases import Release
from ...files import data_folder
from ..verify import CODE_FOLDER, code_files

REQUIREMENTS = data_folder("model_card") / "space" / "requirements.txt"  # the versions that the demo installs


def usage_fields(training: Mapping[str, Any], name: str, titles: bool, release: Release | None) -> dict[str, Any]:
    """Versions to install, the first snippet with its output, and how to get titles if the model has none."""
    example = training["example"]
    answer = [repr({**movie, "score": float(f"{movie['score']:.4g}")}) for movie in example["answer"]]
    return {
        "requirements": " ".join(required_versions()),
        "name": name,
        "history": json.dumps(example["history"] if titles else example["history_ids"], ensure_ascii=False),
        "top_k": len(answer),
        "answer": ",\n ".join(answer),
        "or_titles": " or titles" if titles else "",
        "without_titles": "" if titles else _without_titles(name, release),
    }


def required_versions() -> list[str]:
    """Quoted requirements of torch and transformers, as the demo installs them."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [f'"{line}"' for line in lines if line.startswith(("torch", "transformers"))]


def files_section(*, titles: bool, evaluated: bool, onnx: bool) -> str:
    """A table of the repository's files and what each is for."""
    columns = "interaction counts, titles, years and genres" if titles else "interaction counts"
    rows = {
        "`model.safetensors`": "weights",
        "`config.json`": "sizes and options of the network",
        "`tokenizer.json`, `tokenizer_config.json`": "item ids and their indices in the vocabulary",
        "`items.json`": f"{columns} of the items",
        "`training.json`": "data, options, curve and versions of the training run",
    }
    if evaluated:
        rows["`evaluation.json`, `plots/`"] = "figures of the evaluation, and pictures of them"
    if onnx:
        rows["`onnx/model.onnx`"] = 'the same scores from onnxruntime: `pipeline(…, backend="onnx")`'
        rows["`onnx/model_quantized.onnx`"] = (
            "nearly the same scores from int8 weights, for browsers and transformers.js"
        )
    rows |= {f"`{name}`": _summary_line(name) for name in code_files()}
    return "| file | content |\n|---|---|\n" + "\n".join(f"| {name} | {content} |" for name, content in rows.items())


def _summary_line(name: str) -> str:
    """First line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse((CODE_FOLDER / name).read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("|", r"\|")


def _without_titles(name: str, release: Release | None) -> str:
    movies = (
        "from hf_bert4rec.data import load_movielens  # from the package hf-bert4rec\n\n"
        f'movies = load_movielens("{release.name}")["movies"]\n'
        if release
        else 'movies = {"movie_id": [...], "title": [...], "year": [...], "genres": [...]}\n'
    )
    return (
        "Titles and genres are not part of this repository, so answers hold ids only. Pass a table (a dict of columns "
        "or a `datasets.Dataset` with `movie_id` and any of `title`, `year` and `genres`) to get titles in answers and "
        f"to use them in histories:\n\n```python\n{movies}"
        f'pipe = pipeline("movie-recommendation", model="{name}", movies=movies, trust_remote_code=True)\n```'
    )
