"""History → held-out movie → recommendations, with titles and genres: what the figures look like to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.collators import IGNORED
from ..data.ragged import Ragged, TimedHistories
from ..model.items_bert4rec import AmbiguousTitleError, UnknownTitleError
from ..model.time_bert4rec import UNKNOWN_TIME
from .ranking import Scorer, candidate_scores, to_padded, top_items
from .task import EvaluationTask

# Two films about memory and longing: whoever knows them can judge the ten that follow.
FIXED_HISTORY = ("Eternal Sunshine of the Spotless Mind (2004)", "Lost in Translation (2003)")
SHOWN = 10  # most recent movies of a history


def make_examples(
    scorer: Scorer, task: EvaluationTask, tokenizer: Any, number: int, top_k: int = 10, seed: int = 0
) -> list[dict[str, Any]]:
    """Recommendations for `number` histories, drawn from the task's users.

    Where the catalogue has both, the first is `FIXED_HISTORY`, for which nothing is held out.

    Returns:
        `{"history", "history_length", "held_out", "recommended"}`, each a list of `{"movie_id", "title",
        "genres"}`; of the history the `SHOWN` most recent.
    """
    fixed = fixed_history(tokenizer)[:number]
    drawn = min(number - len(fixed), len(task.targets))
    users = np.random.default_rng(seed).choice(len(task.targets), drawn, replace=False)
    histories = Ragged.from_lists(fixed + [task.histories[user].tolist() for user in users])
    if not len(histories):
        return []
    if isinstance(task.histories, TimedHistories):
        nobody_knows = [np.full(len(history), UNKNOWN_TIME) for history in fixed]
        times = np.concatenate(nobody_knows + [task.histories.times_of_row(user) for user in users])
        histories = TimedHistories(histories.values, histories.offsets, times)
    held_out = [[] for _ in fixed] + [task.targets[user].tolist() for user in users]
    candidates = candidate_scores(scorer(histories), to_padded(histories), task.special_ids)
    recommended = top_items(candidates, min(top_k, task.catalogue_size)).tolist()

    def movies(input_ids: Sequence[int]) -> list[dict[str, Any]]:
        return [tokenizer.movie(place) for place in input_ids if place != IGNORED]

    return [
        {
            "history": movies(history[-SHOWN:].tolist()),
            "history_length": len(history),
            "held_out": movies(targets),
            "recommended": movies(listed),
        }
        for history, targets, listed in zip(histories, held_out, recommended, strict=True)
    ]


def fixed_history(tokenizer: Any) -> list[list[int]]:
    """`FIXED_HISTORY` as input ids, in a list of its own; empty where the catalogue lacks one of its movies."""
    try:
        return [tokenizer.encode_items([tokenizer.find(title) for title in FIXED_HISTORY])]
    except (UnknownTitleError, AmbiguousTitleError):
        return []
