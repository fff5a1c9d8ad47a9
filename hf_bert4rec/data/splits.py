"""Splits of histories into training, validation and test, the leakage check, and the hash of the targets.

Every split is a `DatasetDict{train, validation, test}` with the columns user_id, item_ids and, if the histories have
them, timestamps, events and weights. Validation and test rows also have `target`, `target_timestamp` and
`target_event`, or the lists `targets`, `target_timestamps` and `target_events`. Rows keep the order of the histories.

Where histories have kinds of events, only those of `target_events` are held out, and a history is everything before
its targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features

from .arguments import DataArguments
from .ragged import IntArray, Ragged, flat_column, offsets_of
from .tables import dataset_of, to_frame

Bools = npt.NDArray[np.bool_]
TargetEvents = Sequence[str] | None
# List columns of histories, and the names of their values at a target.
LISTS = {"item_ids": "target", "timestamps": "target_timestamp", "events": "target_event", "weights": None}


class LeakageError(ValueError):
    """A split in which training data or a history contain a target."""


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
    return _split_ends(histories, 1, 0, "of leave-one-out", target_events)


def last_n(histories: Dataset, n: int, target_events: TargetEvents = None) -> DatasetDict:
    """Test on each user's last `n` items, validate on the `n` before them, train on the rest.

    As `leave_one_out`, with `n` targets per row, oldest first, in the list columns `targets` and `target_timestamps`.
    The test history includes the validation items. A history of fewer than 2n + 1 interactions is in train only.

    Raises:
        ValueError: `n` is below 1, or no history has 2n + 1 interactions.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more targets per user, not {n}")
    return _split_ends(histories, n, n, f"that {n} targets per user need: use a smaller n", target_events)


def _split_ends(histories: Dataset, n: int, list_size: int, purpose: str, target_events: TargetEvents) -> DatasetDict:
    """Test histories on their last n targets, validate on the n before, if an item precedes; see `_with_targets`."""
    lengths = np.diff(flat_column(histories, "item_ids")[1])
    targets = _last_targets(histories, target_events, 2 * n, lengths)
    kinds = "" if target_events is None else f", {2 * n} of them {' or '.join(target_events)},"
    problem = f"None of {len(lengths):,} histories has the {2 * n + 1} interactions{kinds} {purpose}"
    split = require(targets[:, 0] > 0, problem)
    train = _rows(histories, lengths > 0, np.where(split, targets[:, 0], lengths))
    # If these are the same rows, they share their memory.
    validation = train if split.all() else _rows(histories, split, targets[:, 0])
    test = _rows(histories, split, targets[:, n])
    return DatasetDict(
        train=train,
        validation=_with_targets(validation, histories, split, targets[:, :n], list_size),
        test=_with_targets(test, histories, split, targets[:, n:], list_size),
    )


def _last_targets(histories: Dataset, target_events: TargetEvents, number: int, stops: IntArray) -> IntArray:
    """Positions (histories, number) of the last possible targets among the first `stops` items of every history.

    Negative where there are fewer.
    """
    steps = np.arange(-number, 0)
    if target_events is None:
        return stops[:, None] + steps
    events, offsets = flat_column(histories, "events")
    is_target = pa.compute.is_in(events, value_set=pa.array(target_events, events.type)).to_numpy(zero_copy_only=False)
    positions = np.append(np.flatnonzero(is_target), 0)  # so that it is never empty
    counts = offsets_of(is_target)  # targets before each interaction
    index = counts[offsets[:-1] + stops][:, None] + steps
    starts = offsets[:-1, None]
    return np.where(index >= counts[starts], positions[np.maximum(index, 0)] - starts, -1)


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
    validation_cut = _cut(times.values[times.values < test_cut], quantile)
    trained, validated = count_before(times, validation_cut), count_before(times, test_cut)
    targets = [_last_targets(histories, target_events, 1, stops) for stops in (validated, times.lengths)]
    last = [positions[:, 0] for positions in targets]
    train, *parts = temporal_parts((trained, validated), last, quantile, (validation_cut, test_cut))
    validation, test = (
        _with_targets(_rows(histories, part, stops), histories, part, positions, cut=cut)
        for part, stops, positions, cut in zip(parts, last, targets, (validation_cut, test_cut), strict=True)
    )
    return DatasetDict(train=_rows(histories, train, trained), validation=validation, test=test)


def check_temporal(quantile: float, timed: bool) -> None:
    """Raise ValueError for a quantile out of range, or histories without times."""
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, both excluded, not {quantile}")
    if not timed:
        raise ValueError("A temporal split needs timestamps, and these histories have none: use leave_one_out")


