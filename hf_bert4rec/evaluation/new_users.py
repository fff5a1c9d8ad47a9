"""Quality for new users who name a few movies.

For every user held out of training and k in `LENGTHS`, the history is k random likes and the targets are all other
likes, ranked over the full catalogue. Likes are ratings of `liked_rating` or more, or all interactions where there are
no ratings. Values are averaged over several draws per user; intervals are over users.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.prepared import PreparedData
from ..data.ragged import FloatArray, Ragged
from ..data.user_split import user_hashes
from .baselines import fit_taste_baselines
from .bootstrap import FEW_USERS
from .config import EvaluationConfig
from .metrics import ndcg, precision
from .ranking import Scorer
from .scoring import compare_scorers

logger = logging.getLogger(__name__)

LENGTHS = (1, 3, 5)  # movies that a new user names
DRAWS = 3
MAX_USERS = 10_000


def draw_likes(data: PreparedData, part: str, seed: int) -> tuple[Ragged, int]:
    """Likes of the held-out users of `part` with more likes than the longest history, `DRAWS` times in random order.

    Of more than `MAX_USERS`, those with the smallest hashes count. A user's draws depend on the user and the seed only.

    Returns:
        The likes, (users * `DRAWS`) rows, the draws of a user consecutive; the number of held-out users.

    Raises:
        ValueError: no users were held out, or none has enough likes.
    """
    if not data.holds_out_users:
        raise ValueError("no users are held out: train with, for example, --held_out_users 0.2")
    users, histories = data.new_user_likes(part, MAX_USERS)
    likes = [np.unique(row) for row in histories]
    enough = [user for user, row in enumerate(likes) if len(row) > max(LENGTHS)]
    if not enough:
        scope = f"rated {data.liked_rating:g} or more" if data.rated else "in their history"
        raise ValueError(f"none of {len(users)} held-out users has more than {max(LENGTHS)} movies {scope}")
    keys = (user_hashes(users) * 2**53).astype(np.int64)
    orders: list[Any] = [
        np.random.default_rng([seed, draw, int(keys[user])]).permutation(likes[user])
        for user in enough
        for draw in range(DRAWS)
    ]
    return Ragged.from_lists(orders), len(users)


def histories_and_targets(likes: Ragged, length: int) -> tuple[Ragged, Ragged]:
    """The first `length` likes of every row, and the rest."""
    is_named = np.arange(len(likes.values)) < np.repeat(likes.offsets[:-1] + length, likes.lengths)
    return likes.where(is_named), likes.where(~is_named)


def mean_over_draws(values: FloatArray) -> FloatArray:
    """The mean of values (users * `DRAWS`,) over the draws of each user, (users,)."""
    return values.reshape(-1, DRAWS).mean(1)


def evaluate_new_users(
    model_scorers: Mapping[str, Scorer], data: PreparedData, config: EvaluationConfig
) -> dict[str, Any]:
    """The section `new_users` of `evaluation.json`, with baselines that are fitted on the likes of the training users.

    `model_scorers` are by goal. Differences are between the first scorer and every other one. Errors: `draw_likes`.
    """
    likes, held_out = draw_likes(data, config.part, config.seed)
    k, users = config.headline_k, len(likes) // DRAWS
    if users < FEW_USERS:
        logger.warning("only %d new users: their intervals are wide and say little", users)

    def metrics(ranks: Ragged) -> dict[str, FloatArray]:
        values = {f"ndcg@{k}": ndcg(ranks, k), f"precision@{k}": precision(ranks, k)}
        return {name: mean_over_draws(value) for name, value in values.items()}

    scorers = {**model_scorers, **fit_taste_baselines(data.train_likes(), len(data.tokenizer), config.seed)}
    return {
        "part": config.part,
        "users": users,
        "held_out": held_out,
        "liked_rating": data.liked_rating if data.rated else None,
        "draws": DRAWS,
        "seed": config.seed,
        "k": k,
        "model": list(model_scorers),
        "results": {
            str(length): compare_scorers(
                scorers, *histories_and_targets(likes, length), metrics, data.tokenizer, config
            )
            for length in LENGTHS
        },
    }
