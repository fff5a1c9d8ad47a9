"""The YAML front matter of a model card: tags, licence, and results as `model-index`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ...data.releases import HOMEPAGE, Release
from ...evaluation.report_text import METRIC_LABELS, metric_label

TAGS = ("recommendation", "sequential-recommendation", "bert4rec")
DATA_LICENCE = {"license": "other", "license_name": "movielens-terms-of-use", "license_link": HOMEPAGE}


def model_card_data(
    training: Mapping[str, Any], evaluation: Mapping[str, Any] | None, release: Release | None, title: str
) -> ModelCardData:
    """Metadata of a model trained on `release`, or on a custom table if that is None."""
    data: dict[str, Any] = {"library_name": "transformers", "tags": [*TAGS, *(["movielens"] if release else [])]}
    if release is not None:
        data |= {**DATA_LICENCE, "datasets": [release.name]}
    if evaluation is not None:
        data |= {"metrics": list(METRIC_LABELS), "model_name": title, "eval_results": _eval_results(evaluation)}
    return ModelCardData(**data)


def _eval_results(evaluation: Mapping[str, Any]) -> list[EvalResult]:
    protocol = evaluation["protocol"]
    k = protocol["headline"].split("@")[1]
    return [
        EvalResult(
            task_type="sequential-recommendation",
            task_name="Next-item recommendation",
            dataset_type=protocol["dataset"],
            dataset_name=f"{protocol['dataset']}, {protocol['split']}, ranked over the full catalogue",
            dataset_split=protocol["part"],
            metric_type=metric,
            metric_name=metric_label(metric),
            metric_value=round(evaluation["metrics"][metric]["mean"], 6),
        )
        for metric in (f"ndcg@{k}", f"hit_rate@{k}", "mrr")
    ]
