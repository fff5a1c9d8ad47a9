"""Histories to batches: masked ones to train on, and next-item questions to evaluate with.

Masks are a pure function of (seed, epoch, row index, place), drawn by hashing rather than from a generator's state.
Batches are therefore the same for any number of workers, on any number of processes and after a resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..model.extensions_bert4rec import UNKNOWN_TIME
from .negatives import NegativeSampler
from .ragged import FloatArray, IntArray
from .random_streams import Stream, hashed_uniform

IGNORED = -100
LAST_TIME = np.iinfo(np.int64).max
MODEL_INPUTS = ("input_ids", "attention_mask", "timestamps")  # of a question, as far as it has them


def pad_rows(rows: Sequence[IntArray], value: int, multiple: int = 1) -> IntArray:
    """Stack rows of different lengths into (rows, width), filled up with `value` on the right."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = -(-int(lengths.max(initial=0)) // multiple) * multiple
    padded = np.full((len(rows), width), value, dtype=np.int64)
    padded[np.arange(width) < lengths[:, None]] = np.concatenate(rows) if len(rows) else []
    return padded


@dataclass
class DataCollatorForMaskedItems:
    """Masks items of histories and labels them with what they were: the Cloze task (BERT4Rec, section 3.6).

    Takes rows `{"input_ids": (length,), "index": int, "epoch": int}` and gives

    ```
    input_ids       [[5, 1, 9, 0], [1, 7, 4, 6]]        1 is [MASK], 0 is [PAD]
    attention_mask  [[1, 1, 1, 0], [1, 1, 1, 1]]
    labels          [[-100, 8, -100, -100], [3, -100, -100, -100]]
    ```

    and `timestamps`, padded with `UNKNOWN_TIME`, where the rows have them. What these say was done in one second, as it
    is where a page of ratings is sent at once, is put in another order every epoch.

    Args:
        tokenizer: a `Bert4RecTokenizer`; gives the special ids and the items to draw replacements from.
        mlm_probability: share of a row's items that are masked; a row in which chance masks none has one masked.
        mask_replace_prob: share of masked places that become [MASK].
        random_replace_prob: share of masked places that become a random item; the rest keep theirs.
        last_item_prob: share of rows in which only the last item is masked, which is what serving asks for.
        seed: together with a row's epoch and index it decides the masks.
        pad_to_multiple_of: widths are rounded up to a multiple of this.
        negatives: draws what stands for the catalogue in the loss; batches then have `negatives` (n,) and
            `negatives_log_count` (n,) too.

    Raises:
        ValueError: a share outside [0, 1], or replacement shares that add up to more than 1.
    """

    tokenizer: Any
    mlm_probability: float = 0.2
    mask_replace_prob: float = 1.0
    random_replace_prob: float = 0.0
    last_item_prob: float = 0.0
    seed: int = 42
    pad_to_multiple_of: int = 8
    negatives: NegativeSampler | None = None

    def __post_init__(self) -> None:
        for name in ("mlm_probability", "mask_replace_prob", "random_replace_prob", "last_item_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError(
                f"mask_replace_prob ({self.mask_replace_prob}) and random_replace_prob "
                f"({self.random_replace_prob}) add up to more than 1"
            )

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        input_ids = pad_rows([row["input_ids"] for row in rows], self.tokenizer.pad_token_id, self.pad_to_multiple_of)
        lengths = np.array([len(row["input_ids"]) for row in rows])
        key = [np.array([row[name] for row in rows])[:, None] for name in ("epoch", "index")]
        if "timestamps" in rows[0]:
            times = pad_rows([row["timestamps"] for row in rows], LAST_TIME, self.pad_to_multiple_of)
            input_ids = np.take_along_axis(input_ids, self._order(times, key), 1)
        masked = self._masked_places(lengths, key, input_ids.shape[1])
        labels = np.where(masked, input_ids, IGNORED)
        attention_mask = np.arange(input_ids.shape[1]) < lengths[:, None]
        batch = {
            "input_ids": self._replaced(input_ids, masked, key),
            "attention_mask": attention_mask.astype(np.int64),
            "labels": labels,
        }
        if "timestamps" in rows[0]:
            batch["timestamps"] = np.where(attention_mask, times, UNKNOWN_TIME)
        if self.negatives is not None:
            drawn = self.negatives.draw(rows[0]["epoch"], rows[0]["index"])
            batch["negatives"], batch["negatives_log_count"] = drawn
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _draw(self, stream: Stream, key: list[IntArray], width: int) -> FloatArray:
        """Uniform numbers for every place of every row, (rows, width), of one of several independent streams."""
        return hashed_uniform(self.seed, stream, *key, np.arange(width))

    def _order(self, times: IntArray, key: list[IntArray]) -> IntArray:
        """Places of every row in the order of their times, (rows, width), by chance where these are the same."""
        return np.lexsort((self._draw(Stream.ORDER_OF_TIES, key, times.shape[1]), times), axis=-1)

    def _masked_places(self, lengths: IntArray, key: list[IntArray], width: int) -> npt.NDArray[np.bool_]:
        places = np.arange(width)
        draws = np.where(places < lengths[:, None], self._draw(Stream.MASKED_POSITIONS, key, width), 2.0)
        # The place with the smallest draw is masked whatever it is: without a label a row has no loss.
        masked = (draws < self.mlm_probability) | (places == draws.argmin(-1)[:, None])
        last_only = hashed_uniform(self.seed, Stream.LAST_ITEM_ONLY, *key) < self.last_item_prob  # (rows, 1)
        return np.where(last_only, places == lengths[:, None] - 1, masked)

    def _replaced(self, input_ids: IntArray, masked: npt.NDArray[np.bool_], key: list[IntArray]) -> IntArray:
        kind = self._draw(Stream.REPLACEMENT_KIND, key, input_ids.shape[1])
        first, items = self.tokenizer.first_item_id, self.tokenizer.num_items
        random_items = first + (self._draw(Stream.REPLACEMENT_ITEM, key, input_ids.shape[1]) * items).astype(np.int64)
        replaced = np.where(kind < self.mask_replace_prob + self.random_replace_prob, random_items, input_ids)
        replaced = np.where(kind < self.mask_replace_prob, self.tokenizer.mask_token_id, replaced)
        return np.where(masked, replaced, input_ids)


