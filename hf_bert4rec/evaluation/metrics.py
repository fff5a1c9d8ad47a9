"""Quality of a ranking, as pure functions of the ranks of held-out items.

Every function takes the 1-based ranks of all users' targets and returns one value per user, (users,) float64, for
means, intervals and paired differences. Ranks are a `Ragged` (one row per user), an array (users, n_targets) with 0 for
padding, or (users,) with one target each.

Notation: user u has targets T_u with ranks r_t. With one target, recall@k equals hit_rate@k, precision@k is
hit_rate@k / k, and map@k is 1/r within the first k. The definitions are those of trec_eval, as tests check.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..data.ragged import Array, FloatArray, Ragged, offsets_of

Ranks: TypeAlias = Ragged | Array

DEFAULT_KS = (5, 10, 20)


def metrics_from_ranks(ranks: Ranks, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """Mean over users of hit_rate@k, ndcg@k and mrr, and with several targets recall, precision and map too.

    >>> metrics_from_ranks(np.array([1, 4]), ks=[2])
    {'hit_rate@2': 0.5, 'ndcg@2': 0.5, 'mrr': 0.625}
    """
    rows = as_rows(ranks)
    values = metrics_per_user(rows, ks)
    if (rows.lengths == 1).all():
        values = {name: v for name, v in values.items() if name.startswith(("hit_rate", "ndcg", "mrr"))}
    return {name: float(value.mean()) for name, value in values.items()}


def metrics_per_user(ranks: Ranks, ks: Sequence[int] = DEFAULT_KS) -> dict[str, FloatArray]:
    """Every metric of this module, (users,) each, under names like "ndcg@10"."""
    rows = as_rows(ranks)
    at_k = {"hit_rate": hit_rate, "ndcg": ndcg, "recall": recall, "precision": precision, "map": average_precision}
    values = {f"{name}@{k}": metric(rows, k) for k in ks for name, metric in at_k.items()}
    return values | {"mrr": reciprocal_rank(rows)}


def hit_rate(ranks: Ranks, k: int) -> FloatArray:
    """1 if any target is among the first k, else 0 (Success@k of trec_eval; HR@k in BERT4Rec, section 4.2).

    >>> hit_rate(np.array([[1, 12], [11, 0]]), k=10)
    array([1., 0.])
    """
    return (_hits(ranks, k) > 0).astype(np.float64)


def recall(ranks: Ranks, k: int) -> FloatArray:
    """|{t: r_t ≤ k}| / |T_u|: the share of a user's targets among the first k.

    >>> recall(np.array([[1, 12], [11, 0]]), k=10)
    array([0.5, 0. ])
    """
    return _hits(ranks, k) / as_rows(ranks).lengths


def precision(ranks: Ranks, k: int) -> FloatArray:
    """|{t: r_t ≤ k}| / k: the share of targets among the first k; with one target at most 1/k.

    >>> precision(np.array([[1, 12], [11, 0]]), k=10)
    array([0.1, 0. ])
    """
    return _hits(ranks, k) / k


def ndcg(ranks: Ranks, k: int) -> FloatArray:
    """Normalised discounted cumulative gain with binary gains (Järvelin & Kekäläinen, 2002).

    Σ_{t: r_t ≤ k} 1/log2(1 + r_t), divided by its best, Σ_{i=1..min(k, |T_u|)} 1/log2(1 + i).

    >>> ndcg(np.array([[1, 2], [3, 0], [11, 0]]), k=10)
    array([1. , 0.5, 0. ])
    """
    _check_k(k)
    rows = as_rows(ranks)
    gains = np.where(rows.values <= k, 1 / np.log2(1 + rows.values), 0.0)
    best = discounts(int(rows.lengths.max())).cumsum()
    return _sum_by_user(rows, gains) / best[np.minimum(k, rows.lengths) - 1]


def reciprocal_rank(ranks: Ranks) -> FloatArray:
    """1 / min_t r_t, whose mean over users is the mean reciprocal rank (Voorhees, 1999).

    >>> reciprocal_rank(np.array([[4, 2], [1, 0]]))
    array([0.5, 1. ])
    """
    rows = as_rows(ranks)
    return 1 / np.minimum.reduceat(rows.values, rows.offsets[:-1]).astype(np.float64)


def average_precision(ranks: Ranks, k: int) -> FloatArray:
    """(1/|T_u|) Σ_{t: r_t ≤ k} (number of targets ranked no worse than t) / r_t; the mean is MAP@k.

    As in trec_eval's map_cut, the sum is divided by |T_u|, not by min(k, |T_u|).

    >>> average_precision(np.array([[2, 1], [4, 0]]), k=10)
    array([1.  , 0.25])
    """
    _check_k(k)
    rows = as_rows(ranks)
    ordered = rows.values[np.lexsort((rows.values, rows.row_ids))]
    # Tied targets share the worse rank; each counts as one more target.
    order = 1 + np.arange(len(ordered)) - np.repeat(rows.offsets[:-1], rows.lengths)
    return _sum_by_user(rows, np.where(ordered <= k, order / ordered, 0.0)) / rows.lengths


def as_rows(ranks: Ranks) -> Ragged:
    """Ranks as rows, one per user, without padding.

    ValueError if there are no users, a user has no target, or a rank is below 1 or not an integer.
    """
    if not isinstance(ranks, Ragged):
        table = np.asarray(ranks)
        table = table[:, None] if table.ndim == 1 else table
        ranks = Ragged(table[table != 0], offsets_of((table != 0).sum(1)))
    if not len(ranks):
        raise ValueError("no ranks: nothing was evaluated")
    if len(empty := np.flatnonzero(ranks.lengths == 0)):
        raise ValueError(f"{len(empty)} users have no target (first: row {empty[0]}); leave them out")
    if ranks.values.dtype.kind == "f":
        integer = np.isfinite(ranks.values) & (ranks.values == np.floor(ranks.values))
        if not integer.all():
            raise ValueError(f"a rank is {ranks.values[~integer][0]}; ranks are integers")
        ranks = Ragged(ranks.values.astype(np.int64), ranks.offsets)
    if (lowest := ranks.values.min()) < 1:
        raise ValueError(f"a rank is {lowest}; ranks count from 1")
    return ranks


def discounts(k: int) -> FloatArray:
    """The weight of each position, 1/log2(1 + i) for i = 1..k, shape (k,)."""
    return 1 / np.log2(np.arange(2, k + 2))


def _hits(ranks: Ranks, k: int) -> FloatArray:
    _check_k(k)
    rows = as_rows(ranks)
    return _sum_by_user(rows, (rows.values <= k).astype(np.float64))


def _sum_by_user(rows: Ragged, values: FloatArray) -> FloatArray:
    return np.bincount(rows.row_ids, weights=values, minlength=len(rows)).astype(np.float64, copy=False)


def _check_k(k: int) -> None:
    if k < 1 or k != int(k):
        raise ValueError(f"k={k}: the length of a list is an integer of at least 1")
