"""Histories and targets of item ids to input ids, a column at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from .ragged import IntArray, Ragged, Rows, flat_column, flat_targets

if TYPE_CHECKING:
    import pyarrow as pa


def encode_histories(dataset: Any, tokenizer: Any, timed: bool = False) -> Ragged:
    """The `item_ids` column of a `datasets.Dataset` as input ids; unknown items become [UNK].

    The columns `events` and `weights` are encoded where they exist, and with `timed` the column `timestamps`. Rows with
    targets have the kind of the (first) target as their query. ValueError for an unknown kind of event.
    """
    items, offsets = flat_column(dataset, "item_ids")
    names = ["weights", "timestamps"] if timed else ["weights"]
    columns = {name: Ragged.from_column(dataset, name).values for name in names if name in dataset.column_names}
    if "events" in dataset.column_names:
        columns["event_ids"] = _encode(flat_column(dataset, "events")[0], tokenizer.encode_events)
    queries = {}
    if (events := flat_targets(dataset, "target_event")) is not None:
        queries["event_ids"] = _encode(events[0], tokenizer.encode_events)[events[1][:-1]]
    histories = Ragged(_encode(items, tokenizer.encode_items), offsets, columns, queries)
    return with_label_weights(histories, len(tokenizer.target_events))


def encode_stored(histories: Ragged, input_ids: IntArray, event_ids: IntArray, num_target_events: int) -> Ragged:
    """Histories as `Histories` has them; `input_ids` (items,) and `event_ids` (kinds,) are those of the model."""
    columns = dict(histories.columns)
    if "events" in columns:
        columns["event_ids"] = event_ids.take(columns.pop("events"))
    histories = Ragged(input_ids.take(histories.values), histories.offsets, columns, histories.queries)
    return with_label_weights(histories, num_target_events)


def with_label_weights(histories: Ragged, num_target_events: int) -> Ragged:
    """`weights` become `label_weights`, 0 for events that are no targets; times become integers."""
    columns = dict(histories.columns)
    weights = columns.pop("weights", None)
    if weights is not None:
        columns["label_weights"] = weights.astype(np.float32)
    if "event_ids" in columns:
        is_target = (columns["event_ids"] < num_target_events).astype(np.float32)
        columns["label_weights"] = is_target * columns.get("label_weights", 1)
    if "timestamps" in columns:
        columns["timestamps"] = columns["timestamps"].astype(np.int64)
    return replace(histories, columns=columns)


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

    def __init__(self, histories: Rows, targets: Ragged) -> None:
        self.histories, self.targets = histories, targets

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**collator_row(self.histories, row), "targets": self.targets[row]}


def collator_row(histories: Rows, row: int) -> dict[str, Any]:
    """One row as `DataCollatorForNextItem` takes it: `input_ids`, columns of the history, and `queries` if known."""
    history = histories.row(row)
    columns = {"input_ids": history.values, **history.columns}
    queries = {name: int(query[0]) for name, query in history.queries.items()}
    return {**columns, "queries": queries} if queries else columns
