"""New items without retraining.

A new item's embedding is the weighted mean of those of the items most similar to it by genres, year and words of the
title, scaled to their mean length. Its bias is their mean bias less `COLD_START_BIAS`. Other rows stay the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .items_bert4rec import normalise

NEIGHBOURS = 10
TITLE_WEIGHT = 1.0  # of equal title words, relative to equal genres
DECAY_YEARS = 3.0
UNKNOWN_YEAR_GAP = 10.0  # years assumed between an item with a year and one without
# Averaged embeddings score too high against every user, so subtract a bias. A twentieth of the movies as new ones then
# costs old users less than 3 % of their NDCG@10 in the mean of three splits; docs/usage.md has the trade-off.
COLD_START_BIAS = 1.3


class ContentSimilarity:
    """Similarity of items by the columns of `items.json`, some of which may be missing; `known` rows are trained.

    It is the cosine of the sets of genres plus `title_weight` times the share of the title's words in the other title,
    weighted by their rarity. It decays by a factor of e for every `decay_years` between them.
    """

    def __init__(
        self,
        items: Mapping[str, list[Any]],
        known: int,
        title_weight: float = TITLE_WEIGHT,
        decay_years: float = DECAY_YEARS,
    ) -> None:
        self.known, self.title_weight, self.decay_years = known, title_weight, decay_years
        self.genres = [set(genres or ()) for genres in items.get("genres", [])]
        self.words = [set(normalise(title or "").split()) for title in items.get("title", [])]
        years = [math.nan if year is None else year for year in items.get("year", [])]
        self.years = torch.tensor(years, dtype=torch.float32)
        self.genre_counts = torch.tensor([len(genres) for genres in self.genres[:known]])
        self.rows_of_genre = _rows_of_terms(self.genres[:known])
        self.rows_of_word = _rows_of_terms(self.words[:known])

    def similarities_to(self, row: int) -> torch.Tensor:
        """Similarities (known,) of the trained items to the item in this row, 0 where they have nothing in common."""
        similarity = torch.zeros(self.known)
        if self.genres and (genres := self.genres[row]):
            for genre in genres & self.rows_of_genre.keys():
                similarity[self.rows_of_genre[genre]] += 1
            similarity /= (len(genres) * self.genre_counts.clamp(min=1)).sqrt()
        if self.words:
            rows_of = {word: self.rows_of_word.get(word, ()) for word in sorted(self.words[row])}
            rarity = {word: math.log((1 + self.known) / (1 + len(rows))) for word, rows in rows_of.items()}
            total = max(sum(rarity.values()), 1e-9)
            for word, rows in rows_of.items():
                if len(rows):
                    similarity[rows] += self.title_weight * rarity[word] / total
        if len(self.years) and not self.years[row].isnan():
            gaps = (self.years[row] - self.years[: self.known]).abs().nan_to_num(UNKNOWN_YEAR_GAP)
            similarity *= (-gaps / self.decay_years).exp()
        return similarity


def _rows_of_terms(terms: Sequence[set[str]]) -> dict[str, torch.Tensor]:
    """The rows (n,) of the items that have each term."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, names in enumerate(terms):
        for name in names:
            rows[name].append(row)
    return {name: torch.tensor(of_name) for name, of_name in rows.items()}


