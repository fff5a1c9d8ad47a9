"""Why a movie was recommended: what its score loses when an entry of the history is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

ROWS = 256  # histories scored at once


def contributions(
    shown: list[int], chosen: list[int], log_scores: torch.Tensor, score: Callable[[list[list[int]]], torch.Tensor]
) -> list[list[tuple[int, float]]]:
    """For every chosen movie the entries that speak for it, strongest first.

    An entry's contribution is log(score) with the whole history less log(score) with the entry left out; a movie that
    stands in the history several times is left out everywhere. The rest of the history stays as it is: no older entry
    moves into the model's window.

    Args:
        shown: input ids the model was shown, oldest first. chosen: places of the movies in the catalogue.
        log_scores: (items,), with the whole history.
        score: from places of `shown` that are kept, a list for each history, to such log scores, (histories, items).

    Returns:
        For each chosen movie, (input id, contribution) of every entry whose contribution is positive.
    """
    entries = list(dict.fromkeys(shown))
    if not entries or not chosen:
        return [[] for _ in chosen]
    rows = [[place for place, item in enumerate(shown) if item != left_out] for left_out in entries]
    places = torch.tensor(chosen)
    without = torch.cat([score(rows[start : start + ROWS])[:, places] for start in range(0, len(rows), ROWS)])
    lost = log_scores[places] - without  # (entries, chosen)
    explained = []
    for column in lost.T:
        order = column.argsort(descending=True, stable=True).tolist()
        explained.append([(entries[place], column[place].item()) for place in order if column[place] > 0])
    return explained


def because(tokenizer: Any, speaking: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Entries and contributions as an answer gives them."""
    answer = []
    for item, contribution in speaking:
        movie = tokenizer.movie(item)
        answer.append({"movie_id": movie["movie_id"], "title": movie["title"], "contribution": contribution})
    return answer


__all__ = ["because", "contributions"]
