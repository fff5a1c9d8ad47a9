"""Render a model card from the records of a run; nothing in it is typed by hand.

    python -m hf_bert4rec.hub.card.render outputs/ml-100k

rewrites the card of a local model folder from its `training.json` and, if present, `evaluation.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub.constants import REPOCARD_NAME

from ...data.releases import CITATION, Release
from ...evaluation.report_text import metric_label, scorer_label
from ...files import data_folder, write_text
from ...model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER
from ..records import read_evaluation, read_training, release_of
from ..verify import has_titles
from .evaluation_section import evaluation_section
from .limits_section import limits_section
from .markup import plain
from .metadata import model_card_data
from .training_sections import (
    architecture_section,
    data_section,
    reproduce_section,
    training_section,
    versions_section,
)
from .usage_sections import files_section, item_noun, usage_section

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
    *,
    titles: bool,
    onnx: bool = False,
) -> str:
    """Render the card of a model.

    Args:
        training: the content of `training.json`.
        evaluation: the content of `evaluation.json`; without it the card says that the model was not evaluated.
        name: repository that the card is for; a placeholder while the model is not published.
        titles: whether titles and genres are in the folder.
        onnx: whether an ONNX file is in the folder.
    """
    release = release_of(training)
    title = f"BERT4Rec on {training['dataset']}"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        metadata=model_card_data(training, evaluation, release, title),
        title=plain(title),
        items=f"{item_noun(release)}s",
        summary=_summary(training, evaluation, release),
        usage=usage_section(training, name, titles, release),
        data=data_section(training, release, titles),
        architecture=architecture_section(training, release),
        training=training_section(training, release),
        evaluation=evaluation_section(evaluation),
        limitations=limits_section(training, evaluation, release),
        files=files_section(titles=titles, evaluated=evaluation is not None, onnx=onnx),
        reproduce=reproduce_section(training, evaluation),
        versions=versions_section(training, evaluation),
        citation="\n\n".join([BERT4REC, *([CITATION] if release else []), PACKAGE]),
    )


def update_card(folder: Path) -> None:
    """Rewrite README.md of a local model folder from the records in it.

    Raises:
        FileNotFoundError: the folder has no training record.
        ValueError: a record is damaged, or `evaluation.json` is of other weights.
    """
    training, evaluation = read_training(folder), read_evaluation(folder)
    onnx = (folder / ONNX_FOLDER / ONNX_FILE).is_file()
    write_text(folder / REPOCARD_NAME, render_card(training, evaluation, titles=has_titles(folder), onnx=onnx))


def _summary(training: Mapping[str, Any], evaluation: Mapping[str, Any] | None, release: Release | None) -> str:
    noun = item_noun(release)
    text = (
        f"A [BERT4Rec](https://arxiv.org/abs/1904.06690) model that recommends the next {noun} from a user's history. "
        f"It knows {training['num_items']:,} {noun}s and has {training['parameters']:,} parameters."
    )
    if evaluation is None:
        return text
    headline = evaluation["protocol"]["headline"]
    ours = evaluation["metrics"][headline]
    baselines = {name: baseline["metrics"][headline]["mean"] for name, baseline in evaluation["baselines"].items()}
    best = max(baselines, key=lambda name: baselines[name])
    popularity = "" if best == "popularity" else f", popularity {baselines['popularity']:.4f}"
    return (
        f"{text} {metric_label(headline)} on held-out {noun}s, ranked over the full catalogue: **{ours['mean']:.4f}** "
        f"({evaluation['bootstrap']['level']:.0%} interval {ours['low']:.4f} to {ours['high']:.4f}); the best "
        f"baseline, {scorer_label(best)}, reaches {baselines[best]:.4f}{popularity}."
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        update_card(Path(argument))