def nearest_items(items: dict[str, list[Any]], known: int, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each of the `number` rows after the first `known`: rows of similar items, most similar first, and weights.

    Weights are similarities times the root of the logarithm of an item's count: rarely seen items have poorly trained
    embeddings, but averages of popular ones make every new item look popular.
    """
    content = ContentSimilarity(items, known)
    trust = torch.tensor(items["count"][:known]).log1p().sqrt() if "count" in items else torch.ones(known)
    nearest = []
    for row in range(known, known + number):
        best = (content.similarities_to(row) * trust).topk(min(NEIGHBOURS, known))
        nearest.append((best.indices[best.values > 0], best.values[best.values > 0]))
    return nearest


def average_embeddings(vectors: torch.Tensor, nearest: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Weighted means of vectors (known, hidden), scaled to the mean length of what they average: (new, hidden)."""
    means, lengths = _means(vectors, nearest), _means(vectors.norm(dim=-1), nearest)
    return means * lengths[:, None] / means.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def _means(values: torch.Tensor, nearest: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Weighted means (new, …) of values (known, …); of all values where no item is similar."""
    means = []
    for rows, weights in nearest:
        if not len(rows):
            rows, weights = torch.arange(len(values)), torch.ones(len(values))
        means.append((weights / weights.sum()).to(values) @ values[rows.to(values.device)])
    return torch.stack(means)


def extend_catalogue(model: Any, tokenizer: Any, vectors: torch.Tensor | None) -> list[dict[str, Any]]:
    """Extend a model by the items that `tokenizer.add_items` added, without training.

    `vectors` (new items, hidden) are input embeddings to start from instead, such as `pipe.embed_items` gives.
    Returns `{"movie_id", "title", "input_id", "start", "similar"}` of every new item, where its embedding came from.
    ValueError, with the model unchanged, for no new items and for vectors of another shape.
    """
    size, first = model.config.vocab_size, tokenizer.first_item_id
    number = len(tokenizer) - size
    if number <= 0:
        fix = "call tokenizer.add_items(movies) first, and no resize_token_embeddings, whose rows belong to no item"
        raise ValueError(f"the model has {size} entries and the tokenizer {len(tokenizer)}: {fix}")
    embeddings, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    weight, output_weight, bias = (each.detach() for each in (embeddings.weight, decoder.weight, decoder.bias))
    if vectors is not None:
        vectors = torch.as_tensor(vectors).to(weight)
        if vectors.shape != (number, weight.shape[1]) or not vectors.isfinite().all():
            raise ValueError(
                f"vectors are {tuple(vectors.shape)}; {number} new movies take finite ones of shape "
                f"{(number, weight.shape[1])}, as wide as the model"
            )
    nearest = nearest_items(tokenizer.items, size - first, number)
    new_rows = average_embeddings(weight[first:], nearest) if vectors is None else vectors
    tied = decoder.weight is embeddings.weight
    embeddings.weight = _extended(embeddings.weight, new_rows)
    output_rows = average_embeddings(output_weight[first:], nearest)
    decoder.weight = embeddings.weight if tied else _extended(decoder.weight, output_rows)
    decoder.bias = _extended(decoder.bias, _means(bias[first:], nearest) - COLD_START_BIAS)
    embeddings.num_embeddings = decoder.out_features = model.config.vocab_size = size + number
    model.config.vocabulary_sha256 = tokenizer.vocabulary_sha256
    similar_items = [(first + rows, weights / weights.sum()) for rows, weights in nearest]
    if model.memory is not None:
        model.memory.resize(size + number)
        model.config.memory_size = model.memory.add(similar_items)
    if model.taste is not None:
        model.taste.add(similar_items)
    return [
        _report(tokenizer, size + row, similar.tolist() if vectors is None else None)
        for row, (similar, _) in enumerate(nearest)
    ]


def _extended(parameter: nn.Parameter, rows: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.cat([parameter.detach(), rows]), requires_grad=parameter.requires_grad)


def _report(tokenizer: Any, input_id: int, similar_rows: list[int] | None) -> dict[str, Any]:
    """One entry of the report on new items."""
    name, movie = tokenizer.item_id_name, tokenizer.movie(input_id)
    similar = [tokenizer.movie(tokenizer.first_item_id + row) for row in similar_rows or []]
    start = "given vector" if similar_rows is None else "similar movies" if similar_rows else "mean of all movies"
    return {
        name: movie[name],
        "title": movie["title"],
        "input_id": input_id,
        "start": start,
        "similar": [other["title"] or other[name] for other in similar],
    }