@dataclass
class DataCollatorForNextItem:
    """Asks for the item that follows each history: its most recent items and a [MASK] at the end.

    Takes rows `{"input_ids": (length,)}` with the whole history, and `{"targets": (n,)}` where the answer is known.
    Rows with `timestamps` (length,) may say when they are asked, `asked_at`; `timestamps` (batch, seq) come of them.
    Gives `input_ids` and `attention_mask` (batch, seq), `seen` (batch, longest history) with every item of the
    history, and `targets` (batch, n); the last two are filled up with -100.

    Args:
        tokenizer: a `Bert4RecTokenizer`.
        max_length: the model's window; the [MASK] takes one place of it.
        padding_side: "right" or "left"; never changes a score.
    """

    tokenizer: Any
    max_length: int
    padding_side: str = "right"
    pad_to_multiple_of: int = 1

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        mask = np.array([self.tokenizer.mask_token_id])
        asked = [np.concatenate([row["input_ids"][-(self.max_length - 1) :], mask]) for row in rows]
        lengths = np.array([len(row) for row in asked])
        input_ids = pad_rows(asked, self.tokenizer.pad_token_id, self.pad_to_multiple_of)
        attention_mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "timestamps" in rows[0]:
            times = [
                [*row["timestamps"][-(self.max_length - 1) :], row.get("query_time", UNKNOWN_TIME)] for row in rows
            ]
            batch["timestamps"] = pad_rows(list(map(np.array, times)), UNKNOWN_TIME, self.pad_to_multiple_of)
        if self.padding_side == "left":
            shift = (np.arange(input_ids.shape[1]) - (input_ids.shape[1] - lengths)[:, None]) % input_ids.shape[1]
            batch = {name: np.take_along_axis(array, shift, 1) for name, array in batch.items()}
        batch["seen"] = pad_rows([row["input_ids"] for row in rows], IGNORED)
        if "targets" in rows[0]:
            batch["targets"] = pad_rows([row["targets"] for row in rows], IGNORED)
        return {name: torch.from_numpy(array) for name, array in batch.items()}
