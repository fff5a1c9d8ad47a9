"""New users: a share of the users, chosen by a hash of their id and left out of training altogether."""

import hashlib

import numpy as np
import polars as pl

from .ragged import FloatArray, IntArray

MAX_SHARE = 0.5


def held_out_users(users: pl.Series, share: float) -> dict[str, IntArray]:
    """The rows of `users` that are in "training", "validation" and "test", in ascending order.

    A user is a test user if the hash of the id is below `share` and a validation user if it is at least 1 - share / 2,
    so a larger share adds users, and further users do not move anyone between parts. ValueError for a share out of
    range, or a part without users; with a share of 0 all are in training.
    """
    if not 0 <= share <= MAX_SHARE:
        raise ValueError(f"held_out_users is {share}; it must be from 0 to {MAX_SHARE}, a share of the users")
    if not share:
        nobody = np.empty(0, dtype=np.int64)
        return {"training": np.arange(len(users)), "validation": nobody, "test": nobody}
    hashes = user_hashes(users)
    test, validation = hashes < share, hashes >= 1 - share / 2
    masks = {"training": ~(test | validation), "validation": validation, "test": test}
    if empty := [name for name, mask in masks.items() if not mask.any()]:
        raise ValueError(
            f"held_out_users {share} leaves no {' and no '.join(empty)} user of {len(users):,}: hold out another "
            "share, or give more data"
        )
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def first_by_hash(users: pl.Series, number: int) -> IntArray:
    """The rows of the `number` users with the smallest hashes, in ascending order; all if there are fewer."""
    if len(users) <= number:
        return np.arange(len(users))
    return np.sort(np.argsort(user_hashes(users), kind="stable")[:number])


def user_hashes(users: pl.Series) -> FloatArray:
    """A number in [0, 1) for every user, (users,): the first eight bytes of the sha256 of the id as UTF-8 text."""
    digests = [int.from_bytes(hashlib.sha256(str(user).encode()).digest()[:8], "big") for user in users.to_list()]
    return np.array([digest >> 11 for digest in digests], dtype=np.float64) * 2.0**-53
