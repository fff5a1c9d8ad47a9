"""Item embeddings, similar movies, and explanations of recommendations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)
EXPLAIN_BATCH_SIZE = 256  # histories scored at once


class ItemEmbeddings:
    """The output embeddings and biases of a model's items, by position in the catalogue."""

    def __init__(self, model: Any, tokenizer: Any, device: Any) -> None:
        self.model, self.device = model, device  # offloaded parameters have another device
        self.first_item_id: int = tokenizer.first_item_id
        self.num_items: int = tokenizer.num_items

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
        """Cosines and positions, both (n, top_k), of the items most similar to each of `positions` (n,), without it."""
        cosines = self.similarities(positions)
        cosines[torch.arange(len(positions)), positions] = -torch.inf
        best = cosines.topk(min(top_k, self.num_items - 1))
        return best.values, best.indices

    def similarities(self, positions: torch.Tensor) -> torch.Tensor:
        """Cosines of `positions` (n,) with all items, (n, items), on the CPU; of taste factors if there are any."""
        if self.model.taste is not None:
            return self.model.taste.similarities(positions + self.first_item_id)[:, self.first_item_id :].cpu()
        vectors = torch.nn.functional.normalize(self.vectors().float(), dim=-1)
        return (vectors[positions.to(vectors.device)] @ vectors.T).cpu()

    def _decode(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (n, vocab) of states (n, hidden), by a call, as quantized and offloaded layers need."""
        return self.model.get_output_embeddings()(states.to(self.device, self.model.dtype)).detach()


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


__all__ = ["ItemEmbeddings", "contributions"]
