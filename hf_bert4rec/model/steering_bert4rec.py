"""Which movies may be recommended, and in which order: filters, a penalty on popularity, and diversity.

Filters only take movies away; re-rankings only change the order. Neither changes a movie's score.
"""

from __future__ import annotations

import difflib
import math
from functools import cached_property
from typing import Any

import torch

from .requests_bert4rec import Request

MMR_POOL_SIZE = 100  # movies that diversity chooses from, at least
POOL_FACTOR = 5  # and at least so many times as many as are asked for


class Catalogue:
    """What steering needs to know of the items, as tensors (items,) in the vocabulary's order."""

    def __init__(self, tokenizer: Any) -> None:
        self.items: dict[str, list[Any]] = tokenizer.items
        self.first_item_id: int = tokenizer.first_item_id
        self.num_items: int = tokenizer.num_items

    @cached_property
    def years(self) -> torch.Tensor:
        """Year of every item, NaN where it is not known."""
        if not any(year is not None for year in self.items.get("year", [])):
            raise ValueError("years cannot be asked for: this catalogue has none; give them with pipeline(…, movies=…)")
        return torch.tensor([float("nan") if year is None else float(year) for year in self.items["year"]])

    @cached_property
    def genres(self) -> dict[str, torch.Tensor]:
        """For every genre, by its name in lower case, which items have it."""
        masks: dict[str, torch.Tensor] = {}
        for place, names in enumerate(self.items.get("genres", [])):
            for name in names or []:
                key = name.casefold()
                if key not in masks:
                    masks[key] = torch.zeros(self.num_items, dtype=torch.bool)
                masks[key][place] = True
        return masks

    @cached_property
    def genre_names(self) -> dict[str, str]:
        """Every genre as the catalogue writes it, by its name in lower case."""
        return {name.casefold(): name for names in self.items.get("genres", []) for name in names or []}

    @cached_property
    def shares(self) -> torch.Tensor:
        """Every item's share of the training interactions, float32."""
        counts = self._counts()
        return (counts / counts.sum().clamp(min=1)).float()

    @cached_property
    def log_popularity(self) -> torch.Tensor:
        """Logarithm of every item's share, each counted once more than it was seen."""
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
        """True at these items."""
        chosen = torch.zeros(self.num_items, dtype=torch.bool)
        chosen[torch.tensor(input_ids, dtype=torch.long) - self.first_item_id] = True
        return chosen

    def genre_mask(self, names: list[str]) -> torch.Tensor:
        """True at items that have any of these genres, whatever their case.

        Raises:
            ValueError: a genre that no item has; near ones, or all, are named.
        """
        if not self.genres:
            raise ValueError(
                "genres cannot be asked for: this catalogue has none; give them with pipeline(…, movies=…)"
            )
        for name in names:
            if name.casefold() not in self.genres:
                near = difflib.get_close_matches(name.casefold(), self.genres, n=3)
                known = ", ".join(self.genre_names[key] for key in near or sorted(self.genres))
                raise ValueError(f"no movie has the genre {name!r}; {'did you mean' if near else 'there are'} {known}?")
        return torch.stack([self.genres[name.casefold()] for name in names]).any(0)


def filters(request: Request, catalogue: Catalogue) -> list[tuple[str, torch.Tensor]]:
    """The filters of a request by name, each with a mask (items,) of what it lets through, in the order of use."""
    found = []
    if request.exclude_seen and request.seen:
        found.append(("exclude_seen", ~catalogue.mask(request.seen)))
    if request.exclude is not None:
        found.append(("exclude", ~catalogue.mask(request.exclude)))
    if request.candidates is not None:
        found.append(("candidates", catalogue.mask(request.candidates)))
    if request.genres is not None:
        found.append((f"genres={request.genres}", catalogue.genre_mask(request.genres)))
    if request.years is not None:
        first, last = request.years
        within = (catalogue.years >= first) & (catalogue.years <= last)  # NaN is neither
        bounds = ", ".join(f"{year:g}" if math.isfinite(year) else "None" for year in request.years)
        found.append((f"years=({bounds})", within))
    return found


def describe(request: Request, catalogue: Catalogue) -> str:
    """How many movies each filter in turn leaves: "exclude_seen leaves 1,680, genres=['Western'] leaves none"."""
    allowed = torch.ones(catalogue.num_items, dtype=torch.bool)
    told = []
    for name, mask in filters(request, catalogue):
        allowed = allowed & mask
        left = int(allowed.sum())
        told.append(f"{name} leaves {left or 'none'}")
    return ", ".join(told)


def choose(
    request: Request, log_scores: torch.Tensor, catalogue: Catalogue, item_embeddings: torch.Tensor
) -> list[int]:
    """Places in the catalogue of the movies to recommend, best first; fewer than `top_k` where filters leave fewer.

    Args:
        log_scores: (items,), logarithms of the scores.
        item_embeddings: (items, hidden), what diversity measures likeness by.
    """
    utility = log_scores
    if request.popularity_penalty:
        utility = utility - request.popularity_penalty * catalogue.log_popularity
    allowed = torch.ones(catalogue.num_items, dtype=torch.bool)
    for _, mask in filters(request, catalogue):
        allowed &= mask
    places = allowed.nonzero().flatten()
    wanted = min(request.top_k, len(places))
    pool = min(max(MMR_POOL_SIZE, POOL_FACTOR * request.top_k), len(places)) if request.diversity else wanted
    best = utility[places].topk(pool)
    places = places[best.indices]
    if request.diversity and wanted:
        vectors = item_embeddings[places.to(item_embeddings.device)].float().cpu()
        places = places[diversified(best.values, vectors, request.diversity, wanted)]
    return places.tolist()


def diversified(utility: torch.Tensor, vectors: torch.Tensor, diversity: float, wanted: int) -> torch.Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): places in the pool, in the order of choice.

    Each choice is the movie with the largest (1 - diversity) * relevance - diversity * likeness. Relevance is the
    utility scaled to 0…1 over the pool, likeness the largest cosine with a movie chosen already, 0 where negative.

    Args:
        utility: (pool,), in falling order. vectors: (pool, hidden).
    """
    utility = utility.clamp(min=torch.finfo(utility.dtype).min / 4)  # a popularity of zero has a log of -inf
    spread = (utility[0] - utility[-1]).clamp(min=torch.finfo(utility.dtype).tiny)
    relevance = (utility - utility[-1]) / spread
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    likeness = torch.zeros_like(relevance)
    chosen: list[int] = []
    for _ in range(wanted):
        gain = (1 - diversity) * relevance - diversity * likeness
        gain[chosen] = -torch.inf
        chosen.append(int(gain.argmax()))
        likeness = torch.maximum(likeness, vectors @ vectors[chosen[-1]])
    return torch.tensor(chosen)


__all__ = ["Catalogue", "choose", "describe", "diversified"]
