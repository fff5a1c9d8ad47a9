"""Taste: scores of what goes with a few liked items, whatever their order and times.

The network predicts what a user of the data watched next. For a person who names a few titles, a linear model of who
likes what ranks better, and needs no training beyond a factorisation.
"""

from __future__ import annotations

import torch
from torch import nn

from .configuration_bert4rec import Bert4RecConfig

SMALLEST_SCORE = 1e-4  # below this, logarithms go on as a straight line, as linear scores may be negative
# After one item, the first `BEST` are by score, the next `SIMILAR` are its neighbours: a series is liked by few people.
BEST, SIMILAR = 8, 2


class Bert4RecTaste(nn.Module):
    """Linear scores of items b after a set of liked items a: shares[b] + Σ_a precisions[a] · factors[a]·factors[b].

    Products of factors approximate the covariance, over users, of liking a and b; this is the regression of every item
    on the liked ones (a denoising linear autoencoder, cf. Steck, NeurIPS 2020, of reduced rank). After a single item,
    its neighbours are listed, too.

    Buffers:
        factors: (vocab, taste_size).
        precisions: (vocab,) inverse variances of the likes.
        shares: (vocab,) weighted shares of users who like each item.
        neighbours: (vocab, taste_neighbours) input ids of the most correlated items, strongest first, int32; 0 for
            none. None without `taste_neighbours`.
        correlations: (vocab, taste_neighbours) of the likes of an item and each neighbour.

    All zero until `fit_taste` of the package fills them; training does not change them.
    """

    factors: torch.Tensor
    precisions: torch.Tensor
    shares: torch.Tensor
    neighbours: torch.Tensor | None
    correlations: torch.Tensor

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.register_buffer("factors", torch.zeros(config.vocab_size, config.taste_size))
        self.register_buffer("precisions", torch.zeros(config.vocab_size))
        self.register_buffer("shares", torch.zeros(config.vocab_size))
        shape = config.vocab_size, config.taste_neighbours
        special_ids = config.pad_token_id, config.mask_token_id, config.unk_token_id
        self.special_ids = [index for index in special_ids if index is not None]
        self.register_buffer("neighbours", torch.zeros(shape, dtype=torch.int32) if config.taste_neighbours else None)
        self.register_buffer("correlations", torch.zeros(shape) if config.taste_neighbours else None)

    def forward(self, histories: list[list[int]]) -> torch.Tensor:
        """Scores (histories, vocab), float32, of lists of input ids; repeated items count once."""
        distinct = [list(dict.fromkeys(history)) for history in histories]
        users = torch.stack([self._user(items) for items in distinct])
        scores = self.shares.float() + users @ self.factors.float().T
        for row, items in enumerate(distinct):
            if self.neighbours is not None and len(items) == 1:
                self._raise_neighbours(scores[row], items[0], self.neighbours[items[0]].tolist())
        return scores

    def log_scores(self, histories: list[list[int]]) -> torch.Tensor:
        """Logarithms of positive scores in the same order, (histories, vocab)."""
        scores = self(histories)
        line = scores / SMALLEST_SCORE - 1 + torch.tensor(SMALLEST_SCORE).log()
        return torch.where(scores > SMALLEST_SCORE, scores.clamp(min=SMALLEST_SCORE).log(), line)

    def similarities(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Similarities (n, vocab) of items (n,) to all items.

        Those of an item's neighbours are their correlations, those of other items the cosines of their factors, scaled
        to be at most the smallest of these correlations.
        """
        vectors = nn.functional.normalize(self.factors.float(), dim=-1)
        input_ids = input_ids.to(vectors.device)
        cosines = vectors[input_ids] @ vectors.T
        if self.neighbours is None:
            return cosines
        neighbours, correlations = self.neighbours[input_ids].long(), self.correlations[input_ids].float()
        smallest = correlations.masked_fill(neighbours == 0, 1.0).amin(-1, keepdim=True)
        cosines *= smallest
        return cosines.scatter(-1, neighbours, correlations.where(neighbours > 0, cosines[:, :1]))

    def resize(self, vocab_size: int) -> None:
        """Resize to `vocab_size` items; entries of items beyond are dropped, new ones are zero."""
        for name, table in list(self.named_buffers()):
            added = table.new_zeros(max(0, vocab_size - table.shape[0]), *table.shape[1:])
            self.register_buffer(name, torch.cat([table[:vocab_size], added]))
        if self.neighbours is not None:
            self.neighbours[self.neighbours >= vocab_size] = 0

    def add(self, similar: list[tuple[list[int], torch.Tensor]]) -> None:
        """Append an item for each (known items, their weights): the weighted mean of those; zeros if there are none.

        New items have no neighbours.
        """
        known = self.shares.shape[0]
        self.resize(known + len(similar))
        for row, (items, weights) in enumerate(similar, start=known):
            for table in (self.factors, self.precisions, self.shares):
                if items:
                    normalised = (weights / weights.sum()).to(table)
                    table[row] = normalised @ table[torch.tensor(items, device=table.device)]

    def _raise_neighbours(self, scores: torch.Tensor, item: int, neighbours: list[int]) -> None:
        """Raise the scores (vocab,) of the first neighbours that are not among the best to right below the best."""
        candidates = scores.clone()
        candidates[[item, *self.special_ids]] = -torch.inf
        best = candidates.topk(min(BEST + 1, len(candidates)))
        listed = {0, *best.indices[:BEST].tolist()}
        raised = [neighbour for neighbour in neighbours if neighbour not in listed][:SIMILAR]
        lowest, following = best.values[-2:]
        for rank, neighbour in enumerate(raised, start=1):
            scores[neighbour] = lowest + (following - lowest) * rank / (len(raised) + 1)

    def _user(self, items: list[int]) -> torch.Tensor:
        index = torch.tensor(items, dtype=torch.long, device=self.factors.device)
        return self.precisions[index].float() @ self.factors[index].float()  # (taste_size,)


__all__ = ["Bert4RecTaste"]
