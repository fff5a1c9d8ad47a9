"""`evaluation.json`: one evaluation, whole, in a form that a person, a card and a later version can read.

Schema, version 1. An *estimate* is `{"mean", "low", "high"}`: mean over users, bounds of its bootstrap interval.

```
schema_version     1
model              name, weights_sha256, parameters, window
protocol           dataset, split, part, order, min_interactions, min_rating, counts {users, interactions, targets},
                   catalogue_size, targets_sha256, candidates, ties, known, ks, headline, seeds
bootstrap          resamples, level
metrics            {"ndcg@10": estimate, …} over the whole catalogue
together           {"coverage@10": number, "gini@10": number, …}: all users' lists together
baselines          {"popularity": {metrics, together, difference {name: estimate of model - baseline, paired}}, …}
slices             {"history_length" | "target_popularity": {"model" | baseline: [{from, to, n, metrics}, …]}}
popularity         {"known" | "targets" | "model" | baseline: shares of the catalogue's tenths, popular first}
sampled            {"popularity_100": {"model" | baseline: {name: estimate}}, …}: never the headline
times              {"told when it is asked": {metrics, difference {name: estimate of it - model}}, …}: of a model that
                   knows times, whose other figures are of times of the history alone
examples           [{history, held_out, recommended}, …], each movie {movie_id, title, genres}
environment        versions, hardware, seconds, date
```

Keys may be added within a version; a changed meaning raises it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..environment import environment
from .assessment import EvaluationResult
from .bootstrap import LEVEL, RESAMPLES, Interval, difference_intervals, intervals
from .metrics import FloatArray
from .slices import by_history_length, by_target_popularity, popularity_profile
from .task import EvaluationTask

SCHEMA_VERSION = 1
REPORT_FILE = "evaluation.json"
SECTIONS = ("model", "protocol", "metrics", "together", "baselines", "slices", "popularity", "sampled")
HEADLINE = ("ndcg", "hit_rate")


def build_report(
    task: EvaluationTask,
    model: EvaluationResult,
    baselines: Mapping[str, EvaluationResult],
    *,
    identity: Mapping[str, Any],
    protocol: Mapping[str, Any],
    ks: Sequence[int],
    seed: int,
    examples: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Put figures, intervals, slices and differences together as the module's docstring says.

    Args:
        task: What was asked.
        model: What the model reached.
        baselines: What each baseline reached on the same task.
        identity: The `model` section.
        protocol: What the task does not know of itself: data set, split, order, hash of the targets, seeds.
        ks: Lengths of lists; slices and pictures use 10 if it is among them, else the first.
        seed: Of the bootstrap.
        examples: Histories with what was held out and what was recommended.
    """
    headline = 10 if 10 in ks else ks[0]
    assessments = {"model": model, **baselines}
    return {
        "schema_version": SCHEMA_VERSION,
        "model": dict(identity),
        "protocol": {**protocol, **_protocol(task), "ks": list(ks), "headline": f"ndcg@{headline}"},
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": seed},
        "metrics": estimates(model.per_user, seed),
        "together": model.together,
        "baselines": {
            name: {
                "metrics": estimates(baseline.per_user, seed),
                "together": baseline.together,
                "difference": _as_dicts(difference_intervals(*_defined(model, baseline), seed)),
            }
            for name, baseline in baselines.items()
        },
        "slices": _slices(task, assessments, headline, seed),
        "popularity": _popularity(task, assessments, headline),
        "sampled": {
            draw: {name: estimates(found.sampled[draw], seed) for name, found in assessments.items()}
            for draw in model.sampled
        },
        "examples": [dict(example) for example in examples],
        "environment": {
            **environment(),
            "seconds": {name: round(found.seconds, 2) for name, found in assessments.items()},
        },
    }


def times_section(model: EvaluationResult, others: Mapping[str, EvaluationResult], seed: int) -> dict[str, Any]:
    """What a model that knows times reaches when it is told more of them, or less: metrics, and what that changes."""
    return {
        name: {
            "metrics": estimates(other.per_user, seed),
            "difference": _as_dicts(difference_intervals(*_defined(other, model), seed)),
        }
        for name, other in others.items()
    }


