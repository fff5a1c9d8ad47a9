"""History → held-out movie → recommendations, with titles and genres, for readers of a report."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..data.collators import IGNORED
from ..data.ragged import Ragged, seen_items
from ..model.items_bert4rec import AmbiguousTitleError, UnknownTitleError
from .config import EvaluationConfig
from .ranking import Scorer, candidate_scores, to_padded, top_items
from .task import EvaluationTask

# Two well-known films with a common theme, so that a reader can judge the recommendations.
FIXED_HISTORY = ("Eternal Sunshine of the Spotless Mind (2004)", "Lost in Translation (2003)")
MAX_HISTORY = 10  # most recent movies of a history that an example lists
LIST_LENGTH = 10


def make_examples(
    scorer: Scorer, task: EvaluationTask, tokenizer: Any, config: EvaluationConfig
) -> list[dict[str, Any]]:
    """Recommendations for `config.examples` histories, drawn from the task's users with `config.seed`.

    The first is `FIXED_HISTORY`, without a target, if the catalogue has both movies.

    Returns:
        `{"history", "history_length", "held_out", "recommended"}`; movies are `{"movie_id", "title", "genres"}`, and
        `history` has the most recent `MAX_HISTORY`.
    """
    try:
        fixed = [tokenizer.encode_items([tokenizer.find(title) for title in FIXED_HISTORY])][: config.examples]
    except (UnknownTitleError, AmbiguousTitleError):
        fixed = []
    drawn = min(config.examples - len(fixed), len(task.targets))
    users = np.random.default_rng(config.seed).choice(len(task.targets), drawn, replace=False)
    batches = [rows for rows in (Ragged.from_lists(fixed), task.histories.take(users)) if len(rows)]
    held_out = [[] for _ in fixed] + [task.targets[user].tolist() for user in users]
    recommended: list[list[int]] = []
    for rows in batches:
        seen = to_padded(seen_items(rows, task.exclude_seen))
        candidates = candidate_scores(scorer(rows), seen, task.special_ids)
        recommended += top_items(candidates, min(LIST_LENGTH, task.catalogue_size)).tolist()

    def movies(input_ids: Sequence[int]) -> list[dict[str, Any]]:
        described = [tokenizer.movie(input_id) for input_id in input_ids if input_id != IGNORED]
        return [{"movie_id": movie.pop(tokenizer.item_id_name), **movie} for movie in described]

    return [
        {
            "history": movies(history[-MAX_HISTORY:].tolist()),
            "history_length": len(history),
            "held_out": movies(targets),
            "recommended": movies(items),
        }
        for history, targets, items in zip(chain(*batches), held_out, recommended, strict=True)
    ]
