"""Re-ranking: filters, a penalty on popularity, and diversity.

Filters only remove movies and re-ranking only changes the order; neither changes a movie's score.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from .requests_bert4rec import Request
from .retrieval_bert4rec import RESCORED, Corrections, top_of_many

MMR_POOL_SIZE = 100  # movies that diversity selects from, at least
MMR_POOL_FACTOR = 5  # the pool is at least this many times top_k


class Catalogue:
    """Years, genres and popularity of the items as tensors (items,) in vocabulary order."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.items: dict[str, list[Any]] = tokenizer.items
        self.first_item_id: int = tokenizer.first_item_id
        self.num_items: int = tokenizer.num_items

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.tokenizer,)  # without caches, so that a pickle does not depend on earlier calls

    @cached_property
    def years(self) -> torch.Tensor:
        """Year of every item, NaN where unknown."""
        if not any(year is not None for year in self.items.get("year", [])):
            raise ValueError("no filter by years: this catalogue has none; give them with pipeline(…, movies=…)")
        return torch.tensor([float("nan") if year is None else float(year) for year in self.items["year"]])

    @cached_property
    def genre_lists(self) -> tuple[list[tuple[str, ...]], torch.Tensor]:
        """The distinct lists of genres, and the index (items,) of every item's."""
        rows: dict[tuple[str, ...], int] = {}
        index = [rows.setdefault(tuple(names or ()), len(rows)) for names in self.items.get("genres", [])]
        return list(rows), torch.tensor(index, dtype=torch.int32)

    @cached_property
    def genre_names(self) -> dict[str, str]:
        """Every genre as the catalogue writes it, by its name in lower case."""
        return {name.casefold(): name for names in self.genre_lists[0] for name in names}

    @cached_property
    def shares(self) -> torch.Tensor:
        """Every item's share of the training interactions, float32."""
        counts = self._counts()
        return (counts / counts.sum().clamp(min=1)).float()

    @cached_property
    def log_popularity(self) -> torch.Tensor:
        """Logarithm of every item's share, with add-one smoothing."""
        counts = self._counts() + 1
        return (counts / counts.sum()).log().float()

    def _counts(self) -> torch.Tensor:
        if self.items.get("count") is None:
            raise ValueError(
                "popularity is not known: this tokenizer has no interaction counts, which a history without known "
                "movies and popularity_penalty need; build it with from_movies(movies, counts=...)"
            )
        return torch.tensor(self.items["count"], dtype=torch.float64)

    def mask(self, input_ids: list[int]) -> torch.Tensor:
        """Mask of these items."""
        mask = torch.zeros(self.num_items, dtype=torch.bool)
        mask[torch.tensor(input_ids, dtype=torch.long) - self.first_item_id] = True
        return mask

    def genre_mask(self, names: list[str]) -> torch.Tensor:
        """Mask of the items with any of these genres, compared without case.

        Raises:
            ValueError: a genre that no item has; similar ones, or all, are named.
        """
        if not self.genre_names:
            raise ValueError("no filter by genres: this catalogue has none; give them with pipeline(…, movies=…)")
        for name in names:
            if name.casefold() not in self.genre_names:
                near = difflib.get_close_matches(name.casefold(), self.genre_names, n=3)
                known = ", ".join(self.genre_names[key] for key in near or sorted(self.genre_names))
                raise ValueError(f"no movie has the genre {name!r}; {'did you mean' if near else 'there are'} {known}?")
        lists, index = self.genre_lists
        wanted = {name.casefold() for name in names}
        return torch.tensor([any(name.casefold() in wanted for name in listed) for listed in lists])[index]


