"""Confidence intervals of means over users: percentile bootstrap (Efron, 1979).

The users are the sample: a resample draws as many users, with replacement. All metrics share the resamples,
so the interval of a difference between two scorers on the same users is a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from .metrics import FloatArray

RESAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean over users and the bounds of its bootstrap interval."""

    mean: float
    low: float
    high: float


def intervals(
    values: Mapping[str, FloatArray], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Interval]:
    """Mean and bootstrap interval of every named metric, over the users for whom it is defined (not NaN).

    Args:
        values: For each name one value per user, (users,), the same users in the same order.
        seed: Of the resamples; the same seed and number of users give the same resamples.
        resamples: Their number.
        level: The share of resampled means within the bounds.

    Raises:
        ValueError: There are no users, or a metric is undefined for all of them.

    >>> intervals({"hit_rate@10": np.ones(50)})
    {'hit_rate@10': Interval(mean=1.0, low=1.0, high=1.0)}
    """
    if not values:
        return {}
    table = np.stack(list(values.values()), axis=1)  # (users, metrics)
    defined = ~np.isnan(table)
    if len(undefined := np.flatnonzero(~defined.any(0))):
        raise ValueError(f"{list(values)[undefined[0]]} has no value for any of {len(table)} users")
    table = np.where(defined, table, 0.0)
    sizes = defined.astype(np.float64)
    drawn = _resampled_weights(len(table), seed, resamples)
    means = np.concatenate([(weights @ table) / np.maximum(weights @ sizes, 1) for weights in drawn])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = table.sum(0) / sizes.sum(0)
    rows = zip(values, centre.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(mean, *bounds) for name, mean, *bounds in rows}


def difference_intervals(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Paired bootstrap of ours - theirs for every metric that both have, user by user.

    An interval that excludes 0 shows a difference beyond chance on users like these.

    >>> difference_intervals({"mrr": np.array([0.5, 1.0])}, {"mrr": np.array([0.25, 0.75])})
    {'mrr': Interval(mean=0.25, low=0.25, high=0.25)}
    """
    return intervals({name: ours[name] - theirs[name] for name in ours if name in theirs}, seed, resamples, level)


def _resampled_weights(n_users: int, seed: int, resamples: int, chunk: int = 16) -> Iterator[FloatArray]:
    """How often each user is drawn, (up to `chunk` resamples, users) at a time, so memory stays O(users)."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        drawn = [generator.integers(n_users, size=n_users) for _ in range(min(chunk, resamples - start))]
        yield np.stack([np.bincount(users, minlength=n_users) for users in drawn]).astype(np.float64)
