"""Histories and targets of item ids to input ids, a column at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from .ragged import IntArray, Ragged, flat_column, flat_targets

if TYPE_CHECKING:
    import pyarrow as pa


def encode_histories(dataset: Any, tokenizer: Any, timed: bool = False) -> Ragged:
    """The `item_ids` column of a `datasets.Dataset` as input ids; unknown items become [UNK].

    The columns `events` and `weights` are encoded where they exist, and with `timed` the column `timestamps`. Rows with
    targets have the kind of the (first) target as their query. ValueError for an unknown kind of event.
    """
    items, offsets = flat_column(dataset, "item_ids")
    histories = Ragged(_encode(items, tokenizer.encode_items), offsets)
    if "events" in dataset.column_names:
        event_ids = _encode(flat_column(dataset, "events")[0], tokenizer.encode_events)
        weights = (event_ids < len(tokenizer.target_events)).astype(np.float32)
        histories = histories.with_columns(event_ids=event_ids, label_weights=weights)
    if "weights" in dataset.column_names:
        weights = Ragged.from_column(dataset, "weights").values.astype(np.float32)
        histories = histories.with_columns(label_weights=weights * histories.columns.get("label_weights", 1))
    if (events := flat_targets(dataset, "target_event")) is not None:
        values, offsets = events
        histories = histories.with_queries(event_ids=_encode(values, tokenizer.encode_events)[offsets[:-1]])
    if timed and "timestamps" in dataset.column_names:
        times = Ragged.from_column(dataset, "timestamps").values.astype(np.int64)
        histories = histories.with_columns(timestamps=times)
    return histories


def encode_targets(dataset: Any, tokenizer: Any) -> Ragged:
    """The `target` (one per row) or `targets` (a list per row) column as input ids; KeyError without either."""
    targets = flat_targets(dataset, "target")
    if targets is None:
        raise KeyError(f"no column 'target' or 'targets' in {dataset.column_names}: give a part of a split")
    items, offsets = targets
    return Ragged(_encode(items, tokenizer.encode_items), offsets)


def _encode(values: pa.Array, encode: Callable[[list[Any]], list[int]]) -> IntArray:
    # Each distinct value is looked up once; a tokenizer call per item would be fifty times slower.
    encoded = values.dictionary_encode()
    return np.array(encode(encoded.dictionary.to_pylist()), dtype=np.int64)[encoded.indices.to_numpy()]


class NextItemDataset(Dataset[dict[str, Any]]):
    """Rows `{"input_ids": (length,), "targets": (n,)}` of a validation or test split, with the complete history.

    Rows have the columns of their history, such as `timestamps` (length,), too; see `collator_row`.
    """

    def __init__(self, histories: Ragged, targets: Ragged) -> None:
        self.histories, self.targets = histories, targets

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**collator_row(self.histories, row), "targets": self.targets[row]}


def collator_row(histories: Ragged, row: int) -> dict[str, Any]:
    """One row as `DataCollatorForNextItem` takes it: `input_ids`, columns of the history, and `queries` if known."""
    columns = {"input_ids": histories[row], **histories.columns_of_row(row)}
    queries = {name: int(query[row]) for name, query in histories.queries.items()}
    return {**columns, "queries": queries} if queries else columns
