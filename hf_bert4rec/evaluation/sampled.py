"""Sampled candidates: the protocol of the BERT4Rec paper, only for comparison with it.

The paper (section 4.2) ranks each held-out item among 100 items that the user has not seen, drawn by popularity.
Figures from sampled candidates are far higher than those over the catalogue and can order models differently (Krichene
& Rendle, KDD 2020), so they are labelled as sampled and never the headline.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..data.collators import IGNORED
from ..data.ragged import IntArray, Ragged, Rows

PAPER_NEGATIVES = 100


def sample_negatives(
    weights: npt.NDArray[np.floating] | IntArray,
    seen: Rows,
    targets: Ragged,
    special_ids: Sequence[int],
    n: int = PAPER_NEGATIVES,
    seed: int = 0,
    batch_size: int = 256,
) -> npt.NDArray[np.int32]:
    """Draw `n` unseen items per user without replacement, each next one with probability ∝ its weight.

    Drawn as the largest of log(weight) + Gumbel noise, which is the same distribution (Efraimidis & Spirakis, 2006).
    The draw depends on `seed`, not on `batch_size`; memory is O(batch × vocab_size).

    Args:
        weights: (vocab_size,), such as training counts; an item of weight 0 is never drawn.
        seen: input ids per user that may not be drawn.
        targets: held-out input ids per user, which may not be drawn either.

    Returns:
        (users, n) input ids, int32, `IGNORED` where fewer than `n` items are left.

    Raises:
        ValueError: `n` is not between 1 and the number of items with a weight, or a weight is negative or not finite.
    """
    weights = np.asarray(weights, dtype=np.float64).copy()
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights of sampled negatives must be finite and 0 or more")
    weights[list(special_ids)] = 0
    if not 1 <= n <= (drawable := int((weights > 0).sum())):
        raise ValueError(f"{n} negatives per user from {drawable} items that can be drawn: give 1 to {drawable}")
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    generator = np.random.default_rng(seed)
    negatives = np.empty((len(targets), n), dtype=np.int32)
    for start in range(0, len(targets), batch_size):
        stop = min(start + batch_size, len(targets))
        keys = log_weights - np.log(generator.standard_exponential((stop - start, len(log_weights))))
        for excluded in (seen.rows(start, stop), targets.rows(start, stop)):
            keys[excluded.row_ids, excluded.values] = -np.inf
        drawn = np.argpartition(-keys, n - 1, axis=1)[:, :n]
        drawn.sort(axis=1)
        negatives[start:stop] = np.where(np.take_along_axis(keys, drawn, 1) == -np.inf, IGNORED, drawn)
    return negatives
