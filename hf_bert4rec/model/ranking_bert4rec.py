"""From scores to recommendations: filters, popularity, diversity, similar items and explanations.

Filters and re-ranking do not change scores. Logits of a large catalogue are int8 products, corrected where they decide.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .requests_bert4rec import Request

MMR_POOL_SIZE = 100  # movies that diversity selects from, at least
MMR_POOL_FACTOR = 5  # the pool is at least this many times top_k
PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)
EXPLAIN_BATCH_SIZE = 256  # histories scored at once
APPROXIMATE_FROM = 100_000  # items; smaller catalogues are scored exactly
RESCORED = 256  # items with the best approximate scores that are scored exactly, at least
BLOCK = 32  # scores of which `blockwise_topk` compares the largest
ROWS_AT_ONCE = 2**16  # bounds the memory of quantization
LARGEST_INTEGER = 63  # CPUs without VNNI add two products of int8 in 16 bits, which may overflow with 127


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
        if "count" not in self.items:
            raise ValueError(
                "popularity is not known: this tokenizer has no interaction counts, which a history without known "
                "movies and popularity_penalty need; build it with from_movies(movies, counts=...)"
            )
        return torch.tensor(self.items["count"], dtype=torch.float64)

    def mask(self, input_ids: list[int], value: bool = True) -> torch.Tensor:
        """`value` for these items, its opposite for all others."""
        mask = torch.full((self.num_items,), not value)
        mask[torch.tensor(input_ids, dtype=torch.long) - self.first_item_id] = value
        return mask

    def genre_mask(self, names: list[str]) -> torch.Tensor:
        """Mask of the items with any of these genres, in any case; ValueError, with the known ones, if unknown."""
        if not self.genre_names:
            raise ValueError("no filter by genres: this catalogue has none; give them with pipeline(…, movies=…)")
        keys = {name.casefold(): name for name in names}
        for key, name in keys.items():
            if key not in self.genre_names:
                known = ", ".join(self.genre_names[other] for other in sorted(self.genre_names))
                near = ", ".join(self.genre_names[other] for other in difflib.get_close_matches(key, self.genre_names))
                hint = f"did you mean {near}, or one of {known}?" if near else f"there are {known}"
                raise ValueError(f"no movie has the genre {name!r}; {hint}")
        lists, index = self.genre_lists
        return torch.tensor([any(name.casefold() in keys for name in listed) for listed in lists])[index]


def filters(request: Request, catalogue: Catalogue) -> Iterator[tuple[str, torch.Tensor]]:
    """The filters of a request in order of use: name and mask (items,) of the items that pass."""
    if request.exclude_seen and request.seen:
        yield "exclude_seen", catalogue.mask(request.seen, False)
    if request.exclude is not None:
        yield "exclude", catalogue.mask(request.exclude, False)
    if request.candidates is not None:
        yield "candidates", catalogue.mask(request.candidates)
    if request.genres is not None:
        yield f"genres={request.genres}", catalogue.genre_mask(request.genres)
    if request.years is not None:
        first, last = request.years
        within = (catalogue.years >= first) & (catalogue.years <= last)  # False for NaN
        bounds = ", ".join(f"{year:g}" if math.isfinite(year) else "None" for year in request.years)
        yield f"years=({bounds})", within


def describe_filters(request: Request, catalogue: Catalogue) -> str:
    """Say how many movies each filter in turn leaves: "exclude_seen leaves 1,680, genres=['Western'] leaves none"."""
    allowed = torch.ones(catalogue.num_items, dtype=torch.bool)
    steps = []
    for name, mask in filters(request, catalogue):
        allowed &= mask
        steps.append(f"{name} leaves {int(allowed.sum()) or 'none'}")
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
    pool_size = max(MMR_POOL_SIZE, MMR_POOL_FACTOR * request.top_k) if request.diversity else request.top_k
    if corrections is None:
        positions = allowed.nonzero().flatten()
    else:
        positions = corrections.best[allowed[corrections.best]]
        if len(positions) < pool_size or request.popularity_penalty:
            number = min(max(RESCORED, 2 * pool_size), int(allowed.count_nonzero()))
            positions = blockwise_topk(torch.where(allowed, utility, -torch.inf), number)
            errors = corrections.at(positions)
            log_scores[positions] += errors
            if request.popularity_penalty:
                utility[positions] += errors
    positions = positions[stable_topk(utility[positions], min(pool_size, len(positions)))]
    if request.diversity and len(positions):
        top_k = min(request.top_k, len(positions))
        positions = positions[rerank_mmr(utility[positions], embed(positions), request.diversity, top_k)]
    return positions.tolist()


def stable_topk(values: torch.Tensor, number: int) -> torch.Tensor:
    """Indices of the `number` largest of values (n,), largest first; equal ones, unlike those of `topk`, in order."""
    best = values.topk(min(number + 1, len(values)))
    if len(set(best.values.tolist())) == len(best.values):  # nearly always, and it needs no sort
        return best.indices[:number]
    least = best.values[:number][-1:]
    indices = (values >= least).nonzero().flatten()
    return indices[values[indices].sort(descending=True, stable=True).indices[:number]]


def rerank_mmr(utility: torch.Tensor, vectors: torch.Tensor, diversity: float, top_k: int) -> torch.Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): pool positions in order of selection.

    Each step selects the movie with the largest (1 - diversity) * relevance - diversity * similarity. Relevance is the
    utility scaled to 0…1 over the pool, similarity the largest cosine with a selected movie, at least 0. `utility`
    (pool,) is in descending order; `vectors` are (pool, hidden).
    """
    # A popularity of zero has a logarithm of -inf, and counts as the smallest other one.
    utility = utility.nan_to_num(neginf=min(filter(math.isfinite, utility.tolist()), default=0.0))
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


