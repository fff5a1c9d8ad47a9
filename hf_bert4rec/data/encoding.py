"""Prepared histories to input ids, a whole column at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from .ragged import Ragged, offsets_of


def encode_histories(dataset: Any, tokenizer: Any) -> Ragged:
    """The `item_ids` column of a `datasets.Dataset` as input ids; unknown items become [UNK]."""
    return _encode(Ragged.from_column(dataset, "item_ids"), tokenizer)


def encode_targets(dataset: Any, tokenizer: Any) -> Ragged:
    """The `target` (one a row) or `targets` (a list a row) column as input ids."""
    if "targets" in dataset.column_names:
        return _encode(Ragged.from_column(dataset, "targets"), tokenizer)
    values = np.asarray(dataset.with_format("arrow")[:]["target"].to_numpy(zero_copy_only=False))
    return _encode(Ragged(values, offsets_of(np.ones(len(values), dtype=np.int64))), tokenizer)


def _encode(items: Ragged, tokenizer: Any) -> Ragged:
    # Every distinct item is looked up once; a tokenizer call an item would be fifty times slower.
    distinct, places = np.unique(items.values, return_inverse=True)
    input_ids = np.array(tokenizer.encode_items(distinct.tolist()), dtype=np.int64)
    return items.with_values(input_ids[places.reshape(-1)] if len(distinct) else input_ids)


class NextItemQuestions(Dataset[dict[str, Any]]):
    """Rows `{"input_ids": whole history, "targets": (n,)}` of a validation or test split, for evaluation."""

    def __init__(self, histories: Ragged, targets: Ragged) -> None:
        if len(histories) != len(targets):
            raise ValueError(f"{len(histories)} histories and {len(targets)} rows of targets: one each is needed")
        self.histories, self.targets = histories, targets

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.histories[row], "targets": self.targets[row]}