def filters(request: Request, catalogue: Catalogue) -> list[tuple[str, torch.Tensor]]:
    """The filters of a request in order of use: name and mask (items,) of the items that pass."""
    named_masks = []
    if request.exclude_seen and request.seen:
        named_masks.append(("exclude_seen", ~catalogue.mask(request.seen)))
    if request.exclude is not None:
        named_masks.append(("exclude", ~catalogue.mask(request.exclude)))
    if request.candidates is not None:
        named_masks.append(("candidates", catalogue.mask(request.candidates)))
    if request.genres is not None:
        named_masks.append((f"genres={request.genres}", catalogue.genre_mask(request.genres)))
    if request.years is not None:
        first, last = request.years
        within = (catalogue.years >= first) & (catalogue.years <= last)  # False for NaN
        bounds = ", ".join(f"{year:g}" if math.isfinite(year) else "None" for year in request.years)
        named_masks.append((f"years=({bounds})", within))
    return named_masks


def describe_filters(request: Request, catalogue: Catalogue) -> str:
    """Say how many movies each filter in turn leaves: "exclude_seen leaves 1,680, genres=['Western'] leaves none"."""
    allowed = torch.ones(catalogue.num_items, dtype=torch.bool)
    steps = []
    for name, mask in filters(request, catalogue):
        allowed = allowed & mask
        left = int(allowed.sum())
        steps.append(f"{name} leaves {left or 'none'}")
    return ", ".join(steps)


def select_movies(
    request: Request,
    log_scores: torch.Tensor,
    catalogue: Catalogue,
    embed: Callable[[torch.Tensor], torch.Tensor],
    corrections: Corrections | None = None,
) -> list[int]:
    """Return catalogue positions of the movies to recommend, best first; fewer than `top_k` if filters leave fewer.

    Args:
        log_scores: (items,), logarithms of the scores. Approximate ones become exact, in place, where they decide.
        embed: from catalogue positions (n,) to embeddings (n, hidden) for diversity; called only if that is set.
        corrections: of approximate scores.
    """
    utility = log_scores
    if request.popularity_penalty:
        utility = utility - request.popularity_penalty * catalogue.log_popularity
    allowed = torch.ones(catalogue.num_items, dtype=torch.bool)
    for _, mask in filters(request, catalogue):
        allowed &= mask
    num_allowed = int(allowed.count_nonzero())
    top_k = pool_size = min(request.top_k, num_allowed)
    if request.diversity:
        pool_size = min(max(MMR_POOL_SIZE, MMR_POOL_FACTOR * request.top_k), num_allowed)
    if corrections is None:
        positions = allowed.nonzero().flatten()
    else:
        positions = corrections.best[allowed[corrections.best]]
        if len(positions) < pool_size or request.popularity_penalty:
            number = min(max(RESCORED, 2 * pool_size), num_allowed)
            positions = top_of_many(torch.where(allowed, utility, -torch.inf), number)
            errors = corrections.at(positions)
            log_scores[positions] += errors
            if request.popularity_penalty:
                utility[positions] += errors
    best = utility[positions].topk(pool_size)
    positions = positions[best.indices]
    if request.diversity and top_k:
        positions = positions[rerank_mmr(best.values, embed(positions), request.diversity, top_k)]
    return positions.tolist()


def rerank_mmr(utility: torch.Tensor, vectors: torch.Tensor, diversity: float, top_k: int) -> torch.Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): pool positions in order of selection.

    Each step selects the movie with the largest (1 - diversity) * relevance - diversity * similarity. Relevance is the
    utility scaled to 0…1 over the pool, similarity the largest cosine with a selected movie, at least 0.

    Args:
        utility: (pool,), in descending order.
        vectors: (pool, hidden).
    """
    utility = utility.clamp(min=torch.finfo(utility.dtype).min / 4)  # a popularity of zero has a logarithm of -inf
    spread = (utility[0] - utility[-1]).clamp(min=torch.finfo(utility.dtype).tiny)
    relevance = (utility - utility[-1]) / spread
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    similarity = torch.zeros_like(relevance)
    selected: list[int] = []
    for _ in range(top_k):
        gain = (1 - diversity) * relevance - diversity * similarity
        gain[selected] = -torch.inf
        selected.append(int(gain.argmax()))
        similarity = torch.maximum(similarity, vectors @ vectors[selected[-1]])
    return torch.tensor(selected)


__all__ = ["Catalogue", "describe_filters", "rerank_mmr", "select_movies"]
