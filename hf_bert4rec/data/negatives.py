"""Negative items for the sampled softmax, and their expected counts."""

import numpy as np
import numpy.typing as npt

from .ragged import FloatArray, IntArray
from .random_streams import Stream, hashed_uniform

# Half of the draws are uniform, half follow counts ** 0.75 (word2vec, arXiv:1310.4546).
UNIFORM, POWER = 0.5, 0.75


class NegativeSampler:
    """Draws `number` items with replacement, like the masks as a function of (seed, epoch, row) only.

    `counts` (vocab_size,) are the training interactions of every input id; ids below `first_item_id` are special tokens
    and never drawn.
    """

    def __init__(self, counts: IntArray, number: int, first_item_id: int, seed: int = 42) -> None:
        if number < 1:
            raise ValueError(f"{number} negatives: sampled softmax needs at least one, and thousands for good results")
        popular = counts[first_item_id:].astype(np.float64) ** POWER
        items = len(popular)
        share = UNIFORM / items + (1 - UNIFORM) * popular / max(popular.sum(), 1.0)
        self.share: FloatArray = share / share.sum()  # (items,)
        self.number, self.first_item_id, self.seed = number, first_item_id, seed
        self._cumulative = np.cumsum(self.share)

    def draw(self, epoch: int, row: int) -> tuple[IntArray, npt.NDArray[np.float32]]:
        """Return input ids (number,), and the logarithm of each one's expected count among them (number,)."""
        uniform = hashed_uniform(self.seed, Stream.NEGATIVES, epoch, row, np.arange(self.number))
        items = np.minimum(np.searchsorted(self._cumulative, uniform, side="right"), len(self.share) - 1)
        return items + self.first_item_id, np.log(self.number * self.share[items]).astype(np.float32)
