"""Splits of histories into training, validation and test.

Every split is a `DatasetDict{train, validation, test}` with the columns user_id, item_ids and, if the histories have
them, timestamps, events and weights. Validation and test rows also have `target`, `target_timestamp` and
`target_event`, or the lists `targets`, `target_timestamps` and `target_events`. Rows keep the order of the histories.

Where histories have kinds of events, only those of `target_events` are held out, and a history is everything before
its targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features

from .arguments import DataArguments
from .ragged import IntArray, Ragged, flat_column, offsets_of
from .tables import dataset_of

Bools = npt.NDArray[np.bool_]
TargetEvents = Sequence[str] | None
# List columns of histories, and the names of their values at a target.
TARGET_COLUMNS = {"item_ids": "target", "timestamps": "target_timestamp", "events": "target_event", "weights": None}
SPLIT_OPTIONS = ("split", "targets", "quantile", "target_events")  # options that decide a split of histories
HELD_OUT = ("validation", "test")
ABSENT = -1  # length of a history in a part without its user


def split_histories(histories: Dataset, arguments: DataArguments) -> DatasetDict:
    """Training, validation and test by the rule of `arguments.split`."""
    target_events = arguments.target_events if arguments.event_column else None
    if arguments.split == "last-n":
        return last_n(histories, arguments.targets, target_events)
    if arguments.split == "temporal":
        return global_temporal_split(histories, arguments.quantile, target_events)
    return leave_one_out(histories, target_events)


def leave_one_out(histories: Dataset, target_events: TargetEvents = None) -> DatasetDict:
    """Test on each user's last item, validate on the last but one, train on the rest.

    - train: history[:-2]; a history of fewer than three interactions is in train only, and complete;
    - validation: item_ids = history[:-2], target = history[-2];
    - test: item_ids = history[:-1], which includes the validation item, target = history[-1].

    With `target_events` the targets are the last two of these kinds; events after the last one are left out.

    Raises:
        ValueError: No history has three interactions, or two target events after another interaction.
    """
    return _split_ends(histories, 1, False, target_events)


def last_n(histories: Dataset, n: int, target_events: TargetEvents = None) -> DatasetDict:
    """Test on each user's last `n` items, validate on the `n` before them, train on the rest.

    As `leave_one_out`, with `n` targets per row, oldest first, in the list columns `targets` and `target_timestamps`.
    A history of fewer than 2n + 1 interactions is in train only.

    Raises:
        ValueError: `n` is below 1, or no history has 2n + 1 interactions.
    """
    return _split_ends(histories, n, True, target_events)


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

    Raises:
        ValueError: No timestamps, a quantile outside (0, 1), or an empty part.
    """
    check_temporal(quantile, "timestamps" in histories.column_names)
    times = Ragged.from_column(histories, "timestamps")
    test_cut = _cut(times.values, quantile)
    cuts = _cut(times.values[times.values < test_cut], quantile), test_cut
    before = count_before(times, cuts[0]), count_before(times, cuts[1])
    targets = [_last_targets(histories, target_events, 1, stops) for stops in (before[1], times.lengths)]
    return _datasets(histories, split_in_time(before, targets, quantile, cuts))


def _split_ends(histories: Dataset, n: int, listed: bool, target_events: TargetEvents) -> DatasetDict:
    if n < 1:
        raise ValueError(f"n must be 1 or more targets per user, not {n}")
    lengths = np.diff(flat_column(histories, "item_ids")[1])
    targets = _last_targets(histories, target_events, 2 * n, lengths)
    return _datasets(histories, split_at_ends(lengths, targets, listed, target_events))


def _last_targets(histories: Dataset, target_events: TargetEvents, number: int, stops: IntArray) -> IntArray:
    """`last_targets` of histories; all interactions are possible targets without `target_events`."""
    if target_events is None:
        return last_targets(None, stops, number)
    events, offsets = flat_column(histories, "events")
    is_target = pa.compute.is_in(events, value_set=pa.array(target_events, events.type)).to_numpy(zero_copy_only=False)
    return last_targets(Ragged(is_target, offsets), stops, number)


