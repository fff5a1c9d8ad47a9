"""Data that needs numpy only: random histories, and the histories of a data set as encoded arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.sizes import Sizes
from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.files import atomic_write

MEDIAN_LENGTH, LENGTH_SIGMA, MIN_LENGTH = 96, 1.0, 18  # of MovieLens 1M: log-normal


@dataclass(frozen=True)
class Vocabulary:
    """What collators and scorers read of a tokenizer; a catalogue of a million items has no tokenizer here."""

    num_items: int
    pad_token_id: int = 0
    mask_token_id: int = 1
    first_item_id: int = 3
    all_special_ids: tuple[int, ...] = (0, 1, 2)

    def __len__(self) -> int:
        return self.first_item_id + self.num_items


def collator(vocabulary: Any, causal: bool) -> DataCollatorForMaskedItems:
    """Masks a fifth of the items; for a causal model, labels all and masks none."""
    if causal:
        return DataCollatorForMaskedItems(vocabulary, mlm_probability=1.0, mask_replace_prob=0.0)
    return DataCollatorForMaskedItems(vocabulary)


def random_rows(generator: np.random.Generator, sizes: Sizes, rows: int, padded: bool) -> list[dict[str, Any]]:
    """Training rows of random items: as long as the window, or with `padded` of MovieLens 1M's lengths, cut to it."""
    vocabulary = Vocabulary(sizes.items)
    lengths = random_lengths(generator, rows).clip(2, sizes.length) if padded else np.full(rows, sizes.length)
    return [
        {
            "input_ids": generator.integers(vocabulary.first_item_id, len(vocabulary), length),
            "index": int(generator.integers(2**31)),
            "epoch": 0,
        }
        for length in lengths
    ]


def random_lengths(generator: np.random.Generator, users: int) -> Any:
    """History lengths as in MovieLens 1M, (users,)."""
    return np.exp(generator.normal(np.log(MEDIAN_LENGTH), LENGTH_SIGMA, users)).clip(MIN_LENGTH).astype(np.int64)


def random_histories(items: int, users: int, longest: int) -> Ragged:
    """Histories without repeats of the lengths of MovieLens 1M, cut to `longest`."""
    generator = np.random.default_rng(0)
    first = Vocabulary(items).first_item_id
    lengths = random_lengths(generator, users).clip(max=min(longest, items - 1))
    return Ragged.from_lists([first + generator.choice(items, length, replace=False) for length in lengths])


@dataclass(frozen=True)
class EncodedSplits:
    """A leave-one-out split as arrays: what `build_trainer` needs of a prepared data set.

    A row of `train` and the user's items of validation and test, (users,) each, are the user's history.
    """

    num_items: int
    train: Ragged
    validation: Any
    test: Any
    exclude_seen: bool = True

    @cached_property
    def tokenizer(self) -> Bert4RecTokenizer:
        """A tokenizer whose item ids are numbers, with the same input ids."""
        return Bert4RecTokenizer.from_movies({"movie_id": list(range(self.num_items))})

    @property
    def timed_train(self) -> Ragged:
        """`train`; there are no times."""
        return self.train

    @property
    def train_liked(self) -> npt.NDArray[np.bool_]:
        """All interactions of `train` are likes; there are no ratings."""
        return np.ones(len(self.train.values), dtype=bool)

    def next_item_dataset(self, split: str, timed: bool = False) -> NextItemDataset:
        """Histories and targets of "validation" or "test"; the history of a test has the validation item."""
        ones = offsets_of(np.ones(len(self.train), dtype=np.int64))
        if split == "validation":
            return NextItemDataset(self.train, Ragged(self.validation, ones))
        ends = self.train.offsets[1:]
        histories = Ragged(
            np.insert(self.train.values, ends, self.validation), self.train.offsets + np.arange(len(ones))
        )
        return NextItemDataset(histories, Ragged(self.test, ones))

    @classmethod
    def random(cls, sizes: Sizes) -> EncodedSplits:
        """Random histories in the shape of MovieLens 1M."""
        histories = random_histories(sizes.items, sizes.users, sizes.items - 1)
        last = histories.offsets[1:] - 1
        keep = np.ones(len(histories.values), dtype=bool)
        keep[last] = keep[last - 1] = False
        return cls(sizes.items, histories.where(keep), histories.values[last - 1], histories.values[last])

    @classmethod
    def of(cls, data: Any) -> EncodedSplits:
        """The leave-one-out split of a `PreparedData`."""
        validation, test = data.next_item_dataset("validation"), data.next_item_dataset("test")
        return cls(data.tokenizer.num_items, data.train, validation.targets.values, test.targets.values)

    def save(self, path: Path) -> None:
        """Write a compressed npz file, two megabytes for MovieLens 1M."""
        arrays = {name: getattr(self, name).astype(np.int32) for name in ("validation", "test")}
        arrays |= {"values": self.train.values.astype(np.int32), "offsets": self.train.offsets}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, num_items=self.num_items, **arrays)

    @classmethod
    def load(cls, path: Path) -> EncodedSplits:
        """Read what `save` wrote."""
        with np.load(path) as saved:
            arrays = {name: saved[name].astype(np.int64) for name in saved.files}
        train = Ragged(arrays["values"], arrays["offsets"])
        return cls(int(arrays["num_items"]), train, arrays["validation"], arrays["test"])
