"""Histories and targets of item ids to input ids, a column at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from .ragged import Array, IntArray, Ragged, Rows, flat_column, flat_targets

if TYPE_CHECKING:
    import pyarrow as pa


def encode_histories(dataset: Any, tokenizer: Any, timed: bool = False) -> Ragged:
    """The `item_ids` column of a `datasets.Dataset` as input ids; unknown items become [UNK].

    The columns `events` and `weights` are encoded where they exist, and with `timed` the column `timestamps`. Rows with
    targets have the type of the (first) target as their query. ValueError for an unknown event type.
    """
    items, offsets = flat_column(dataset, "item_ids")
    values, input_ids = _encode_distinct(items, tokenizer.encode_items)
    names = ["weights", "timestamps"] if timed else ["weights"]
    columns = {name: Ragged.from_column(dataset, name).values for name in names if name in dataset.column_names}
    event_ids, queries = np.empty(0, dtype=np.int64), {}
    if "events" in dataset.column_names:
        columns["events"], event_ids = _encode_distinct(flat_column(dataset, "events")[0], tokenizer.encode_events)
    if (targets := flat_targets(dataset, "target_event")) is not None:
        numbers, ids = _encode_distinct(targets[0], tokenizer.encode_events)
        queries["event_ids"] = ids[numbers[targets[1][:-1]]]
    histories = Ragged(values, offsets, columns, queries)
    return encode_indices(histories, input_ids, event_ids, len(tokenizer.target_events))


def encode_indices(histories: Ragged, input_ids: IntArray, event_ids: IntArray, num_target_events: int) -> Ragged:
    """Histories whose items and `events` are indices, as input ids: item i becomes `input_ids[i]`, events likewise.

    `weights` become `label_weights`, 0 for events that are not targets; times become integers.
    """
    columns = dict(histories.columns)
    if "weights" in columns:
        columns["label_weights"] = columns.pop("weights").astype(np.float32)
    if "events" in columns:
        columns["event_ids"] = event_ids.take(columns.pop("events"))
        is_target = (columns["event_ids"] < num_target_events).astype(np.float32)
        columns["label_weights"] = is_target * columns.get("label_weights", 1)
    if "timestamps" in columns:
        columns["timestamps"] = columns["timestamps"].astype(np.int64)
    return Ragged(input_ids.take(histories.values), histories.offsets, columns, histories.queries)


def encode_targets(dataset: Any, tokenizer: Any) -> Ragged:
    """The `target` (one per row) or `targets` (a list per row) column as input ids; KeyError without either."""
    targets = flat_targets(dataset, "target")
    if targets is None:
        raise KeyError(f"no column 'target' or 'targets' in {dataset.column_names}: give a part of a split")
    numbers, input_ids = _encode_distinct(targets[0], tokenizer.encode_items)
    return Ragged(input_ids[numbers], targets[1])


def _encode_distinct(values: pa.Array, encode: Callable[[list[Any]], list[int]]) -> tuple[Array, IntArray]:
    """The number of every value among the distinct ones, (total,), and these encoded: a call per value is slow."""
    encoded = values.dictionary_encode()
    return encoded.indices.to_numpy(), np.array(encode(encoded.dictionary.to_pylist()), dtype=np.int64)


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
