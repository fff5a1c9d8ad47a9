"""`evaluation.json`: one complete evaluation, and its schema.

Schema, version 2. An *estimate* is `{"mean", "low", "high"}`: mean over users, bounds of its bootstrap interval.

```
schema_version     2
model              name, weights_sha256, parameters, window
protocol           dataset, split, part, order, min_interactions, min_rating, targets_sha256, users_in_all,
                   interactions_in_all, catalogue_size, candidates, ties, known, ks, headline, seeds,
                   counts {users, targets, unseen_targets (in no training history), known_interactions},
                   target_events (if there are event types: those held out),
                   memory (if the model's was refilled for the evaluation: its content)
bootstrap          resamples, level, seed
metrics            {"ndcg@10": estimate, …} over the full catalogue
aggregate          {"coverage@10": number, "gini@10": number, …} over the lists of all users
baselines          {"popularity": {metrics, aggregate, difference {name: estimate of model - baseline, paired}}, …}
slices             {"history_length" | "target_popularity": {"model" | baseline: [{from, to, n, metrics}, …]}}
popularity         {"known" | "targets" | "model" | baseline: shares of the catalogue's tenths, most popular first}
sampled            {"popularity_100": {"model" | baseline: {name: estimate}}, …}: never the headline
times              {"with the time of the query" | "without any times": {metrics, difference {name: estimate of it -
                   model}}}: of a time-aware model, whose other figures use the times of the history only
new_users          part, users, held_out, liked_rating, draws, seed, k, model [its scorers], results
                   {"1" | "3" | "5" movies named: {scorer: {metrics, difference: estimates of the model's first scorer
                   - this one, paired}}}; "refitted": true where no users were held out of the model's training: then
                   of a second model of taste, fitted without them
related_items      where titles have groups: groups, listed, movies, seed, k, model, results {scorer: {metrics,
                   difference}}; "listed_found@10" is of the `listed` groups, which do not come from titles
examples           [{history, history_length, held_out, recommended}, …], each movie {movie_id, title, genres}
environment        versions, date, hardware, seconds
```

Keys may be added within a version; a changed meaning raises it. Other versions are refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.collators import IGNORED
from ..data.ragged import FloatArray, IntArray
from ..data.transitions import item_counts
from ..environment import describe_hardware, environment
from ..model.loading_bert4rec import read_object
from .bootstrap import LEVEL, RESAMPLES, intervals
from .config import EvaluationConfig
from .metrics import metrics_per_user
from .scoring import EvaluationResult
from .task import EvaluationTask

SCHEMA_VERSION = 2
REPORT_FILE = "evaluation.json"
SECTIONS = ("model", "protocol", "metrics", "aggregate", "baselines", "slices", "popularity", "sampled")
SLICES = 5  # with about the same number of users (or targets) each
POPULARITY_TENTHS = 10


def build_report(
    task: EvaluationTask,
    model: EvaluationResult,
    baselines: Iterable[tuple[str, EvaluationResult]],
    config: EvaluationConfig,
    *,
    model_info: Mapping[str, Any],
    protocol: Mapping[str, Any],
    examples: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Combine results into the schema of this module, with intervals, slices and paired differences.

    Args:
        baselines: names and results; a generator may compute them, as no more than one is held at a time.
        model_info: the section `model`.
        protocol: the part of that section which the task does not hold: data set, split, order, hash, seeds.
        examples: as `make_examples` returns them.
    """
    k, seed = config.headline_k, config.seed
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": dict(model_info),
        "protocol": {**protocol, **_protocol(task), "ks": [*config.ks], "headline": f"ndcg@{k}"},
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": seed},
        "metrics": estimates(model.per_user, seed),
        "aggregate": model.aggregate,
        "baselines": {},
        "slices": {"history_length": {}, "target_popularity": {}},
        "popularity": {
            "known": _popularity(task, item_counts(task.known, task.vocab_size)),
            "targets": _popularity(task, item_counts(task.targets, task.vocab_size)),
        },
        "sampled": {draw: {} for draw in model.sampled},
        "examples": [dict(example) for example in examples],
        "environment": {**environment(), "hardware": describe_hardware(), "seconds": {}},
    }
    _add_scorer(report, "model", model, task, config)
    for name, baseline in baselines:
        report["baselines"][name] = {
            "metrics": estimates(baseline.per_user, seed),
            "aggregate": baseline.aggregate,
            "difference": _difference(model, baseline, seed),
        }
        _add_scorer(report, name, baseline, task, config)
    return report


def _add_scorer(
    report: dict[str, Any], name: str, result: EvaluationResult, task: EvaluationTask, config: EvaluationConfig
) -> None:
    """Add one scorer to the sections that compare all of them."""
    for section, parts in _slices(task, result, config).items():
        report["slices"][section][name] = parts
    listed = result.ranking.top_items[:, : config.headline_k]
    report["popularity"][name] = _popularity(task, np.bincount(listed[listed != IGNORED], minlength=task.vocab_size))
    for draw, per_user in result.sampled.items():
        report["sampled"][draw][name] = estimates(per_user, config.seed)
    report["environment"]["seconds"][name] = round(result.seconds, 2)


def times_section(model: EvaluationResult, ablations: Mapping[str, EvaluationResult], seed: int) -> dict[str, Any]:
    """The section `times`: metrics with more times, or without any, and their difference from the model's."""
    return {
        name: {"metrics": estimates(result.per_user, seed), "difference": _difference(result, model, seed)}
        for name, result in ablations.items()
    }


