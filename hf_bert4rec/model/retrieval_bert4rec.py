"""Item embeddings, similar movies, and explanations of recommendations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)
EXPLAIN_BATCH_SIZE = 256  # histories scored at once
APPROXIMATE_FROM = 100_000  # items; smaller catalogues are scored exactly
RESCORED = 256  # items with the best approximate scores that are scored exactly, at least
BLOCK = 32  # scores of which `top_of_many` compares the largest
ROWS_AT_ONCE = 2**16  # bounds the memory of quantization
LARGEST_INTEGER = 63  # of int8: CPUs without VNNI add two products of 8 bits in 16


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
        """The output embeddings in int8, for a large catalogue in float32 on an x86 CPU; None for others.

        On others products of integers are slower than those of floats, and on GPUs those are fast enough.
        """
        weight = self.model.get_output_embeddings().weight
        is_plain = type(weight) in PLAIN_TENSORS and weight.dtype == torch.float32 and weight.device.type == "cpu"
        is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
        if self.num_items < APPROXIMATE_FROM or not is_plain or not is_x86 or weight.is_inference():
            return None
        if self._int8 is None or self._int8.key != (id(weight), weight._version):
            self._int8 = Int8Items(self.model.get_output_embeddings(), self.first_item_id)
        return self._int8

    def vectors(self, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings of these positions (n,), by default of all items: (n, hidden), on `device`."""
        weight = self.model.get_output_embeddings().weight
        if type(weight) in PLAIN_TENSORS and not weight.is_meta:
            vectors = weight.detach()[self.first_item_id :]
            return vectors if positions is None else vectors[positions.to(vectors.device)]
        # Quantized and offloaded layers have values only in their forward.
        positions = torch.arange(self.num_items) if positions is None else positions
        input_ids = (positions + self.first_item_id).to(self.device)
        if self.model.config.tie_word_embeddings:
            return self.model.get_input_embeddings()(input_ids).detach()
        size = self.model.config.hidden_size
        return (self._decode(torch.eye(size)) - self._decode(torch.zeros(1, size))).T[input_ids]

    def biases(self, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Biases of these positions (n,), by default of all items: (n,), on `device`."""
        biases = self._decode(torch.zeros(1, self.model.config.hidden_size))[0, self.first_item_id :]
        return biases if positions is None else biases[positions.to(biases.device)]

    def most_similar(self, positions: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarities and positions, both (n, top_k), of the items most similar to each of `positions` (n,)."""
        similarities = self.similarities(positions)
        similarities[torch.arange(len(positions)), positions] = -torch.inf
        best = similarities.topk(min(top_k, self.num_items - 1))
        return best.values, best.indices

    def similarities(self, positions: torch.Tensor) -> torch.Tensor:
        """Similarities of `positions` (n,) to all items, (n, items), on the CPU.

        By the model of taste if there is one, otherwise cosines of output embeddings.
        """
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
        self.values, self.scales = torch.cat(values), torch.cat(scales)  # (vocab, hidden), (vocab, 1)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Approximate logits (rows, vocab) of states (rows, hidden)."""
        return self._approximate(states, self.values, self.scales).add_(self.bias)

    def correct(self, logits: torch.Tensor, states: torch.Tensor) -> list[Corrections]:
        """Make the largest of each row exact, in place, and return the corrections of the others.

        With the largest ones exact, so is the sum of all scores, but for very little.
        """
        corrections = []
        for row, state in zip(logits, states, strict=True):
            best = top_of_many(row, min(RESCORED, len(row)))
            row[best] += self.errors(state, best)
            corrections.append(Corrections(self, state, best[best >= self.first_item_id] - self.first_item_id))
        return corrections

    def errors(self, state: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """What approximate logits (n,) of these items lack to the exact ones, for a state (hidden,)."""
        approximate = self._approximate(state[None], self.values[input_ids], self.scales[input_ids])
        return self.weight[input_ids] @ state - approximate[0]

    def _approximate(self, states: torch.Tensor, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Products (rows, items) of states (rows, hidden) with values (items, hidden) times scales (items, 1)."""
        rounded, state_scales = _to_int8(states)
        return torch._int_mm(rounded, values.T).float().mul_(state_scales).mul_(scales.T)


@dataclass(frozen=True)
class Corrections:
    """Corrections of one row of approximate logits, of which those at the catalogue positions `best` are exact."""

    int8: Int8Items
    state: torch.Tensor
    best: torch.Tensor

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """What the logits (n,) of these positions lack to the exact ones."""
        errors = self.int8.errors(self.state, positions + self.int8.first_item_id)
        return errors.masked_fill(torch.isin(positions, self.best), 0.0)


def _to_int8(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors (n, hidden) as integers and scales (n, 1), by which to multiply them."""
    scales = vectors.abs().amax(1, keepdim=True).clamp(min=1e-30) / LARGEST_INTEGER
    return (vectors / scales).round().to(torch.int8), scales


def top_of_many(values: torch.Tensor, number: int) -> torch.Tensor:
    """Positions of the `number` largest of many values (n,), in any order: `topk` of the blocks that can hold them."""
    rest = len(values) % BLOCK
    largest = values[rest:].view(-1, BLOCK).amax(1)
    if number > len(largest):
        return values.topk(number).indices
    starts = rest + BLOCK * largest.topk(number, sorted=False).indices
    positions = torch.cat([torch.arange(rest), (starts[:, None] + torch.arange(BLOCK)).flatten()])
    return positions[values[positions].topk(number, sorted=False).indices]


def contributions(
    history: list[int],
    positions: list[int],
    log_scores: torch.Tensor,
    score: Callable[[list[list[int]]], torch.Tensor],
) -> list[list[tuple[int, float]]]:
    """Return, for every recommended movie, the entries of the history that raise its score, strongest first.

    An entry's contribution is log(score) with the full history less log(score) without the entry; all occurrences of a
    repeated movie are left out together. The rest stays as it is: no older entry moves into the model's window.

    Args:
        history: input ids of the model's input, oldest first.
        positions: catalogue positions of the recommended movies.
        log_scores: (items,), with the full history.
        score: from lists of indices into `history`, one list per shortened history, to log scores (histories, items).

    Returns:
        For each movie, (input id, contribution) of every entry with a positive contribution.
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


__all__ = ["RESCORED", "Corrections", "ItemEmbeddings", "contributions", "top_of_many"]
