"""Histories into training, validation and test; the check that nothing leaks; the hash of the targets.

Every split is a `DatasetDict{train, validation, test}` with the columns user_id, item_ids and, where the
histories have them, timestamps. Validation and test rows have targets besides: `target` and `target_timestamp`
(one a row), or `targets` and `target_timestamps` (lists). Rows keep the order of the histories.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features

from .ragged import IntArray, Ragged, flat_column, offsets_of
from .tables import dataset_of, to_frame

Bools = npt.NDArray[np.bool_]


class LeakageError(ValueError):
    """A split in which training, or a history, holds what is to be predicted."""


def leave_one_out(histories: Dataset) -> DatasetDict:
    """Test on each user's last item, validate on the last but one, train on the rest.

    - train: the history without its last two items, no target. A user with fewer than three interactions stays
      whole and is in train only;
    - validation: item_ids = history[:-2], target = history[-2];
    - test: item_ids = history[:-1], which includes the validation item, target = history[-1].

    ValueError where no history has three interactions.
    """
    lengths = _lengths(histories)
    held = _require(lengths >= 3, f"Of {len(lengths):,} histories none has the 3 interactions that leave-one-out needs")
    return _hold_ends_out(histories, lengths, held, 1, 0)


def last_n(histories: Dataset, n: int) -> DatasetDict:
    """Test on each user's last `n` items, validate on the `n` before them, train on the rest.

    As `leave_one_out`, with `n` targets a row, oldest first, in the list columns `targets` and
    `target_timestamps`. The test history includes the validation items. A user with fewer than 2n + 1
    interactions stays whole and is in train only. ValueError where every user is such a one.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more targets a user, not {n}")
    lengths = _lengths(histories)
    problem = f"Of {len(lengths):,} histories none has the {2 * n + 1} interactions that {n} targets a user need"
    held = _require(lengths >= 2 * n + 1, f"{problem}: take a smaller n")
    return _hold_ends_out(histories, lengths, held, n, n)


def _lengths(histories: Dataset) -> IntArray:
    return np.diff(flat_column(histories, "item_ids")[1])


def _hold_ends_out(histories: Dataset, lengths: IntArray, held: Bools, n: int, number: int) -> DatasetDict:
    """Test the `held` users on their last n items, validate on the n before; `number` as in `_asked`."""
    train = _rows(histories, lengths > 0, np.where(held, lengths - 2 * n, lengths))
    # Mostly the same rows: then they share their memory.
    known = train if held.all() else _rows(histories, held, lengths - 2 * n)
    tested = _rows(histories, held, lengths - n)
    return DatasetDict(
        train=train,
        validation=_asked(known, histories, held, lengths - 2 * n, number),
        test=_asked(tested, histories, held, lengths - n, number),
    )


def global_temporal_split(histories: Dataset, quantile: float = 0.9) -> DatasetDict:
    """Train on the past of one moment in time and test on what came after it, the same moment for all users.

    The test cut is the timestamp at `quantile` of all interactions, the validation cut the one at `quantile` of
    those before the test cut (0.9: about 81 % of the interactions train, 9 % validate, 10 % test).

    - train: interactions strictly before the validation cut, of any user who has some, no target;
    - validation: target = the user's last interaction before the test cut, where it is not before the
      validation cut; item_ids = everything before that interaction;
    - test: target = the user's last interaction, where it is not before the test cut; item_ids = everything
      before it, which may lie after the cut: it is known when the question is asked.

    A user with nothing before the target is left out of that part. The rows carry the `cut` that they were made
    with, so that `check_leakage` can hold the split to it. ValueError without timestamps, for a quantile outside
    (0, 1), and where a part would be empty.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1, both excluded, not {quantile}")
    if "timestamps" not in histories.column_names:
        raise ValueError("A temporal split needs timestamps, and these histories have none: use leave_one_out")
    times = Ragged.from_column(histories, "timestamps")
    test_cut = _cut(times.values, quantile)
    validation_cut = _cut(times.values[times.values < test_cut], quantile)
    trained, validated = _count_before(times, validation_cut), _count_before(times, test_cut)
    problem = f"A temporal split at the quantile {quantile} (cuts at {validation_cut} and {test_cut}) leaves no"
    mend = "move the quantile, or give more data"
    train = _require(trained > 0, f"{problem} training interaction: {mend}")
    validation = _require((validated > trained) & (validated > 1), f"{problem} validation target: {mend}")
    test = _require((times.lengths > validated) & (times.lengths > 1), f"{problem} test target: {mend}")
    last = times.lengths - 1
    known, tested = _rows(histories, validation, validated - 1), _rows(histories, test, last)
    return DatasetDict(
        train=_rows(histories, train, trained),
        validation=_asked(known, histories, validation, validated - 1, cut=validation_cut),
        test=_asked(tested, histories, test, last, cut=test_cut),
    )


def _require(rows: Bools, problem: str) -> Bools:
    if not rows.any():
        raise ValueError(problem)
    return rows


def _cut(times: npt.NDArray[Any], quantile: float) -> Any:
    """The timestamp at `quantile`: an existing one, so that the cut does not depend on rounding."""
    if not len(times):
        raise ValueError("No interaction lies before the cut: all timestamps are the same, or there are none")
    place = int(quantile * len(times))
    return np.partition(times, place)[place].item()


def _count_before(times: Ragged, cut: Any) -> IntArray:
    """How many of each row's timestamps lie before the cut; rows are in order, so these come first."""
    before = np.concatenate([[0], np.cumsum(times.values < cut)])
    return before[times.offsets[1:]] - before[times.offsets[:-1]]