class ItemEmbeddings:
    """The output embeddings and biases of a model's items, by position in the catalogue."""

    def __init__(self, model: Any, tokenizer: Any, device: Any) -> None:
        self.model, self.device = model, device  # offloaded parameters have another device
        self.first_item_id: int = tokenizer.first_item_id
        self.num_items: int = tokenizer.num_items
        self._int8: Int8Items | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_int8": None}  # so that a pickle does not depend on earlier calls

    def int8(self) -> Int8Items | None:
        """The output embeddings in int8, for a large catalogue in float32 on an x86 CPU; else None.

        Other CPUs multiply integers more slowly than floats; GPUs are fast enough.
        """
        weight = self.model.get_output_embeddings().weight
        is_plain = type(weight) in PLAIN_TENSORS and weight.dtype == torch.float32 and weight.device.type == "cpu"
        is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
        if self.num_items < APPROXIMATE_FROM or not is_plain or not is_x86 or weight.is_inference():
            return None
        if self._int8 is None or self._int8.key != (id(weight), weight._version):
            self._int8 = Int8Items(self.model.get_output_embeddings(), self.first_item_id)
        return self._int8

    def vectors(self) -> torch.Tensor:
        """Embeddings (items, hidden), on `device`."""
        weight = self.model.get_output_embeddings().weight
        if type(weight) in PLAIN_TENSORS and not weight.is_meta:
            return weight.detach()[self.first_item_id :]
        # Quantized and offloaded layers have values only in their forward.
        if self.model.config.tie_word_embeddings:
            input_ids = torch.arange(self.num_items, device=self.device) + self.first_item_id
            return self.model.get_input_embeddings()(input_ids).detach()
        size = self.model.config.hidden_size
        return (self._decode(torch.eye(size)) - self._decode(torch.zeros(1, size))).T[self.first_item_id :]

    def biases(self) -> torch.Tensor:
        """Biases (items,), on `device`."""
        return self._decode(torch.zeros(1, self.model.config.hidden_size))[0, self.first_item_id :]

    def most_similar(self, positions: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarities and positions, both (n, top_k), of the items most similar to each of `positions` (n,)."""
        similarities = self.similarities(positions)
        similarities[torch.arange(len(positions)), positions] = -torch.inf
        best = similarities.topk(min(top_k, self.num_items - 1))
        return best.values, best.indices

    def similarities(self, positions: torch.Tensor) -> torch.Tensor:
        """Similarities (n, items), on the CPU, of `positions` (n,): the model of taste's, or cosines of embeddings."""
        if self.model.taste is not None:
            return self.model.taste.similarities(positions + self.first_item_id)[:, self.first_item_id :].cpu()
        vectors = torch.nn.functional.normalize(self.vectors().float(), dim=-1)
        return (vectors[positions.to(vectors.device)] @ vectors.T).cpu()

    def _decode(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (n, vocab) of states (n, hidden), by a call, as quantized and offloaded layers need."""
        return self.model.get_output_embeddings()(states.to(self.device, self.model.dtype)).detach()


class Int8Items:
    """Approximate logits by products of int8 output embeddings and int8 states, and their corrections."""

    def __init__(self, decoder: torch.nn.Linear, first_item_id: int) -> None:
        self.weight, self.bias, self.first_item_id = decoder.weight.detach(), decoder.bias.detach(), first_item_id
        self.key = (id(decoder.weight), decoder.weight._version)  # training changes the version
        values, scales = zip(*map(_to_int8, self.weight.split(ROWS_AT_ONCE)), strict=True)
        self.values, self.scales = torch.cat(values), torch.cat(scales)  # (vocab, hidden), (vocab,)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Approximate logits (rows, vocab) of states (rows, hidden)."""
        rounded, state_scales = _to_int8(states)
        logits = torch._int_mm(rounded, self.values.T).float()
        for row, scale in zip(logits, state_scales.tolist(), strict=True):
            torch.addcmul(self.bias, row, self.scales, value=scale, out=row)
        return logits

    def correct(self, logits: torch.Tensor, states: torch.Tensor) -> list[Corrections]:
        """Make the largest logits of each row exact, in place, and return the corrections of the others.

        The largest dominate the softmax's sum, which is then nearly exact.
        """
        corrections = []
        for row, state in zip(logits, states, strict=True):
            best = blockwise_topk(row, min(RESCORED, len(row)))
            row[best] += self.errors(state, best)
            corrections.append(Corrections(self, state, best[best >= self.first_item_id] - self.first_item_id))
        return corrections

    def errors(self, state: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Exact minus approximate logits (n,) of these items, for a state (hidden,)."""
        rounded, state_scale = _to_int8(state[None])
        products = torch._int_mm(rounded, self.values[input_ids].T)[0]
        return self.weight[input_ids] @ state - products * state_scale * self.scales[input_ids]


@dataclass(frozen=True)
class Corrections:
    """Corrections of one row of approximate logits; those at the catalogue positions `best` are exact already."""

    int8: Int8Items
    state: torch.Tensor
    best: torch.Tensor

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Exact minus current logits (n,) of these positions."""
        errors = self.int8.errors(self.state, positions + self.int8.first_item_id)
        return errors.masked_fill(torch.isin(positions, self.best), 0.0)


def _to_int8(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors (n, hidden) as int8, and the scales (n,) to multiply those by."""
    scales = vectors.abs().amax(1).clamp(min=1e-30) / LARGEST_INTEGER
    return (vectors / scales[:, None]).round().to(torch.int8), scales


def blockwise_topk(values: torch.Tensor, number: int) -> torch.Tensor:
    """Positions of the `number` largest of many values (n,), in any order: `topk` of the blocks that can hold them."""
    rest = len(values) % BLOCK
    largest = values[rest:].view(-1, BLOCK).amax(1)
    if number > len(largest):
        return values.topk(number).indices
    starts = rest + BLOCK * largest.topk(number, sorted=False).indices
    positions = torch.cat([torch.arange(rest), (starts[:, None] + torch.arange(BLOCK)).flatten()])
    return positions[values[positions].topk(number, sorted=False).indices]


def contributions(
    history: list[int], positions: list[int], log_scores: torch.Tensor, score: Callable[[list[list[int]]], torch.Tensor]
) -> list[list[tuple[int, float]]]:
    """Return, for every recommended movie, (input id, contribution) of the entries that raise its score, largest first.

    An entry's contribution is log(score) with the full history less log(score) without the entry, at all its positions.

    Args:
        history: input ids of the model's input, oldest first.
        positions: catalogue positions of the recommended movies.
        log_scores: (items,), with the full history.
        score: from lists of indices into `history`, one list per shortened history, to log scores (histories, items).
    """
    entries = list(dict.fromkeys(history))
    if not entries or not positions:
        return [[] for _ in positions]
    rows = [[index for index, item in enumerate(history) if item != left_out] for left_out in entries]
    starts = range(0, len(rows), EXPLAIN_BATCH_SIZE)
    columns = torch.tensor(positions)
    without = torch.cat([score(rows[start : start + EXPLAIN_BATCH_SIZE])[:, columns] for start in starts])
    losses = log_scores[columns] - without  # (entries, movies)
    explained = []
    for loss in losses.T:
        order = loss.argsort(descending=True, stable=True).tolist()
        explained.append([(entries[index], loss[index].item()) for index in order if loss[index] > 0])
    return explained