def temporal_parts(
    before: tuple[IntArray, IntArray], last: Sequence[IntArray], quantile: float, cuts: tuple[Any, Any]
) -> tuple[Bools, Bools, Bools]:
    """Which histories (rows,) are in train, validation and test.

    Args:
        before: interactions of every history before the cut of validation, and before that of test, (rows,) each.
        last: positions of the last possible target before the cut of test, and of all, (rows,) each.

    Raises:
        ValueError: a part is empty.
    """
    problem = f"A temporal split at the quantile {quantile} (cuts at {cuts[0]} and {cuts[1]}) leaves no"
    fix = "change the quantile, or give more data"
    return (
        require(before[0] > 0, f"{problem} training interaction: {fix}"),
        require((last[0] >= before[0]) & (last[0] > 0), f"{problem} validation target: {fix}"),
        require((last[1] >= before[1]) & (last[1] > 0), f"{problem} test target: {fix}"),
    )


def require(rows: Bools, problem: str) -> Bools:
    """Return `rows`; ValueError if none is true."""
    if not rows.any():
        raise ValueError(problem)
    return rows


def _cut(times: npt.NDArray[Any], quantile: float) -> Any:
    """The timestamp at `quantile`; an existing one, so that the cut does not depend on rounding."""
    if not len(times):
        raise ValueError("No interaction is before the cut: all timestamps are the same, or there are none")
    position = int(quantile * len(times))
    return np.partition(times, position)[position].item()


def count_before(times: Ragged, cut: Any) -> IntArray:
    """The number of timestamps before the cut in each row; rows are ascending, so they come first."""
    before = np.concatenate([[0], np.cumsum(times.values < cut)])
    return before[times.offsets[1:]] - before[times.offsets[:-1]]


def _rows(histories: Dataset, keep: Bools, lengths: IntArray) -> Dataset:
    """The histories with `keep`, cut to their first `lengths` items; both arrays have one entry per history."""
    lengths = np.where(keep, lengths, 0)
    columns = {"user_id": histories.with_format("arrow")[:]["user_id"].filter(pa.array(keep))}
    for name in LISTS:
        if name in histories.features:
            values, offsets = flat_column(histories, name)
            runs = np.stack([lengths, np.diff(offsets) - lengths], axis=1)  # (histories, 2): first items, the rest
            mask = pa.array(np.repeat(np.tile([True, False], len(runs)), runs.ravel()))
            columns[name] = pa.LargeListArray.from_arrays(offsets_of(lengths[keep]), values.filter(mask))
    return dataset_of(pa.table(columns), Features({name: histories.features[name] for name in columns}))


def _with_targets(
    rows: Dataset, histories: Dataset, keep: Bools, positions: IntArray, list_size: int = 0, cut: Any = None
) -> Dataset:
    """The rows with the targets of the histories with `keep`, those at `positions` (histories, n).

    Targets are lists of `list_size`, which is n, or with `list_size` 0 single values.
    """
    table, features = rows.data.table, dict(rows.features)
    for name, single in LISTS.items():
        if name not in features or single is None:
            continue
        values, offsets = flat_column(histories, name)
        targets = values.take(pa.array((offsets[:-1, None] + positions)[keep].ravel()))
        if list_size:
            ends = np.arange(len(rows) + 1, dtype=np.int64) * list_size
            features[f"{single}s"] = features[name]
            table = table.append_column(f"{single}s", pa.LargeListArray.from_arrays(ends, targets))
        else:
            features[single] = features[name].feature
            table = table.append_column(single, targets)
    if cut is not None:
        features["cut"] = features["timestamps"].feature
        table = table.append_column("cut", pa.array(np.full(len(rows), cut)))
    return dataset_of(table, Features(features))


def check_leakage(split: DatasetDict, repeats: bool = False) -> None:
    """Check that no part of a split contains the targets of another; seconds on 25 million interactions.

    For validation and test: no target is in its own history; no history continues after its target; no training row of
    the user contains a target; no validation history contains the user's test target; and with a column `cut`, targets
    are at or after it and all training interactions before it.

    With `repeats` a history may contain its target, from earlier interactions; elsewhere a user must not have more
    interactions with the target than in that history. Where there are kinds of events, a target is one item and kind.

    Raises:
        LeakageError: One of these fails.
    """
    train = _pairs(split["train"], "item_ids")
    for part in ("validation", "test"):
        targets, history = _pairs(split[part], _target_column(split[part])), _pairs(split[part], "item_ids")
        if not repeats:
            _refuse_overlap(targets, history, history.clear(), f"{part} target", f"the same user's {part} history")
        _refuse_overlap(targets, train, history, f"{part} target", "the same user's training history")
        _check_order(split[part], part)
        _check_cut(split["train"], split[part], part)
    test_targets = _pairs(split["test"], _target_column(split["test"]))
    validation, test = _pairs(split["validation"], "item_ids"), _pairs(split["test"], "item_ids")
    _refuse_overlap(test_targets, validation, test, "test target", "the same user's validation history")


