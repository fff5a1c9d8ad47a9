"""Histories and targets of item ids to input ids, a column at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from .ragged import IntArray, Ragged, TimedHistories, arrow_table, flat_column

if TYPE_CHECKING:
    import pyarrow as pa


def encode_histories(dataset: Any, tokenizer: Any, timed: bool = False) -> Ragged:
    """The `item_ids` column of a `datasets.Dataset` as input ids; unknown items become [UNK].

    With `timed`, the `timestamps` column is added if there is one.
    """
    histories = _encode(*flat_column(dataset, "item_ids"), tokenizer)
    return add_times(histories, dataset) if timed else histories


def add_times(histories: Ragged, dataset: Any) -> Ragged:
    """Add the times of a dataset's `timestamps` column to its histories, if there is one."""
    if "timestamps" not in dataset.column_names:
        return histories
    times = Ragged.from_column(dataset, "timestamps").values.astype(np.int64)
    return TimedHistories(histories.values, histories.offsets, times)


def encode_targets(dataset: Any, tokenizer: Any) -> Ragged:
    """The `target` (one per row) or `targets` (a list per row) column as input ids."""
    if "targets" in dataset.column_names:
        return _encode(*flat_column(dataset, "targets"), tokenizer)
    values = arrow_table(dataset)["target"].combine_chunks()
    return _encode(values, np.arange(len(values) + 1), tokenizer)


def _encode(items: pa.Array, offsets: IntArray, tokenizer: Any) -> Ragged:
    # Each distinct item is looked up once; a tokenizer call per item would be fifty times slower.
    encoded = items.dictionary_encode()
    input_ids = np.array(tokenizer.encode_items(encoded.dictionary.to_pylist()), dtype=np.int64)
    return Ragged(input_ids[encoded.indices.to_numpy()], offsets)


class NextItemDataset(Dataset[dict[str, Any]]):
    """Rows `{"input_ids": (length,), "targets": (n,)}` of a validation or test split, with the complete history.

    Rows of histories with times have `timestamps` (length,) too, and `query_time` if it is known.

    Raises:
        ValueError: Not one row of targets per history.
    """

    def __init__(self, histories: Ragged, targets: Ragged) -> None:
        if len(histories) != len(targets):
            raise ValueError(f"{len(histories)} histories and {len(targets)} rows of targets; each history needs one")
        self.histories, self.targets = histories, targets

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**collator_row(self.histories, row), "targets": self.targets[row]}


def collator_row(histories: Ragged, row: int) -> dict[str, Any]:
    """One row as `DataCollatorForNextItem` takes it: `input_ids`, and `timestamps` and `query_time` if known."""
    inputs: dict[str, Any] = {"input_ids": histories[row]}
    if isinstance(histories, TimedHistories):
        inputs["timestamps"] = histories.times_of_row(row)
        if histories.query_times is not None:
            inputs["query_time"] = int(histories.query_times[row])
    return inputs
