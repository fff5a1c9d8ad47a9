"""Histories to batches: masked for training, and with a [MASK] at the end for next-item prediction.

Masks are a pure function of (seed, epoch, row index, position), drawn by hashing and not from a generator's state. So
batches are the same for any number of workers or processes and after a resume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..model.values_bert4rec import UNKNOWN_TIME
from .ragged import Array, BoolArray, FloatArray, IntArray
from .random_streams import NegativeSampler, Stream, hashed_uniform

IGNORED = -100
LAST_TIME = np.iinfo(np.int64).max
# Columns of histories that the model reads, with their values at padding and for queries without one.
UNKNOWN_VALUES = {"timestamps": UNKNOWN_TIME, "event_ids": 0}
COLUMN_PADDING = {"timestamps": LAST_TIME, "event_ids": 0, "label_weights": 0.0}  # of training rows
MODEL_INPUTS = ("input_ids", "attention_mask", *UNKNOWN_VALUES)  # the last ones only if the histories have them


def pad_rows(rows: Sequence[Array], value: float, multiple: int = 1) -> Array:
    """Stack rows of different lengths into (rows, width), padded with `value` on the right; int64, or float32."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = -(-int(lengths.max(initial=0)) // multiple) * multiple
    padded = np.full((len(rows), width), value, dtype=np.float32 if isinstance(value, float) else np.int64)
    padded[np.arange(width) < lengths[:, None]] = np.concatenate(rows) if len(rows) else []
    return padded


@dataclass
class DataCollatorForMaskedItems:
    """Masks items of histories and labels them with the original items: the Cloze task (BERT4Rec, section 3.6).

    Takes rows `{"input_ids": (length,), "index": int, "epoch": int}` and returns

    ```
    input_ids       [[5, 1, 9, 0], [1, 7, 4, 6]]        1 is [MASK], 0 is [PAD]
    attention_mask  [[1, 1, 1, 0], [1, 1, 1, 1]]
    labels          [[-100, 8, -100, -100], [3, -100, -100, -100]]
    ```

    and, if the rows have them, `timestamps` padded with `UNKNOWN_TIME`, `event_ids` and `label_weights`. Items of the
    same second, such as a page of ratings submitted together, are shuffled every epoch. Items with a weight of 0 are
    neither masked nor labels; a masked item's event type remains, as in a request.

    Args:
        tokenizer: a `Bert4RecTokenizer`; it has the special ids, and the items that replacements are drawn from.
        mlm_probability: share of a row's possible labels that are masked; each row has at least one masked item.
        mask_replace_prob: share of masked positions that become [MASK].
        random_replace_prob: share of masked positions that become a random item; the rest keep theirs.
        last_item_prob: share of rows in which only the last possible label is masked, as in serving.
        causal_prob: share of batches for the second task: predict every item from earlier ones. They have no [MASK],
            all items are labels, and `"is_causal": True` goes to the model.
        seed: with a row's epoch and index, the key of its masks.
        pad_to_multiple_of: widths are rounded up to a multiple of this.
        negatives: draws the negatives of a sampled softmax; batches then have `negatives` (n,) and
            `negatives_log_count` (n,) too.

    Raises:
        ValueError: A share outside [0, 1], or replacement shares that add up to more than 1.
    """

    tokenizer: Any
    mlm_probability: float = 0.2
    mask_replace_prob: float = 1.0
    random_replace_prob: float = 0.0
    last_item_prob: float = 0.0
    causal_prob: float = 0.0
    seed: int = 42
    pad_to_multiple_of: int = 8
    negatives: NegativeSampler | None = None

    def __post_init__(self) -> None:
        shares = ("mlm_probability", "mask_replace_prob", "random_replace_prob", "last_item_prob", "causal_prob")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError(
                f"mask_replace_prob ({self.mask_replace_prob}) and random_replace_prob "
                f"({self.random_replace_prob}) add up to more than 1"
            )

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        input_ids = pad_rows([row["input_ids"] for row in rows], self.tokenizer.pad_token_id, self.pad_to_multiple_of)
        columns = {
            name: pad_rows([row[name] for row in rows], value, self.pad_to_multiple_of)
            for name, value in COLUMN_PADDING.items()
            if name in rows[0]
        }
        lengths = np.array([len(row["input_ids"]) for row in rows])
        key = [np.array([row[name] for row in rows])[:, None] for name in ("epoch", "index")]
        attention_mask = np.arange(input_ids.shape[1]) < lengths[:, None]
        if "timestamps" in columns:
            times = columns.pop("timestamps")  # in ascending order; equal ones are shuffled
            order = np.lexsort((self._draw(Stream.ORDER_OF_TIES, key, times.shape[1]), times), axis=-1)
            input_ids = np.take_along_axis(input_ids, order, 1)
            columns = {name: np.take_along_axis(column, order, 1) for name, column in columns.items()}
            columns["timestamps"] = np.where(attention_mask, times, UNKNOWN_TIME)
        candidates = attention_mask & (columns["label_weights"] > 0) if "label_weights" in columns else attention_mask
        first = rows[0]["epoch"], rows[0]["index"]
        is_causal = bool(hashed_uniform(self.seed, Stream.CAUSAL_BATCH, *first) < self.causal_prob)
        masked = candidates if is_causal else self._masked_positions(candidates, key)
        batch = {
            "input_ids": input_ids if is_causal else self._replaced(input_ids, masked, key),
            "attention_mask": attention_mask.astype(np.int64),
            "labels": np.where(masked, input_ids, IGNORED),
            **columns,
        }
        if self.negatives is not None:
            batch["negatives"], batch["negatives_log_count"] = self.negatives.draw(*first)
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        return {**tensors, "is_causal": True} if is_causal else tensors

    def _draw(self, stream: Stream, key: list[IntArray], width: int) -> FloatArray:
        """Uniform numbers of a stream for every position of every row, (rows, width)."""
        return hashed_uniform(self.seed, stream, *key, np.arange(width))

    def _masked_positions(self, candidates: BoolArray, key: list[IntArray]) -> BoolArray:
        positions = np.arange(candidates.shape[1])
        draws = np.where(candidates, self._draw(Stream.MASKED_POSITIONS, key, candidates.shape[1]), 2.0)
        # The position with the smallest draw is always masked: a row without a label has no loss.
        masked = (draws < self.mlm_probability) | (positions == draws.argmin(-1)[:, None])
        last_only = hashed_uniform(self.seed, Stream.LAST_ITEM_ONLY, *key) < self.last_item_prob  # (rows, 1)
        return np.where(last_only, positions == (positions * candidates).max(-1, keepdims=True), masked)

    def _replaced(self, input_ids: IntArray, masked: BoolArray, key: list[IntArray]) -> IntArray:
        kind = self._draw(Stream.REPLACEMENT_KIND, key, input_ids.shape[1])
        first, items = self.tokenizer.first_item_id, self.tokenizer.num_items
        random_items = first + (self._draw(Stream.REPLACEMENT_ITEM, key, input_ids.shape[1]) * items).astype(np.int64)
        replaced = np.where(kind < self.mask_replace_prob + self.random_replace_prob, random_items, input_ids)
        replaced = np.where(kind < self.mask_replace_prob, self.tokenizer.mask_token_id, replaced)
        return np.where(masked, replaced, input_ids)


