"""Random numbers as a pure function of keys, and so the same for any number of workers and after a resume."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from .ragged import FloatArray, IntArray

# Half of the draws are uniform, half follow counts ** 0.75 (word2vec, arXiv:1310.4546).
UNIFORM, POWER = 0.5, 0.75


class Stream(IntEnum):
    """The second key of every draw, so that draws for different purposes are independent.

    A changed number changes the masks, and with them every trained model.
    """

    MASKED_POSITIONS = 0
    LAST_ITEM_ONLY = 1
    REPLACEMENT_KIND = 2
    REPLACEMENT_ITEM = 3
    ORDER_OF_TIES = 4
    NEGATIVES = 5
    CAUSAL_BATCH = 6


def hashed_uniform(*keys: int | IntArray) -> FloatArray:
    """Uniform numbers in [0, 1) that depend on the keys only; arrays of keys broadcast.

    Each key is mixed in by the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


class NegativeSampler:
    """Draws `number` items with replacement, like the masks as a function of (seed, epoch, row) only.

    `counts` (vocab_size,) are training interactions; ids below `first_item_id`, special tokens, are never drawn.
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