def estimates(per_user: Mapping[str, FloatArray], seed: int) -> dict[str, dict[str, float]]:
    """Every metric that is defined for any user as `{"mean", "low", "high"}`."""
    return _as_dicts(intervals({k: v for k, v in per_user.items() if not np.isnan(v).all()}, seed))


def load_report(path: str | Path) -> dict[str, Any]:
    """Read `evaluation.json` back, checked.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another schema version, or no evaluation at all; the message says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation at {path}: run training/evaluate.py on the model first")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): run training/evaluate.py again") from error
    found = report.get("schema_version") if isinstance(report, dict) else None
    if not isinstance(found, int) or found < SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {found}, this package reads {SCHEMA_VERSION}: run training/evaluate.py again"
        )
    if found > SCHEMA_VERSION:
        raise ValueError(f"{path} has schema version {found}, this package reads {SCHEMA_VERSION}: update hf-bert4rec")
    if missing := [name for name in SECTIONS if name not in report]:
        raise ValueError(f"{path} lacks the sections {', '.join(missing)}: run training/evaluate.py again")
    return report


def spread(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and spread of every metric over evaluations of models that differ in their seed only.

    Returns:
        `{name: {"mean", "sd", "values"}}`; the standard deviation is the sample's (n - 1).

    Raises:
        ValueError: Fewer than two reports, or reports on different targets.
    """
    if len(reports) < 2:
        raise ValueError(f"a spread needs two evaluations or more, not {len(reports)}")
    if len(hashes := {report["protocol"]["targets_sha256"] for report in reports}) > 1:
        raise ValueError(f"the evaluations have {len(hashes)} different sets of targets: they cannot be averaged")
    result = {}
    for name in reports[0]["metrics"]:
        values = [report["metrics"][name]["mean"] for report in reports]
        result[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
    return result


def weights_sha256(folder: str | Path) -> str:
    """sha256 of a model folder's weights: of the one file, or of its shards one after the other by name.

    Raises:
        FileNotFoundError: The folder holds no safetensors weights.
    """
    shards = sorted(Path(folder).glob("model*.safetensors"))
    if not shards:
        raise FileNotFoundError(f"no model.safetensors in {folder}: is it an exported model?")
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _protocol(task: EvaluationTask) -> dict[str, Any]:
    return {
        "counts": {
            "users": len(task.targets),
            "targets": len(task.targets.values),
            "known_interactions": len(task.known.values),
        },
        "catalogue_size": task.catalogue_size,
        "candidates": "all items of the catalogue except those of the user's history",
        "ties": "count against the model",
        "known": "all interactions that precede the targets; baselines are fitted on them",
    }


def _slices(
    task: EvaluationTask, assessments: Mapping[str, EvaluationResult], k: int, seed: int
) -> dict[str, dict[str, Any]]:
    ranks = {name: found.ranking.ranks for name, found in assessments.items()}
    return {
        "history_length": {name: by_history_length(task.histories, r, k, seed) for name, r in ranks.items()},
        "target_popularity": {
            name: by_target_popularity(task.targets, r, task.counts, k, seed) for name, r in ranks.items()
        },
    }


def _popularity(task: EvaluationTask, assessments: Mapping[str, EvaluationResult], k: int) -> dict[str, list[float]]:
    is_item = np.ones(task.vocab_size, dtype=bool)
    is_item[list(task.special_ids)] = False
    items = {"known": task.known.values, "targets": task.targets.values}
    items |= {name: found.ranking.top_items[:, :k] for name, found in assessments.items()}
    return {name: popularity_profile(values, task.counts, is_item) for name, values in items.items()}


def _defined(
    model: EvaluationResult, baseline: EvaluationResult
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    names = [name for name, values in model.per_user.items() if not np.isnan(values - baseline.per_user[name]).all()]
    return {name: model.per_user[name] for name in names}, baseline.per_user


def _as_dicts(found: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: interval._asdict() for name, interval in found.items()}
