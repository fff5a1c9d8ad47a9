"""Confidence intervals of means over users: percentile bootstrap (Efron, 1979).

Each resample draws as many users as there are, with replacement. All metrics share the resamples, so the interval of
a difference of two scorers, given as one value per user, is that of a paired bootstrap.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from ..data.ragged import FloatArray, IntArray

RESAMPLES = 1000
LEVEL = 0.95  # the share of resampled means within the bounds
FEW_USERS = 50  # with fewer, an interval says little
CHUNK = 16


def intervals(
    values: Mapping[str, FloatArray], seed: int = 0, resamples: int = RESAMPLES, users: IntArray | None = None
) -> dict[str, dict[str, float]]:
    """`{"mean", "low", "high"}` of every named metric, over the users for whom it is defined (not NaN).

    Args:
        values: one value per user for each name, (users,), the same users in the same order.
        seed: of the resamples; the same seed and number of users give the same resamples.
        users: the user of every value, ascending, where some have several, (values,); the mean is over values.

    Raises:
        ValueError: there are no users, or a metric is undefined for all of them.

    >>> intervals({"hit_rate@10": np.ones(50)})
    {'hit_rate@10': {'mean': 1.0, 'low': 1.0, 'high': 1.0}}
    """
    table = np.stack(list(values.values()), axis=1)  # (users, metrics)
    defined = ~np.isnan(table)
    if len(undefined := np.flatnonzero(~defined.any(0))):
        raise ValueError(f"{list(values)[undefined[0]]} has no value for any of {len(table)} users")
    table = np.where(defined, table, 0.0)
    sizes = defined.astype(np.float64)
    if users is not None:
        starts = np.unique(users, return_index=True)[1]
        table, sizes = np.add.reduceat(table, starts), np.add.reduceat(sizes, starts)
    drawn = _resampled_weights(len(table), seed, resamples)
    with np.errstate(invalid="ignore"):  # NaN where a resample has none of the users with a value
        means = np.concatenate([(weights @ table) / (weights @ sizes) for weights in drawn])
    low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    centre = table.sum(0) / sizes.sum(0)
    rows = zip(values, centre.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: {"mean": mean, "low": low, "high": high} for name, mean, low, high in rows}


def _resampled_weights(n_users: int, seed: int, resamples: int) -> Iterator[FloatArray]:
    """How often each user is drawn, (up to `CHUNK` resamples, users) at a time, so memory stays O(users)."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        drawn = [generator.integers(n_users, size=n_users) for _ in range(min(CHUNK, resamples - start))]
        yield np.stack([np.bincount(users, minlength=n_users) for users in drawn]).astype(np.float64)