@dataclass
class DataCollatorForNextItem:
    """Appends a [MASK] to the most recent items of each history, to predict the next item there.

    Takes rows `{"input_ids": (length,)}` with the complete history, and `{"targets": (n,)}` if they are known.
    Rows with `timestamps` or `event_ids` (length,) may have those of the query in a dict `queries`; both become one
    input (batch, seq). Returns `input_ids` and `attention_mask` (batch, seq), `seen` (batch, longest history) with the
    items of the history that may not be recommended again, those of the requested event type, and `targets`
    (batch, n); the last two are padded with -100.

    Args:
        tokenizer: a `Bert4RecTokenizer`.
        max_length: the model's window, including the [MASK].
    """

    tokenizer: Any
    max_length: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        mask = np.array([self.tokenizer.mask_token_id])
        masked = [np.concatenate([row["input_ids"][-(self.max_length - 1) :], mask]) for row in rows]
        lengths = np.array([len(row) for row in masked])
        input_ids = pad_rows(masked, self.tokenizer.pad_token_id)
        attention_mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        for name, unknown in UNKNOWN_VALUES.items():
            if name in rows[0]:
                columns = [np.append(row[name][-(self.max_length - 1) :], _query_value(row, name)) for row in rows]
                batch[name] = pad_rows(columns, unknown)
        batch["seen"] = pad_rows([_seen(row) for row in rows], IGNORED)
        if "targets" in rows[0]:
            batch["targets"] = pad_rows([row["targets"] for row in rows], IGNORED)
        return {name: torch.from_numpy(array) for name, array in batch.items()}


def _query_value(row: dict[str, Any], name: str) -> int:
    """The query's value of a column; that of `UNKNOWN_VALUES` where it is not known."""
    return row.get("queries", {}).get(name, UNKNOWN_VALUES[name])


def _seen(row: dict[str, Any]) -> IntArray:
    """Items of a row's history; where there are event types, only those of the requested one; as `seen_items`."""
    if "event_ids" not in row:
        return row["input_ids"]
    return row["input_ids"][row["event_ids"] == _query_value(row, "event_ids")]
