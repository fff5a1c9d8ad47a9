"""The block of YAML above a model card, which the Hub reads: tags, licence, and results as `model-index`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ...data.releases import HOMEPAGE, Release

TAGS = ["recommendation", "sequential-recommendation", "bert4rec"]
NAMES = {"ndcg": "NDCG", "hit_rate": "HitRate", "mrr": "MRR"}


def metadata(
    training: Mapping[str, Any], evaluation: Mapping[str, Any] | None, release: Release | None, title: str
) -> str:
    """The YAML of a model trained on `release`, or on a table of its own where that is None."""
    found: dict[str, Any] = {"library_name": "transformers", "tags": TAGS + ["movielens"] * (release is not None)}
    if release is not None:
        found |= {"license": "other", "license_name": "movielens-terms-of-use", "license_link": HOMEPAGE}
        found["datasets"] = [release.name]
    if evaluation is not None:
        found["metrics"] = ["ndcg", "hit_rate", "mrr"]
        found["model-index"] = [{"name": title, "results": [_result(evaluation)]}]
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)


def spoken(metric: str) -> str:
    """ "ndcg@10" as people write it: "NDCG@10"."""
    name, at, k = metric.partition("@")
    return NAMES.get(name, name) + at + k


def _result(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    protocol = evaluation["protocol"]
    k = protocol["headline"].split("@")[1]
    names = (f"ndcg@{k}", f"hit_rate@{k}", "mrr")
    return {
        "task": {"type": "sequential-recommendation", "name": "Next-movie recommendation"},
        "dataset": {
            "type": protocol["dataset"],
            "name": f"{protocol['dataset']}, {protocol['split']}, ranked over the whole catalogue",
            "split": protocol["part"],
        },
        "metrics": [
            {"type": name, "name": spoken(name), "value": round(evaluation["metrics"][name]["mean"], 6)}
            for name in names
        ],
    }
