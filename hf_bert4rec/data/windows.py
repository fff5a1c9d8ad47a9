"""Training rows: windows over histories, no longer than the model's, with their index and epoch."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from .ragged import IntArray, Rows, offsets_of, slices


class TrainingWindows(Dataset[dict[str, Any]]):
    """Windows over histories of input ids, for a masking collator.

    A history of up to `max_length` items is one row. A longer one becomes rows of `max_length`, which end at its most
    recent item and every `stride` items before it, so that every interaction is in a row. Histories of fewer than two
    items give no row. Rows end with an item that may be a label; later items of the window are left out.

    Row i is `{"input_ids": (length,) int64, "index": i, "epoch": epoch}`, everything that a mask depends on, and the
    columns of the histories, such as `timestamps` (length,).

    ValueError if no history has two items, or `max_length` or `stride` is out of range.
    """

    def __init__(self, histories: Rows, max_length: int, stride: int | None = None) -> None:
        stride = max_length if stride is None else stride
        if max_length < 2 or not 1 <= stride <= max_length:
            raise ValueError(f"stride ({stride}) must be from 1 to max_length ({max_length}), which is at least 2")
        rows, starts, stops = _windows(histories.lengths, max_length, stride)
        if (ends := _ends_at_labels(histories, rows, stops)) is not None:
            long_enough = ends - starts >= 2
            rows, starts, stops = rows[long_enough], starts[long_enough], ends[long_enough]
        if not len(rows):
            raise ValueError(f"no history of two items or more among {len(histories)}: nothing to train on")
        self.windows = slices(histories, rows, starts, stops - starts)
        # Shared, so that workers which outlive an epoch (dataloader_persistent_workers) see its changes.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the masks; call it before the epoch's first batch is loaded."""
        self._epoch.fill_(epoch)

    @property
    def lengths(self) -> IntArray:
        """Items in every row, shape (rows,)."""
        return self.windows.lengths

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a batch, which a `DataLoader` asks for at once."""
        windows, epoch = self.windows.take(np.array(indices)), self.epoch
        arrays, bounds = {"input_ids": windows.values, **windows.columns}, pairwise(windows.offsets.tolist())
        return [
            {"index": index, "epoch": epoch, **{name: array[start:stop] for name, array in arrays.items()}}
            for index, (start, stop) in zip(indices, bounds, strict=True)
        ]


def _windows(lengths: IntArray, max_length: int, stride: int) -> tuple[IntArray, IntArray, IntArray]:
    """History of every window, and start and stop in it, the oldest window of a history first."""
    counts = 1 + np.maximum(0, -(-(lengths - max_length) // stride))
    counts[lengths < 2] = 0
    rows = np.repeat(np.arange(len(lengths)), counts)
    from_last = counts[rows] - 1 - (np.arange(len(rows)) - offsets_of(counts)[rows])
    # The oldest window starts with the history. It is as wide as the others and overlaps the next one more.
    stops = np.maximum(lengths[rows] - from_last * stride, np.minimum(lengths[rows], max_length))
    return rows, np.maximum(0, stops - max_length), stops


def _ends_at_labels(histories: Rows, rows: IntArray, stops: IntArray) -> IntArray | None:
    """The stops of windows after their last label, 0 or less without one; None if all items may be labels."""
    ends, first = [], 0
    for block in histories.blocks():
        if "label_weights" not in block.columns:
            return None
        windows = slice(*np.searchsorted(rows, (first, first + len(block))))
        starts = block.offsets[rows[windows] - first]
        is_label = block.columns["label_weights"] > 0
        last_label = np.maximum.accumulate(np.where(is_label, np.arange(len(is_label)), -1))  # (values of the block,)
        ends.append(last_label[starts + stops[windows] - 1] + 1 - starts)
        first += len(block)
    return np.concatenate(ends)


class WindowSampler(Sampler[int]):
    """A new order of the training windows every epoch, as a function of (seed, epoch).

    With a `batch_size` above 1, shuffled windows are sorted by length within 50 batches, so that a batch needs little
    padding; then the batches are shuffled. `set_epoch` also sets the epoch of the windows, which decides their masks.
    """

    BATCHES_SORTED_TOGETHER = 50

    def __init__(self, windows: TrainingWindows, seed: int, batch_size: int = 1) -> None:
        self.windows, self.seed, self.batch_size = windows, seed, batch_size

    def set_epoch(self, epoch: int) -> None:
        self.windows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.windows.epoch))
        order = generator.permutation(len(self.windows))
        if self.batch_size > 1:
            block = np.arange(len(order)) // (self.batch_size * self.BATCHES_SORTED_TOGETHER)
            order = order[np.lexsort((-self.windows.lengths[order], block))]
            full = len(order) // self.batch_size * self.batch_size  # the incomplete batch stays last
            batches = generator.permutation(order[:full].reshape(-1, self.batch_size))
            order = np.concatenate([batches.ravel(), order[full:]])
        return iter(order.tolist())
