"""New users: a share of the users, chosen by a hash of their id and left out of training altogether."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from datasets import Dataset, DatasetDict

from .ragged import BoolArray, FloatArray, IntArray
from .tables import to_frame

MAX_SHARE = 0.5


def hold_out_users(histories: Dataset, share: float) -> tuple[Dataset, DatasetDict | None]:
    """The histories to train on, and those of new users: None for a share of 0, else `DatasetDict{validation, test}`.

    A user is a test user if the hash of the id is below `share` and a validation user if it is at least 1 - share / 2,
    so a larger share adds users, and further users or ratings do not move anyone between parts. ValueError for a share
    out of range, or a part without users.
    """
    if share == 0:
        return histories, None
    masks = held_out_masks(to_frame(histories, ["user_id"])["user_id"], share)
    rows = {name: histories.select(np.flatnonzero(users)).flatten_indices() for name, users in masks.items()}
    return rows["training"], DatasetDict(validation=rows["validation"], test=rows["test"])


def held_out_masks(users: pl.Series, share: float) -> dict[str, BoolArray]:
    """Which users (users,) are in "training", "validation" and "test"; see `hold_out_users`, also for errors."""
    if not 0 <= share <= MAX_SHARE:
        raise ValueError(f"held_out_users is {share}; it must be from 0 to {MAX_SHARE}, a share of the users")
    if not share:
        nobody = np.zeros(len(users), dtype=bool)
        return {"training": ~nobody, "validation": nobody, "test": nobody}
    hashes = user_hashes(users)
    test, validation = hashes < share, hashes >= 1 - share / 2
    masks = {"training": ~(test | validation), "validation": validation, "test": test}
    if empty := [name for name, mask in masks.items() if not mask.any()]:
        raise ValueError(
            f"held_out_users {share} leaves no {' and no '.join(empty)} user of {len(users):,}: hold out another "
            "share, or give more data"
        )
    return masks


def first_by_hash(users: pl.Series, number: int) -> IntArray:
    """The rows of the `number` users with the smallest hashes, in ascending order; all if there are fewer."""
    if len(users) <= number:
        return np.arange(len(users))
    return np.sort(np.argsort(user_hashes(users), kind="stable")[:number])


def user_hashes(users: pl.Series) -> FloatArray:
    """A number in [0, 1) for every user, (users,): the first eight bytes of the sha256 of the id as UTF-8 text."""
    digests = [int.from_bytes(hashlib.sha256(str(user).encode()).digest()[:8], "big") for user in users.to_list()]
    return np.array([digest >> 11 for digest in digests], dtype=np.float64) * 2.0**-53
