"""The leakage check of a split, and the hash of its targets."""

import hashlib
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict

from .tables import to_frame

REBUILD = "Build the histories with build_histories, which keeps each item once, and split again."
SPLIT_AGAIN = "Split again, and train on the training part only."


class LeakageError(ValueError):
    """A split in which training data or a history contain a target."""


def check_leakage(split: DatasetDict, repeats: bool = False) -> None:
    """Raise LeakageError if a part of a split contains targets of another; seconds on 25 million interactions.

    For validation and test: no target is in its own history or the user's training history; no history continues after
    its target; no validation history contains the user's test target; and with a column `cut`, targets are at or after
    it and all training interactions before it.

    With `repeats` a history may contain its target, from earlier interactions; elsewhere a user must not have more
    interactions with the target than in that history. Where there are event types, a target is one item and type.
    """
    histories = {part: _pairs(rows, "item_ids") for part, rows in split.items()}
    targets = {part: _pairs(split[part], _target_column(split[part])) for part in ("validation", "test")}
    for part in targets:
        target, history = f"{part} target", histories[part]
        if not repeats:
            _refuse_overlap(targets[part], history, history.clear(), target, f"the same user's {part} history")
        _refuse_overlap(targets[part], histories["train"], history, target, "the same user's training history")
        _check_times(split["train"], split[part], part)
    earlier, later = histories["validation"], histories["test"]
    _refuse_overlap(targets["test"], earlier, later, "test target", "the same user's validation history")


def _target_column(rows: Dataset) -> str:
    for name in ("target", "targets"):
        if name in rows.column_names:
            return name
    raise ValueError(f"neither a column 'target' nor 'targets' in {rows.column_names}: give a held-out part")


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
        raise leakage_error(leaked.height, targets.height, what, where, item, user)


def leakage_error(
    leaked: int, targets: int, what: str, where: str, item: Any, user: Any, fix: str = REBUILD
) -> LeakageError:
    return LeakageError(
        f"{leaked:,} of {targets:,} times a {what} is in {where}; the first is item {item!r} of user {user!r}. {fix}"
    )


def _check_times(train: Dataset, rows: Dataset, part: str) -> None:
    """Raise LeakageError if a history has an interaction after its target, or training or a target cross the cut."""
    names = ("user_id", "timestamps", "target_timestamp", "target_timestamps", "cut")
    frame = to_frame(rows, [name for name in names if name in rows.column_names])
    if "target_timestamps" in frame.columns:
        frame = frame.with_columns(target_timestamp=pl.col("target_timestamps").list.first())  # the earliest
    timed = "target_timestamp" in frame.columns
    if timed and "timestamps" in frame.columns:
        late = frame.filter(pl.col("timestamps").list.max() > pl.col("target_timestamp"))
        if late.height:
            user, time = late["user_id"][0], late["timestamps"][0].max()
            what = f"the {part} history of user {user!r} has an interaction at {time}, after its target"
            raise LeakageError(f"{what}: split the histories again")
    if "cut" in frame.columns:
        cut: Any = frame["cut"].min()
        latest: Any = to_frame(train, ["timestamps"])["timestamps"].list.max().max()
        if latest >= cut:
            raise late_training_error(latest, part, cut)
        if not timed or (frame["target_timestamp"] < frame["cut"]).any():
            what = f"a {part} target is before the {part} cut at {cut}, or has no timestamp"
            raise LeakageError(f"{what}: split the histories again")


def late_training_error(latest: Any, part: str, cut: Any, fix: str = SPLIT_AGAIN) -> LeakageError:
    return LeakageError(f"Training has an interaction at {latest}, not before the {part} cut at {cut}. {fix}")


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
    targets = pl.col(target).list.eval(_as_text(pl.element())).list.join(",") if lists else _as_text(pl.col(target))
    line, digest = pl.concat_str(_as_text(pl.col(user)), pl.lit("\t"), targets, pl.lit("\n")), hashlib.sha256()
    for rows in frame.iter_slices(1 << 16):
        digest.update("".join(rows.select(line).to_series()).encode())
    return digest.hexdigest()


def _as_text(ids: pl.Expr) -> pl.Expr:
    text = ids.cast(pl.String)
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), (",", "\\,")):
        text = text.str.replace_all(plain, escaped, literal=True)
    return text