def _rows(histories: Dataset, keep: Bools, lengths: IntArray) -> Dataset:
    """The kept users with the first `lengths` items of each history; both arrays have one entry a history."""
    kept = np.where(keep, lengths, 0)
    columns = {"user_id": histories.with_format("arrow")[:]["user_id"].filter(pa.array(keep))}
    for name in ("item_ids", "timestamps"):
        if name in histories.features:
            values, offsets = flat_column(histories, name)
            runs = np.stack([kept, np.diff(offsets) - kept], axis=1)  # (histories, 2): taken, left
            taken = pa.array(np.repeat(np.tile([True, False], len(runs)), runs.ravel()))
            columns[name] = pa.LargeListArray.from_arrays(offsets_of(lengths[keep]), values.filter(taken))
    return dataset_of(pa.table(columns), Features({name: histories.features[name] for name in columns}))


def _asked(
    rows: Dataset, histories: Dataset, keep: Bools, first: IntArray, number: int = 0, cut: Any = None
) -> Dataset:
    """The rows with the targets of the kept histories, which begin at the places `first` (histories,).

    `number` of them go into a list, or one into a plain column where `number` is 0.
    """
    table, features = rows.data.table, dict(rows.features)
    for name, single in (("item_ids", "target"), ("timestamps", "target_timestamp")):
        if name not in features:
            continue
        values, offsets = flat_column(histories, name)
        starts = offsets[:-1][keep] + first[keep]
        targets = values.take(pa.array((starts[:, None] + np.arange(max(number, 1))).ravel()))
        if number:
            ends = np.arange(len(starts) + 1, dtype=np.int64) * number
            features[f"{single}s"] = features[name]
            table = table.append_column(f"{single}s", pa.LargeListArray.from_arrays(ends, targets))
        else:
            features[single] = features[name].feature
            table = table.append_column(single, targets)
    if cut is not None:
        features["cut"] = features["timestamps"].feature
        table = table.append_column("cut", pa.array(np.full(len(rows), cut)))
    return dataset_of(table, Features(features))


def check_leakage(split: DatasetDict) -> None:
    """Raise `LeakageError` where a part of the split knows what another is asked.

    Checked, for validation and for test: no target stands in its own history; no history goes on after its
    target; no training row of the user holds a target; no validation history holds the user's test target; and
    where rows carry a `cut`, targets lie at or after it and all training interactions before it. Takes seconds
    on 25 million interactions.
    """
    train = _pairs(split["train"], "item_ids")
    for part in ("validation", "test"):
        targets = _pairs(split[part], _target_column(split[part]))
        _refuse_overlap(targets, _pairs(split[part], "item_ids"), f"{part} target", f"the same user's {part} history")
        _refuse_overlap(targets, train, f"{part} target", "the same user's training history")
        _check_order(split[part], part)
        _check_cut(split["train"], split[part], part)
    tested = _pairs(split["test"], _target_column(split["test"]))
    asked = _pairs(split["validation"], "item_ids")
    _refuse_overlap(tested, asked, "test target", "the same user's validation history")


def _target_column(rows: Dataset) -> str:
    for name in ("target", "targets"):
        if name in rows.column_names:
            return name
    raise ValueError(f"These rows have neither a column 'target' nor 'targets', only {rows.column_names}")


def _pairs(rows: Dataset, column: str) -> pl.DataFrame:
    """(user_id, item), one row for every entry of a plain or list column."""
    frame = to_frame(rows, ["user_id", column]).rename({column: "item"})
    return frame.explode("item") if isinstance(frame["item"].dtype, pl.List) else frame


def _refuse_overlap(targets: pl.DataFrame, seen: pl.DataFrame, what: str, where: str) -> None:
    # The few targets are the side that is hashed, the many seen items the side that streams past.
    leaked = seen.join(targets, on=["user_id", "item"], how="semi")
    if leaked.height:
        user, item = leaked.row(0)
        raise LeakageError(
            f"{leaked.height:,} times a {what} stands in {where}; the first is item {item!r} of user {user!r} "
            f"({targets.height:,} targets in all). "
            "Build the histories with build_histories, which keeps each item once, and split anew."
        )


def target_times(rows: Dataset) -> npt.NDArray[Any] | None:
    """The earliest target's timestamp of every row, shape (rows,); None where there are no timestamps."""
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
            f"The {part} history of user {user!r} holds an interaction at {times.values[late[0]]}, after its target"
        )


def _check_cut(train: Dataset, rows: Dataset, part: str) -> None:
    if "cut" not in rows.column_names:
        return
    cuts = np.asarray(rows.with_format("arrow")[:]["cut"].to_numpy())
    latest = Ragged.from_column(train, "timestamps").values.max()
    if latest >= cuts.min():
        raise LeakageError(f"Training holds an interaction at {latest}, not before the {part} cut at {cuts.min()}")
    targets = target_times(rows)
    if targets is None or (targets < cuts).any():
        raise LeakageError(f"A {part} target lies before the {part} cut at {cuts.min()}, or has no timestamp")


def target_hash(rows: Dataset) -> str:
    r"""sha256, in hexadecimal, of who is asked for what: two runs with the same hash had the same targets.

    The bytes are, for every row of a validation or test set in row order: user id, a tab, the row's target (or
    its targets, with a comma between them), a line feed; all UTF-8. Whole numbers are written in decimal
    without leading zeros; in string ids a backslash, tab, line feed and comma are written `\\`, `\t`, `\n`
    and `\,`. So `printf '1\t50\n2\t7\n' | sha256sum` is the hash of user 1 with target 50, user 2 with target 7.
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