def last_targets(is_target: Ragged | None, stops: IntArray, number: int) -> IntArray:
    """Positions (histories, number) of the last possible targets among the first `stops` items of every history.

    `is_target` marks the possible ones; None for all. Positions are negative where there are fewer.
    """
    steps = np.arange(-number, 0)
    if is_target is None:
        return stops[:, None] + steps
    positions = np.append(np.flatnonzero(is_target.values), 0)  # so that it is never empty
    counts = offsets_of(is_target.values)  # targets before each interaction
    index = counts[is_target.starts + stops][:, None] + steps
    starts = is_target.starts[:, None]
    return np.where(index >= counts[starts], positions[np.maximum(index, 0)] - starts, -1)


@dataclass(frozen=True)
class SplitLengths:
    """The first items of every history that are in a part, (histories,) each; `ABSENT` where the user is not in it.

    `targets` are the positions of the targets of validation and test, (histories, n) each. A history ends before its
    first target. `known` are the first items of every history that precede the targets of a part, (histories,) each:
    also of users who are not in the part.
    """

    train: IntArray
    targets: Mapping[str, IntArray]
    known: Mapping[str, IntArray]
    listed: bool = False  # whether targets are lists
    cuts: tuple[Any, Any] = (None, None)  # times at which validation and test begin

    @property
    def validation(self) -> IntArray:
        return self.targets["validation"][:, 0]

    @property
    def test(self) -> IntArray:
        return self.targets["test"][:, 0]

    def users(self, part: str) -> IntArray:
        """The users of a part, in ascending order."""
        return np.flatnonzero(getattr(self, part) != ABSENT)

    def scattered(self, mask: Bools) -> SplitLengths:
        """The same for more users; the present ones are those with a true `mask`."""

        def scatter(values: IntArray) -> IntArray:
            scattered = np.full((len(mask), *values.shape[1:]), ABSENT)
            scattered[mask] = values
            return scattered

        targets, known = (
            {part: scatter(values) for part, values in parts.items()} for parts in (self.targets, self.known)
        )
        return SplitLengths(scatter(self.train), targets, known, self.listed, self.cuts)


def split_at_ends(
    lengths: IntArray, targets: IntArray, listed: bool, target_events: TargetEvents = None
) -> SplitLengths:
    """`leave_one_out` or `last_n`, by the positions of the targets of validation, then of test, (histories, 2n).

    ValueError if no history is long enough.
    """
    n = targets.shape[1] // 2
    kinds = "" if target_events is None else f", {2 * n} of them {' or '.join(target_events)},"
    purpose = f"that {n} targets per user need: use a smaller n" if listed else "of leave-one-out"
    problem = f"None of {len(lengths):,} histories has the {2 * n + 1} interactions{kinds} {purpose}"
    split = _require(targets[:, 0] > 0, problem)
    targets = np.where(split[:, None], targets, ABSENT)
    complete = np.where(lengths > 0, lengths, ABSENT)
    known = {part: np.where(split, targets[:, first], complete) for part, first in (("validation", 0), ("test", n))}
    held_out = {"validation": targets[:, :n], "test": targets[:, n:]}
    return SplitLengths(known["validation"], held_out, known, listed)


def split_in_time(
    before: Sequence[IntArray], last: Sequence[IntArray], quantile: float, cuts: tuple[Any, Any]
) -> SplitLengths:
    """`global_temporal_split` at the cuts of validation and test; ValueError if a part is empty.

    `before` are the interactions of every history before each cut, (histories,) each, and `last` the positions of its
    last possible targets for validation and test, (histories, 1) each.
    """
    problem = f"A temporal split at the quantile {quantile} (cuts at {cuts[0]} and {cuts[1]}) leaves no"
    fix = "change the quantile, or give more data"
    _require(before[0] > 0, f"{problem} training interaction: {fix}")
    known = {part: np.where(count > 0, count, ABSENT) for part, count in zip(HELD_OUT, before, strict=True)}
    targets = {}
    for part, count, positions in zip(HELD_OUT, before, last, strict=True):
        chosen = (positions >= count[:, None]) & (positions > 0)
        _require(chosen, f"{problem} {part} target: {fix}")
        targets[part] = np.where(chosen, positions, ABSENT)
    return SplitLengths(known["validation"], targets, known, cuts=cuts)


