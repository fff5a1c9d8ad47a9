"""Write a model card from the records of a run; nothing in it is typed by hand.

    python -m hf_bert4rec.hub.card.render outputs/ml-100k

writes the card of a local model folder again, from its `training.json` and, where there is one, `evaluation.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from ...data.releases import CITATION, RELEASES, Release
from ...evaluation.report import REPORT_FILE, load_report, weights_sha256
from ...files import atomic_write, data_folder
from ..staging import read_training
from .evaluation_section import evaluation_section, label
from .limits_section import limits_section
from .markup import plain
from .metadata import metadata, spoken
from .training_sections import (
    architecture_section,
    data_section,
    reproduce_section,
    training_section,
    versions_section,
)

TEMPLATE = data_folder("model_card") / "template.md"
BERT4REC = (
    "Fei Sun, Jun Liu, Jian Wu, Changhua Pei, Xiao Lin, Wenwu Ou, and Peng Jiang. 2019. BERT4Rec: Sequential "
    "Recommendation with Bidirectional Encoder Representations from Transformer. CIKM '19. "
    "https://arxiv.org/abs/1904.06690"
)
PACKAGE = "hf-bert4rec: BERT4Rec for the Hugging Face Hub. Code under the Apache License 2.0."
UNPUBLISHED = "PATH_OR_NAME_OF_THIS_MODEL"


def render_card(
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    name: str = UNPUBLISHED,
    titles: bool = True,
) -> str:
    """The card of a model.

    Args:
        training: the content of `training.json`.
        evaluation: the content of `evaluation.json`; without it the card says that none was made.
        name: of the repository that the card is for; a placeholder where it is not published yet.
        titles: whether titles and genres ship with the model.
    """
    release = release_of(training)
    title = f"BERT4Rec on {training['dataset']}"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        metadata=metadata(training, evaluation, release, title),
        title=plain(title),
        summary=_summary(training, evaluation),
        quick_start=_quick_start(training, name, titles, release),
        data=data_section(training, release, titles),
        architecture=architecture_section(training),
        training=training_section(training),
        evaluation=evaluation_section(evaluation),
        limits=limits_section(training, evaluation, release),
        reproduce=reproduce_section(training, evaluation),
        versions=versions_section(training, evaluation),
        citation="\n\n".join([BERT4REC, *([CITATION] if release else []), PACKAGE]),
    )


def release_of(training: Mapping[str, Any]) -> Release | None:
    """The MovieLens release that a model learned from; None where it was a table of someone's own."""
    own = training["options"].get("ratings") is not None
    return None if own else RELEASES.get(training["dataset"].removesuffix(".txt"))


def update_card(folder: Path) -> None:
    """Write README.md of a local model folder again, from the records that lie in it.

    Raises:
        FileNotFoundError: no training record. ValueError: not a whole one, or `evaluation.json` is of other weights.
    """
    training, evaluation = read_training(folder), read_evaluation(folder)
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text(render_card(training, evaluation), encoding="utf-8")


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The evaluation of a model folder, None where it has none.

    Raises:
        ValueError: it is of other weights than those that lie beside it.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        return None
    evaluation = load_report(path)
    told, found = evaluation["model"]["weights_sha256"], weights_sha256(folder)
    if told != found:
        raise ValueError(
            f"{path} is the evaluation of another model: its weights have the sha256 {told[:12]}…, those beside it "
            f"{found[:12]}…; run training/evaluate.py {folder} again"
        )
    return evaluation


def _summary(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    text = (
        f"Recommends the next movie from the movies someone watched, in order. A "
        f"[BERT4Rec](https://arxiv.org/abs/1904.06690) model that knows {training['num_items']:,} movies and has "
        f"{training['parameters']:,} parameters."
    )
    if evaluation is None:
        return text
    headline = evaluation["protocol"]["headline"]
    ours = evaluation["metrics"][headline]
    baselines = {name: found["metrics"][headline]["mean"] for name, found in evaluation["baselines"].items()}
    best = max(baselines, key=lambda name: baselines[name])
    popular = "" if best == "popularity" else f", popularity {baselines['popularity']:.4f}"
    return (
        f"{text} {spoken(headline)} on held-out movies, ranked over the whole catalogue: **{ours['mean']:.4f}** "
        f"({evaluation['bootstrap']['level']:.0%} interval {ours['low']:.4f} to {ours['high']:.4f}); the best "
        f"baseline, {label(best)}, reaches {baselines[best]:.4f}{popular}."
    )


def _quick_start(training: Mapping[str, Any], name: str, titles: bool, release: Release | None) -> str:
    example = training["example"]
    history = example["history"] if titles else example["history_ids"]
    asked = json.dumps(history, ensure_ascii=False)
    answer = ",\n ".join(repr({**movie, "score": float(f"{movie['score']:.4g}")}) for movie in example["answer"])
    parts = [
        "```python\nfrom transformers import pipeline\n\n"
        f'pipe = pipeline("movie-recommendation", model="{name}", trust_remote_code=True)\n'
        f"pipe({asked}, top_k={len(example['answer'])})\n```",
        f"answers (scores to four digits)\n\n```python\n[{answer}]\n```",
        f"A history is a list, oldest first, of movie ids of the data set{' or of titles' if titles else ''}; a list "
        "of histories is a batch. Movies of the history are left out unless `exclude_seen=False`. `score` is the "
        "softmax over all movies. A history that names no known movie is answered by popularity, and `source` says "
        '"popularity".',
    ]
    return "\n\n".join(parts if titles else [*parts, _without_titles(name, release)])


def _without_titles(name: str, release: Release | None) -> str:
    source = (
        f"from hf_bert4rec.data import load_movielens  # of the package hf-bert4rec\n\n"
        f'movies = load_movielens("{release.name}")["movies"]\n'
        if release
        else 'movies = {"movie_id": [...], "title": [...], "year": [...], "genres": [...]}\n'
    )
    return (
        "Titles and genres do not ship with this model, so it answers with ids. A table of movies (a dict of columns "
        "or a `datasets.Dataset` with `movie_id` and any of `title`, `year` and `genres`) names them and lets "
        f"histories name movies by title:\n\n```\n{source}"
        f'pipe = pipeline("movie-recommendation", model="{name}", movies=movies, trust_remote_code=True)\n```'
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        update_card(Path(argument))
