"""Render a model card from the records of a run; nothing in it is typed by hand.

    python -m hf_bert4rec.hub.card.render outputs/ml-100k

rewrites the card of a local model folder from its `training.json` and, if present, `evaluation.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.constants import REPOCARD_NAME

from ...data.releases import CITATION, Release
from ...evaluation.report_text import best_baseline, metric_label, scorer_label
from ...files import write_text
from ...model.onnx_bert4rec import ONNX_FILE, ONNX_FOLDER
from ..records import read_evaluation, read_training, release_of
from ..verify import has_titles
from .evaluation_section import evaluation_section
from .limits_section import MOVIELENS, measured_limits
from .markup import fill, plain
from .metadata import model_card_data
from .training_sections import architecture_fields, commands, data_fields, item_noun, training_fields, versions_table
from .usage_sections import files_section, usage_fields

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
    fields = {
        "metadata": model_card_data(training, evaluation, release, title),
        "title": plain(title),
        "item": item_noun(release),
        "items": f"{item_noun(release)}s",
        "summary": _summary(training, evaluation, release),
        **usage_fields(training, name, titles, release),
        **data_fields(training, release, titles),
        **architecture_fields(training, release),
        **training_fields(training, release),
        "evaluation": evaluation_section(evaluation),
        "measured_limits": measured_limits(evaluation),
        "movielens_limits": MOVIELENS if release else "",
        "files": files_section(titles=titles, evaluated=evaluation is not None, onnx=onnx),
        "commands": commands(training, evaluation),
        "versions": versions_table(training, evaluation),
        "data_citation": f"```bibtex\n{CITATION}\n```" if release else "",
    }
    return fill("template.md", fields)


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
    ours, best = evaluation["metrics"][headline], best_baseline(evaluation)
    baselines = {name: baseline["metrics"][headline]["mean"] for name, baseline in evaluation["baselines"].items()}
    popularity = "" if best == "popularity" else f", popularity {baselines['popularity']:.4f}"
    return (
        f"{text} {metric_label(headline)} on held-out {noun}s, ranked over the full catalogue: **{ours['mean']:.4f}** "
        f"({evaluation['bootstrap']['level']:.0%} interval {ours['low']:.4f} to {ours['high']:.4f}); the best "
        f"baseline, {scorer_label(best)}, reaches {baselines[best]:.4f}{popularity}."
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        update_card(Path(argument))