def _require(rows: Bools, problem: str) -> Bools:
    """Return `rows`; ValueError if none is true."""
    if not rows.any():
        raise ValueError(problem)
    return rows


def check_temporal(quantile: float, timed: bool) -> None:
    """Raise ValueError for a quantile out of range, or histories without times."""
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, both excluded, not {quantile}")
    if not timed:
        raise ValueError("A temporal split needs timestamps, and these histories have none: use leave_one_out")


def _cut(times: npt.NDArray[Any], quantile: float) -> Any:
    position = cut_position(len(times), quantile)
    return np.partition(times, position)[position].item()


def cut_position(total: int, quantile: float) -> int:
    """The position of a cut among `total` times in order; the time at it exists, so that no cut depends on rounding."""
    if not total:
        raise ValueError("No interaction is before the cut: all timestamps are the same, or there are none")
    return int(quantile * total)


def count_before(times: Ragged, cut: Any) -> IntArray:
    """The number of timestamps before the cut in each row; rows are ascending, so they come first."""
    before = np.concatenate([[0], np.cumsum(times.values < cut)])
    return before[times.offsets[1:]] - before[times.offsets[:-1]]


def _datasets(histories: Dataset, parts: SplitLengths) -> DatasetDict:
    """The three parts."""
    train = _rows(histories, parts.train)
    # If these are the same rows, they share their memory.
    validation = train if np.array_equal(parts.train, parts.validation) else _rows(histories, parts.validation)
    rows = {"validation": validation, "test": _rows(histories, parts.test)}
    held_out = {
        part: _with_targets(rows[part], histories, parts.users(part), parts.targets[part], parts.listed, cut)
        for part, cut in zip(HELD_OUT, parts.cuts, strict=True)
    }
    return DatasetDict(train=train, **held_out)


def _rows(histories: Dataset, lengths: IntArray) -> Dataset:
    """The first `lengths` items of every history, (histories,), without those that are `ABSENT`."""
    present = lengths != ABSENT
    lengths = np.where(present, lengths, 0)
    columns = {"user_id": histories.with_format("arrow")[:]["user_id"].filter(pa.array(present))}
    for name in TARGET_COLUMNS:
        if name in histories.features:
            values, offsets = flat_column(histories, name)
            runs = np.stack([lengths, np.diff(offsets) - lengths], axis=1)  # (histories, 2): first items, the rest
            mask = pa.array(np.repeat(np.tile([True, False], len(runs)), runs.ravel()))
            columns[name] = pa.LargeListArray.from_arrays(offsets_of(lengths[present]), values.filter(mask))
    return dataset_of(pa.table(columns), Features({name: histories.features[name] for name in columns}))


def _with_targets(
    rows: Dataset, histories: Dataset, users: IntArray, positions: IntArray, listed: bool, cut: Any
) -> Dataset:
    """The rows of these users with their targets, at `positions` (histories, n), as lists or single values."""
    table, features = rows.data.table, dict(rows.features)
    for name, single in TARGET_COLUMNS.items():
        if name not in features or single is None:
            continue
        values, offsets = flat_column(histories, name)
        targets = values.take(pa.array((offsets[users, None] + positions[users]).ravel()))
        if listed:
            ends = np.arange(len(rows) + 1, dtype=np.int64) * positions.shape[1]
            features[f"{single}s"] = features[name]
            table = table.append_column(f"{single}s", pa.LargeListArray.from_arrays(ends, targets))
        else:
            features[single] = features[name].feature
            table = table.append_column(single, targets)
    if cut is not None:
        features["cut"] = features["timestamps"].feature
        table = table.append_column("cut", pa.array(np.full(len(rows), cut)))
    return dataset_of(table, Features(features))
