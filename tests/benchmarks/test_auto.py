"""The table of `fit` on several kinds of data, from result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.quality.auto import table


def result(name: str, mean: float, seconds: float) -> dict[str, Any]:
    baselines = {"markov": 0.2, "item_knn": 0.1, "popularity": 0.05}
    return {
        "name": name,
        **{"num_users": 1234, "num_items": 56, "num_interactions": 7890, "seconds": seconds},
        "test": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01},
        "baselines": {
            baseline: {
                "mean": value,
                "difference": {
                    "ndcg@10": {"mean": mean - value, "low": mean - value - 0.02, "high": mean - value + 0.02}
                },
            }
            for baseline, value in baselines.items()
        },
    }


def test_rows_are_in_the_order_of_the_families(tmp_path: Path) -> None:
    for name, mean, seconds in (("ml-100k", 0.21, 200.0), ("shop", 0.3, 61.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name, mean, seconds)))
    header, _, shop, release, empty, *verdicts = table(tmp_path).splitlines()
    assert header.startswith("| data | users | items | interactions | this model | Markov |")
    assert shop == "| shop | 1,234 | 56 | 7,890 | **0.3000** [0.2900, 0.3100] | 0.2000 | 0.1000 | 0.0500 | 1 |"
    assert release.startswith("| ml-100k |")
    assert empty == ""
    assert verdicts[0].startswith("- shop: better than Markov (+0.1000, +0.0800 to +0.1200); better than item-kNN (")
    assert verdicts[1].startswith("- ml-100k: not clearly different from Markov (+0.0100, -0.0100 to +0.0300); better")
