"""Random numbers as a function of their keys: the same for any number of workers and after a resume."""

from enum import IntEnum

import numpy as np

from .ragged import FloatArray, IntArray


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
