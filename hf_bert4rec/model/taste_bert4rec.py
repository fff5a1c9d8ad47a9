"""Taste: scores of what goes with a few liked items, whatever their order and times.

The network predicts what a user of the data watched next. For a person who names a few titles, a linear model of who
likes what ranks better, and needs no training beyond a factorisation.
"""

from __future__ import annotations

import torch
from torch import nn

from .configuration_bert4rec import Bert4RecConfig

SMALLEST_SCORE = 1e-4  # below this, logarithms go on as a straight line, as linear scores may be negative


class Bert4RecTaste(nn.Module):
    """Linear scores of items b after a set of liked items a: shares[b] + Σ_a precisions[a] · factors[a]·factors[b].

    Products of factors approximate the covariance, over users, of liking a and b; this is the regression of every item
    on the liked ones (a denoising linear autoencoder, cf. Steck, NeurIPS 2020, of reduced rank).

    Buffers:
        factors: (vocab, taste_size).
        precisions: (vocab,) inverse variances of the likes.
        shares: (vocab,) weighted shares of users who like each item.

    All zero until `fit_taste` of the package fills them; training does not change them.
    """

    factors: torch.Tensor
    precisions: torch.Tensor
    shares: torch.Tensor

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.register_buffer("factors", torch.zeros(config.vocab_size, config.taste_size))
        self.register_buffer("precisions", torch.zeros(config.vocab_size))
        self.register_buffer("shares", torch.zeros(config.vocab_size))

    def forward(self, histories: list[list[int]]) -> torch.Tensor:
        """Scores (histories, vocab), float32, of lists of input ids; repeated items count once."""
        users = torch.stack([self._user(list(dict.fromkeys(history))) for history in histories])
        return self.shares.float() + users @ self.factors.float().T

    def log_scores(self, histories: list[list[int]]) -> torch.Tensor:
        """Logarithms of positive scores in the same order, (histories, vocab)."""
        scores = self(histories)
        line = scores / SMALLEST_SCORE - 1 + torch.tensor(SMALLEST_SCORE).log()
        return torch.where(scores > SMALLEST_SCORE, scores.clamp(min=SMALLEST_SCORE).log(), line)

    def similarities(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Cosines (n, vocab) of the factors of items (n,) with those of all items."""
        vectors = nn.functional.normalize(self.factors.float(), dim=-1)
        return vectors[input_ids.to(vectors.device)] @ vectors.T

    def resize(self, vocab_size: int) -> None:
        """Resize to `vocab_size` items; entries of items beyond are dropped, new ones are zero."""
        for name, table in list(self.named_buffers()):
            added = table.new_zeros(max(0, vocab_size - table.shape[0]), *table.shape[1:])
            self.register_buffer(name, torch.cat([table[:vocab_size], added]))

    def add(self, similar: list[tuple[list[int], torch.Tensor]]) -> None:
        """Append an item for each (known items, their weights): the weighted mean of those; zeros if there are none."""
        known = self.shares.shape[0]
        self.resize(known + len(similar))
        for row, (items, weights) in enumerate(similar, start=known):
            for table in (self.factors, self.precisions, self.shares):
                if items:
                    normalised = (weights / weights.sum()).to(table)
                    table[row] = normalised @ table[torch.tensor(items, device=table.device)]

    def _user(self, items: list[int]) -> torch.Tensor:
        index = torch.tensor(items, dtype=torch.long, device=self.factors.device)
        return self.precisions[index].float() @ self.factors[index].float()  # (taste_size,)


__all__ = ["Bert4RecTaste"]