def estimates(per_user: Mapping[str, FloatArray], seed: int) -> dict[str, dict[str, float]]:
    """Every metric that is defined for any user as `{"mean", "low", "high"}`."""
    return intervals({name: values for name, values in per_user.items() if not np.isnan(values).all()}, seed)


def load_report(path: str | Path) -> dict[str, Any]:
    """Read `evaluation.json`, checked.

    FileNotFoundError without it, ValueError for another schema or content; both name the command to run.
    """
    path, again = Path(path), "run `hf-bert4rec evaluate` on the model again"
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation at {path}: run `hf-bert4rec evaluate` on the model first")
    report = read_object(path, again)
    version = report.get("schema_version")
    if version != SCHEMA_VERSION:
        fix = "update hf-bert4rec" if isinstance(version, int) and version > SCHEMA_VERSION else again
        raise ValueError(f"{path} has schema version {version}, this package reads {SCHEMA_VERSION}: {fix}")
    if missing := [name for name in SECTIONS if name not in report]:
        raise ValueError(f"{path} lacks the sections {', '.join(missing)}: {again}")
    return report


def spread(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation of every metric over models that differ only in their seed.

    Returns:
        `{name: {"mean", "sd", "values"}}`; the standard deviation is the sample's (n - 1).

    Raises:
        ValueError: the reports are on different targets.
    """
    if len(hashes := {report["protocol"]["targets_sha256"] for report in reports}) > 1:
        raise ValueError(f"the evaluations have {len(hashes)} different sets of targets: they cannot be averaged")
    result = {}
    for name in reports[0]["metrics"]:
        values = [report["metrics"][name]["mean"] for report in reports]
        result[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
    return result


def _protocol(task: EvaluationTask) -> dict[str, Any]:
    return {
        "counts": {
            "users": len(task.targets),
            "targets": len(task.targets.values),
            "unseen_targets": task.unseen_targets,
            "known_interactions": sum(len(block.values) for block in task.known.blocks()),
        },
        "catalogue_size": task.catalogue_size,
        "candidates": "all items of the catalogue" + " except those of the user's history" * task.exclude_seen,
        "ties": "count against the model",
        "known": "all interactions that precede the targets; baselines are fitted on them",
    }


def _slices(
    task: EvaluationTask, result: EvaluationResult, config: EvaluationConfig
) -> dict[str, list[dict[str, Any]]]:
    """hit_rate@k, ndcg@k and mrr of users by length of the history, and of targets by their known interactions."""
    k, seed = config.headline_k, config.seed
    headline = (f"hit_rate@{k}", f"ndcg@{k}", "mrr")
    of_users = {metric: result.per_user[metric] for metric in headline}
    of_targets = metrics_per_user(result.ranking.ranks.values, [k])
    counts = task.counts[task.targets.values]
    return {
        "history_length": sliced(task.histories.lengths, of_users, seed),
        "target_popularity": sliced(
            counts, {metric: of_targets[metric] for metric in headline}, seed, users=task.targets.row_ids
        ),
    }


def sliced(
    sizes: IntArray, values: Mapping[str, FloatArray], seed: int, parts: int = SLICES, users: IntArray | None = None
) -> list[dict[str, Any]]:
    """Cut at the quantiles of `sizes` (n,) and average `values` (n,) within each slice.

    Intervals are over `users` (n,), the user of every value, where some have several.

    Returns:
        `{"from", "to", "n", "metrics": {name: {"mean", "low", "high"}}}` for each slice, both bounds included.
        Slices have about the same number of rows; many equal sizes make fewer slices.

    >>> [(part["from"], part["to"], part["n"]) for part in sliced(np.arange(10), {"x": np.ones(10)}, 0, parts=3)]
    [(0, 3, 4), (4, 6, 3), (7, 9, 3)]
    """
    cuts = np.quantile(sizes, np.arange(1, parts) / parts, method="inverted_cdf")
    group = np.searchsorted(cuts, sizes)
    return [
        {
            "from": int(sizes[inside].min()),
            "to": int(sizes[inside].max()),
            "n": int(inside.sum()),
            "metrics": intervals(
                {name: value[inside] for name, value in values.items()},
                seed,
                users=None if users is None else users[inside],
            ),
        }
        for inside in (group == part for part in np.unique(group))
    ]


def _popularity(task: EvaluationTask, occurrences: IntArray) -> list[float]:
    """The profile of the occurrences of every input id, (vocab_size,)."""
    special = list(task.special_ids)
    return popularity_profile(np.delete(occurrences, special), np.delete(task.counts, special))


def popularity_profile(occurrences: IntArray, counts: IntArray) -> list[float]:
    """The share of the occurrences in each tenth of the catalogue, most popular tenth first.

    `occurrences` and `counts`, the known interactions, are of every item, (items,) each.

    >>> popularity_profile(np.bincount([0, 0, 1], minlength=10), np.arange(10))[-2:]
    [0.3333333333333333, 0.6666666666666666]
    """
    tenth = np.arange(len(counts)) * POPULARITY_TENTHS // len(counts)
    order = np.argsort(-counts, kind="stable")
    totals = np.bincount(tenth, weights=occurrences[order], minlength=POPULARITY_TENTHS)
    return (totals / max(totals.sum(), 1)).tolist()


def _difference(first: EvaluationResult, second: EvaluationResult, seed: int) -> dict[str, dict[str, float]]:
    """Paired intervals of first - second for every metric that both define for some user."""
    return estimates({name: first.per_user[name] - second.per_user[name] for name in first.per_user}, seed)
