"""Items drawn to stand for a whole catalogue in the loss, and how often each was to be expected."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .ragged import FloatArray, IntArray
from .random_streams import Stream, hashed_uniform

UNIFORM, POWER = 0.5, 0.75  # half of the draws by counts ** 0.75 (word2vec, arXiv:1310.4546), half any item alike


class NegativeSampler:
    """Draws `number` items with replacement, a function of (seed, epoch, row) alone as the masks are.

    Args:
        counts: (vocab_size,) training interactions of every input id.
        first_item_id: input ids below it are no items and are never drawn.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, counts: IntArray, number: int, first_item_id: int, seed: int = 42) -> None:
        if number < 1:
            raise ValueError(f"{number} negatives: sampled softmax needs at least one, and some thousands to be good")
        popular = counts[first_item_id:].astype(np.float64) ** POWER
        items = len(popular)
        share = UNIFORM / items + (1 - UNIFORM) * popular / max(popular.sum(), 1.0)
        self.share: FloatArray = share / share.sum()  # (items,)
        self.number, self.first_item_id, self.seed = number, first_item_id, seed
        self._upto = np.cumsum(self.share)

    def draw(self, epoch: int, row: int) -> tuple[IntArray, npt.NDArray[np.float32]]:
        """Input ids (number,), and the logarithm of the number of times that each is expected among them."""
        uniform = hashed_uniform(self.seed, Stream.NEGATIVES, epoch, row, np.arange(self.number))
        places = np.minimum(np.searchsorted(self._upto, uniform, side="right"), len(self.share) - 1)
        return places + self.first_item_id, np.log(self.number * self.share[places]).astype(np.float32)
