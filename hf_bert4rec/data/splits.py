"""Splits of histories into training, validation and test.

Every split is a `DatasetDict{train, validation, test}` with the columns user_id, item_ids and, if the histories have
them, timestamps, events and weights. Validation and test rows also have `target`, `target_timestamp` and
`target_event`, or the lists `targets`, `target_timestamps` and `target_events`. Rows keep the order of the histories.

With event types, only those of `target_events` are held out, and a history is everything before its targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetDict

from .ragged import Array, BoolArray, IntArray, Ragged, Rows, flat_column, offsets_of, row_sums
from .tables import to_dataset, to_frame

TargetEvents = Sequence[str] | None
# List columns of histories, and the names of their values at a target.
TARGET_COLUMNS = {"item_ids": "target", "timestamps": "target_timestamp", "events": "target_event", "weights": None}
SPLIT_OPTIONS = ("split", "targets", "quantile", "target_events")  # options that decide a split of histories
HELD_OUT = ("validation", "test")
ABSENT = -1  # length of a history in a part without its user
MAX_NUMBERS = 1 << 23  # times that are in memory at once to find a quantile


def leave_one_out(histories: Dataset, target_events: TargetEvents = None) -> DatasetDict:
    """Test on each user's last item, validate on the last but one, train on the rest.

    - train: history[:-2]; a history of fewer than three interactions is in train only, and complete;
    - validation: item_ids = history[:-2], target = history[-2];
    - test: item_ids = history[:-1], which includes the validation item, target = history[-1].

    With `target_events` the targets are the last two of these types; events after the last one are left out.

    ValueError if no history has three interactions, or two target events after another interaction.
    """
    return _split(histories, "leave-one-out", target_events)


def last_n(histories: Dataset, n: int, target_events: TargetEvents = None) -> DatasetDict:
    """Test on each user's last `n` items, validate on the `n` before them, train on the rest.

    As `leave_one_out`, with `n` targets per row, oldest first, in the list columns `targets` and `target_timestamps`.
    A history of fewer than 2n + 1 interactions is in train only. ValueError if `n` is below 1, or all are shorter.
    """
    return _split(histories, "last-n", target_events, n=n)


def global_temporal_split(histories: Dataset, quantile: float = 0.9, target_events: TargetEvents = None) -> DatasetDict:
    """Train before one time and test after it, the same time for all users.

    The test cut is the timestamp at `quantile` of all interactions, the validation cut the one at `quantile` of those
    before the test cut (0.9: about 81 % of the interactions train, 9 % validate, 10 % test).

    - train: interactions strictly before the validation cut;
    - validation: target = the user's last interaction before the test cut, unless it is before the validation cut;
      item_ids = everything before the target;
    - test: target = the user's last interaction, unless it is before the test cut; item_ids = everything before the
      target, which may be after the cut: it is known at query time.

    A user with nothing before the target is not in that part. The column `cut` lets `check_leakage` check the split.

    ValueError without timestamps, for a quantile outside (0, 1), or for an empty part.
    """
    return _split(histories, "temporal", target_events, quantile=quantile)


def _split(
    histories: Dataset, rule: str, target_events: TargetEvents, n: int = 1, quantile: float = 0.9
) -> DatasetDict:
    offsets = flat_column(histories, "item_ids")[1]
    columns: dict[str, Array] = {}
    if rule == "temporal" and "timestamps" in histories.column_names:
        columns["timestamps"] = Ragged.from_column(histories, "timestamps").values
    if target_events is not None:
        events = flat_column(histories, "events")[0]
        is_in = pa.compute.is_in(events, value_set=pa.array(target_events, events.type))
        columns["is_target"] = is_in.to_numpy(zero_copy_only=False)
    rows = Ragged(np.zeros(offsets[-1], dtype=bool), offsets, columns)  # their values are not used
    return split_datasets(histories, split_lengths(rows, rule, target_events, n, quantile))


@dataclass(frozen=True)
class SplitLengths:
    """The positions that divide every history into the parts of a split; `ABSENT` where the user is not in a part.

    `targets` are the positions of the targets of validation and test, (histories, n) each. A history ends before its
    first target. `known` are the numbers of items that precede the targets of a part, (histories,) each: also of users
    who are not in the part. The training histories are those that precede the targets of validation.
    """

    targets: Mapping[str, IntArray]
    known: Mapping[str, IntArray]
    listed: bool = False  # whether targets are lists
    cuts: tuple[Any, Any] = (None, None)  # times at which validation and test begin

    @property
    def train(self) -> IntArray:
        return self.known["validation"]

    def lengths(self, part: str) -> IntArray:
        """How many items of every history are in a part, (histories,)."""
        return self.train if part == "train" else self.targets[part][:, 0]

    def users(self, part: str) -> IntArray:
        """The users of a part, in ascending order."""
        return np.flatnonzero(self.lengths(part) != ABSENT)

    def expanded(self, users: IntArray, number: int) -> SplitLengths:
        """The split of `number` histories, of which these are the rows `users`; the others are in no part."""

        def among_all(parts: Mapping[str, IntArray]) -> dict[str, IntArray]:
            every = {part: np.full((number, *values.shape[1:]), ABSENT) for part, values in parts.items()}
            for part, values in parts.items():
                every[part][users] = values
            return every

        return replace(self, targets=among_all(self.targets), known=among_all(self.known))


def split_lengths(histories: Rows, rule: str, target_events: TargetEvents, n: int, quantile: float) -> SplitLengths:
    """The split by a rule of `SPLITS`; ValueError if a part is empty, or for `n` or `quantile` out of range.

    `histories` have columns `timestamps` for the rule "temporal", and `is_target` if not all items may be targets.
    """
    if rule == "temporal":
        return _split_in_time(histories, quantile)
    listed = rule == "last-n"
    n = n if listed else 1
    if n < 1:
        raise ValueError(f"n must be 1 or more targets per user, not {n}")
    targets = np.concatenate([_last_targets(block, block.lengths, 2 * n) for block in histories.blocks()])
    events = "" if target_events is None else f", {2 * n} of them {' or '.join(target_events)},"
    purpose = f"that {n} targets per user need: use a smaller n" if listed else "of leave-one-out: add data"
    problem = f"None of {len(histories):,} histories has the {2 * n + 1} interactions{events} {purpose}"
    split = _require(targets[:, 0] > 0, problem)
    targets = np.where(split[:, None], targets, ABSENT)  # (histories, 2n)
    held_out = {"validation": targets[:, :n], "test": targets[:, n:]}
    complete = np.where(histories.lengths > 0, histories.lengths, ABSENT)
    known = {part: np.where(split, positions[:, 0], complete) for part, positions in held_out.items()}
    return SplitLengths(held_out, known, listed)


def _split_in_time(histories: Rows, quantile: float) -> SplitLengths:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, both excluded, not {quantile}")
    if any("timestamps" not in block.columns for block in histories.blocks()):
        raise ValueError("A temporal split needs timestamps, and these histories have none: use leave_one_out")

    def times() -> Iterator[Array]:
        return (block.columns["timestamps"] for block in histories.blocks())

    test_cut = value_at_quantile(times, quantile)
    cuts = value_at_quantile(lambda: (values[values < test_cut] for values in times()), quantile), test_cut
    columns = []
    for block in histories.blocks():
        before = [row_sums(block.columns["timestamps"] < cut, block.offsets) for cut in cuts]  # times ascend
        columns.append((*before, _last_targets(block, before[1], 1), _last_targets(block, block.lengths, 1)))
    *counts, validation, test = map(np.concatenate, zip(*columns, strict=True))
    problem = f"A temporal split at the quantile {quantile} (cuts at {cuts[0]} and {cuts[1]}) leaves no"
    fix = "change the quantile, or give more data"
    _require(counts[0] > 0, f"{problem} training interaction: {fix}")
    known = {part: np.where(count > 0, count, ABSENT) for part, count in zip(HELD_OUT, counts, strict=True)}
    targets = {}
    for part, count, positions in zip(HELD_OUT, counts, (validation, test), strict=True):
        chosen = (positions >= count[:, None]) & (positions > 0)
        _require(chosen, f"{problem} {part} target: {fix}")
        targets[part] = np.where(chosen, positions, ABSENT)
    return SplitLengths(targets, known, cuts=cuts)


def value_at_quantile(arrays: Callable[[], Iterable[Array]], quantile: float) -> Any:
    """The number at `quantile` of all numbers in ascending order, so that no cut depends on rounding.

    `arrays` gives the same arrays at every call. The range of the number is halved until its numbers fit in memory.
    """
    bounds = [(len(numbers), numbers.min().item(), numbers.max().item()) for numbers in arrays() if len(numbers)]
    if not bounds:
        raise ValueError("nothing is before the cut: all timestamps are the same, or there are none; use leave_one_out")
    counts, lows, highs = zip(*bounds, strict=True)
    count, low, high = sum(counts), min(lows), max(highs)
    position = int(quantile * count)  # among the numbers from `low` to `high`, which are `count`
    while count > MAX_NUMBERS and low < high:
        middle = low + (high - low) // 2 if isinstance(low, int) else min((low + high) / 2, math.nextafter(high, low))
        below = sum(int(((numbers >= low) & (numbers <= middle)).sum()) for numbers in arrays())
        if position < below:
            high, count = middle, below
        else:
            low = min(numbers[numbers > middle].min(initial=high).item() for numbers in arrays())
            count, position = count - below, position - below
    if low == high:
        return low
    remaining = np.concatenate([numbers[(numbers >= low) & (numbers <= high)] for numbers in arrays()])
    return np.partition(remaining, position)[position].item()


def _last_targets(histories: Ragged, stops: IntArray, number: int) -> IntArray:
    """Positions (histories, number) of the last possible targets among the first `stops` items of every history.

    They are negative where there are fewer.
    """
    steps = np.arange(-number, 0)
    if "is_target" not in histories.columns:
        return stops[:, None] + steps
    is_target, starts = histories.columns["is_target"], histories.offsets[:-1, None]
    positions = np.append(np.flatnonzero(is_target), 0)  # so that it is never empty
    counts = offsets_of(is_target)  # targets before each interaction
    index = counts[starts + stops[:, None]] + steps
    return np.where(index >= counts[starts], positions[np.maximum(index, 0)] - starts, -1)


def _require(rows: BoolArray, problem: str) -> BoolArray:
    """Return `rows`; ValueError if none is true."""
    if not rows.any():
        raise ValueError(problem)
    return rows


def split_datasets(histories: Dataset, parts: SplitLengths) -> DatasetDict:
    """The three parts of histories, as `leave_one_out` returns them."""
    frame = to_frame(histories, ["user_id", *(name for name in TARGET_COLUMNS if name in histories.column_names)])
    tables = {"train": _first_items(frame, parts.train)}
    for part, cut in zip(HELD_OUT, parts.cuts, strict=True):
        users, lengths = parts.users(part), parts.lengths(part)
        # If these are the same rows, they share their memory.
        rows = tables["train"] if np.array_equal(parts.train, lengths) else _first_items(frame, lengths)
        for name, single in TARGET_COLUMNS.items():
            if name in frame.columns and single is not None:
                values, offsets = flat_column(histories, name)
                positions = offsets[users, None] + parts.targets[part][users]  # (users, targets)
                targets = pl.Series(values.take(pa.array(positions.ravel())))
                lists = {f"{single}s": targets.reshape(positions.shape).arr.to_list()}
                rows = rows.with_columns(**(lists if parts.listed else {single: targets}))
        if cut is not None:
            rows = rows.with_columns(cut=pl.lit(cut, rows.schema["target_timestamp"]))
        tables[part] = rows
    return DatasetDict({part: to_dataset(rows) for part, rows in tables.items()})


def _first_items(frame: pl.DataFrame, lengths: IntArray) -> pl.DataFrame:
    """The first `lengths` items of every history, (histories,), without those that are `ABSENT`."""
    present = lengths != ABSENT
    return frame.filter(present).with_columns(pl.exclude("user_id").list.head(pl.lit(pl.Series(lengths[present]))))