def _target_column(rows: Dataset) -> str:
    for name in ("target", "targets"):
        if name in rows.column_names:
            return name
    raise ValueError(f"These rows have neither a column 'target' nor 'targets', only {rows.column_names}")


def _pairs(rows: Dataset, column: str) -> pl.DataFrame:
    """(user_id, item) and, if known, event; one row per entry of a plain or list column."""
    event = {"item_ids": "events", "target": "target_event", "targets": "target_events"}[column]
    names = {column: "item"} | ({event: "event"} if event in rows.column_names else {})
    frame = to_frame(rows, ["user_id", *names]).rename(names)
    return frame.explode(*names.values()) if isinstance(frame["item"].dtype, pl.List) else frame


def _refuse_overlap(targets: pl.DataFrame, seen: pl.DataFrame, allowed: pl.DataFrame, what: str, where: str) -> None:
    """Raise LeakageError if `seen` has a target, more often than `allowed` has it."""
    pair = targets.columns
    # The join hashes its right side: the targets, which are few.
    counts = seen.join(targets, on=pair, how="semi").group_by(pair).len()
    if not counts.height:
        return
    allowances = allowed.join(counts, on=pair, how="semi").group_by(pair).len()
    leaked = counts.join(allowances, on=pair, how="left").filter(pl.col("len") > pl.col("len_right").fill_null(0))
    if leaked.height:
        user, item, *_ = leaked.sort(pair).row(0)
        raise LeakageError(
            f"{leaked.height:,} of {targets.height:,} times a {what} is in {where}; the first is item {item!r} of user "
            f"{user!r}. Build the histories with build_histories, which keeps each item once, and split again."
        )


def target_times(rows: Dataset) -> npt.NDArray[Any] | None:
    """The timestamp of every row's earliest target, shape (rows,); None without timestamps."""
    if "target_timestamp" in rows.column_names:
        return np.asarray(rows.with_format("arrow")[:]["target_timestamp"].to_numpy())
    if "target_timestamps" in rows.column_names:
        times = Ragged.from_column(rows, "target_timestamps")
        return times.values[times.offsets[:-1]]
    return None


def _check_order(rows: Dataset, part: str) -> None:
    targets = target_times(rows)
    if targets is None or "timestamps" not in rows.column_names:
        return
    times = Ragged.from_column(rows, "timestamps")
    late = np.flatnonzero(times.values > np.repeat(targets, times.lengths))
    if len(late):
        user = rows[int(times.row_ids[late[0]])]["user_id"]
        raise LeakageError(
            f"The {part} history of user {user!r} has an interaction at {times.values[late[0]]}, after its target"
        )


def _check_cut(train: Dataset, rows: Dataset, part: str) -> None:
    if "cut" not in rows.column_names:
        return
    cuts = np.asarray(rows.with_format("arrow")[:]["cut"].to_numpy())
    latest = Ragged.from_column(train, "timestamps").values.max()
    if latest >= cuts.min():
        raise LeakageError(f"Training has an interaction at {latest}, not before the {part} cut at {cuts.min()}")
    targets = target_times(rows)
    if targets is None or (targets < cuts).any():
        raise LeakageError(f"A {part} target is before the {part} cut at {cuts.min()}, or has no timestamp")


def target_hash(rows: Dataset) -> str:
    r"""The sha256, in hexadecimal, of users and targets: two runs with the same hash had the same targets.

    The bytes are, for every row of a validation or test set in row order: user id, a tab, the row's target (or its
    targets, with commas between them), a line feed; all UTF-8. Integers are in decimal without leading zeros; in text
    ids a backslash, tab, line feed and comma are `\\`, `\t`, `\n` and `\,`. So `printf '1\t50\n2\t7\n' | sha256sum` is
    the hash of user 1 with target 50 and user 2 with target 7.
    """
    frame = to_frame(rows, ["user_id", _target_column(rows)])
    user, target = frame.columns
    lists = isinstance(frame[target].dtype, pl.List)
    targets = pl.col(target).list.eval(_written(pl.element())).list.join(",") if lists else _written(pl.col(target))
    lines = frame.select(line=pl.concat_str(_written(pl.col(user)), pl.lit("\t"), targets, pl.lit("\n")))["line"]
    return hashlib.sha256("".join(lines.to_list()).encode()).hexdigest()


def _written(ids: pl.Expr) -> pl.Expr:
    text = ids.cast(pl.String)
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), (",", "\\,")):
        text = text.str.replace_all(plain, escaped, literal=True)
    return text
