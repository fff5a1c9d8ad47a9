"""Write a model card from the records of a run; nothing in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from hf_bert4rec.data.releases import RELEASES

TEMPLATE = Path(__file__).with_name("template.md")
MOVIELENS = """\
F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions on
Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"""
BERT4REC = """\
Fei Sun et al. 2019. BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer.
CIKM '19. https://arxiv.org/abs/1904.06690"""

SHOWN_METRICS = ("ndcg@10", "hit_rate@10", "mrr")


def render_card(training: dict[str, Any], evaluation: dict[str, Any] | None = None) -> str:
    """The card of a model.

    Args:
        training: the training record that `training/train.py` exports as `training.json`.
        evaluation: the content of `evaluation.json`; without it the card says that none was made.
    """
    release = RELEASES.get(training["dataset"].removesuffix(".txt"))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        dataset=training["dataset"],
        dataset_tags="- movielens\n" if release else "",
        license_lines=_license_lines() if release else "",
        num_items=f"{training['num_items']:,}",
        parameters=f"{training['parameters']:,}",
        window=training["options"]["max_position_embeddings"],
        example_history=json.dumps(training["example_history"], ensure_ascii=False),
        data_section=_data_section(training, release),
        training_section=_training_section(training),
        results_section=_results_section(evaluation),
        citation="\n\n".join([BERT4REC, MOVIELENS] if release else [BERT4REC]),
    )


def _license_lines() -> str:
    return (
        "license: other\nlicense_name: movielens-terms-of-use\n"
        "license_link: https://grouplens.org/datasets/movielens/\n"
    )


def _data_section(training: dict[str, Any], release: Any) -> str:
    options = training["options"]
    text = (
        f"{training['dataset']}: {training['num_users']:,} users, {training['num_items']:,} movies and "
        f"{training['num_interactions']:,} interactions after leaving out users and movies with fewer than "
        f"{options['min_interactions']}, repeatedly. A history is ordered by time, ties by the release's own order. "
        "Of every user the last movie is held out for testing and the one before it for validation."
    )
    if release is not None:
        text += f"\n\nThe data's licence is its own: {release.licence}"
    return text


def _training_section(training: dict[str, Any]) -> str:
    options = training["options"]
    rows = "\n".join(f"| `{name}` | {value} |" for name, value in sorted(options.items()) if value is not None)
    epochs = max((entry.get("epoch", 0) for entry in training["curve"]), default=0)
    return (
        f"{epochs:.0f} epochs in {training['seconds']:,.0f} seconds on {training['hardware']}. The weights are those "
        f"of step {training['best_step']}, the best by validation NDCG@10 "
        f"({training['best_validation_ndcg@10']:.4f}).\n\n| option | value |\n|---|---|\n{rows}"
    )


def _results_section(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return "Not evaluated yet."
    protocol, interval = evaluation["protocol"], f"{evaluation['bootstrap']['level']:.0%} interval"
    baselines = evaluation["baselines"]
    names = [name.replace("_", "-") for name in baselines]
    lines = [f"| | this model | {interval} | {' | '.join(names)} |", "|---" * (len(names) + 3) + "|"]
    for metric in SHOWN_METRICS:
        ours = evaluation["metrics"][metric]
        theirs = " | ".join(f"{found['metrics'][metric]['mean']:.4f}" for found in baselines.values())
        lines.append(f"| {metric} | **{ours['mean']:.4f}** | {ours['low']:.4f} to {ours['high']:.4f} | {theirs} |")
    table = "\n".join(lines)
    return (
        f"Split {protocol['split']}, {protocol['counts']['targets']:,} held-out movies of the {protocol['part']} part, "
        f"each ranked among {protocol['candidates']} ({protocol['catalogue_size']:,} items); ties "
        f"{protocol['ties']}. Order of histories: {protocol['order']}. sha256 of the targets: "
        f"`{protocol['targets_sha256']}`.\n\n{table}\n\nThe baselines know {protocol['known'].split(';')[0]}."
    )
