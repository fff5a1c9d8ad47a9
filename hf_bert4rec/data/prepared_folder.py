"""A folder of prepared histories, in files that are memory-mapped, with a manifest that is written last.

    prepared.json            version, options, counts, splits; every other file with its size and sha256
    items.parquet            movie_id, title, year, genres, count (in training histories), in the vocabulary's order
    histories-00000.arrow    one row per user: user_id, items (row numbers of items.parquet), timestamps, ratings

Rows are sorted by user over all files, and each history by time, as `build_histories` does. `ratings` has the rating of
the first row of the table with the same user and item.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from filelock import FileLock, Timeout

from ..files import annotate_write_errors, atomic_write, write_json
from ..model.loading_bert4rec import read_object
from .mapped_histories import MappedHistories, ShardedArray
from .prepared_splits import SplitLengths, split_at_ends, split_in_time, temporal_cuts
from .ragged import IntArray, Ragged, offsets_of, repeated_rows
from .splits import check_temporal, count_before, target_hash
from .tables import to_dataset
from .user_split import held_out_masks

VERSION = 1
MANIFEST, ITEMS, SHARD = "prepared.json", "items.parquet", "histories-{:05}.arrow"
SHARDS = "histories-*.arrow"
# Options that decide the histories and their split; a folder is for one value of each.
OPTIONS = ("min_interactions", "min_rating", "repeats", "split", "targets", "quantile", "held_out_users")
MAKE_ROOM = "What was there is unchanged: free some space, then prepare again"


def is_prepared(folder: str | Path) -> bool:
    """Whether a path is a folder with the files of a preparation, complete or not."""
    folder = Path(folder)
    return folder.is_dir() and ((folder / MANIFEST).is_file() or any(folder.glob(SHARDS)))


def check_replaceable(folder: str | Path) -> None:
    """Raise FileExistsError unless `folder` is absent, empty (it is then removed), or a preparation."""
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists() and not is_prepared(folder):
        raise FileExistsError(f"{folder} holds something that is not a preparation: choose another folder or remove it")


@contextmanager
def new_folder(folder: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder, which replaces `folder` at the end of the block, and another one for work.

    Both are in a temporary folder next to it. It is removed at the end, and what a killed process left in it at the
    start.

    Raises:
        OSError: the disk is full, or another process is writing to the same folder.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.preparing")
    earlier, new, work = (temporary / name for name in ("earlier", "new", "work"))
    with annotate_write_errors(folder, MAKE_ROOM):
        temporary.mkdir(parents=True, exist_ok=True)
        lock = FileLock(temporary / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OSError(f"another process is writing to {temporary}") from error
        try:
            if earlier.is_dir() and not folder.exists():  # a process was killed between the two renames below
                earlier.replace(folder)
            for path in (earlier, new, work):
                shutil.rmtree(path, ignore_errors=True)
            new.mkdir()
            work.mkdir()
            yield new, work
            if folder.exists():
                folder.replace(earlier)
            new.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            lock.release()


def write_shard(
    path: Path,
    user_ids: pa.Array,
    lengths: IntArray,
    items: npt.NDArray[np.int32],
    times: npt.NDArray[Any] | None = None,
    ratings: npt.NDArray[np.float32] | None = None,
) -> None:
    """Write the histories of consecutive users.

    Args:
        user_ids: (users,).
        lengths: items of every user, (users,).
        items, times, ratings: of every interaction, (total,).
    """
    offsets = pa.array(offsets_of(lengths).astype(np.int32))
    columns: dict[str, Any] = {
        "user_id": user_ids.cast(pa.string() if not pa.types.is_integer(user_ids.type) else pa.int64())
    }
    for name, values in {"items": items, "timestamps": times, "ratings": ratings}.items():
        if values is not None:
            columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values))
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


@dataclass(frozen=True)
class Histories:
    """The histories of a folder: `batches` are its files, memory-mapped."""

    batches: Sequence[pa.RecordBatch]

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Histories:
        """Map files to memory.

        Raises:
            ValueError: a file is not one of `write_shard`.
        """
        batches = []
        for path in paths:
            try:
                batches.append(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0))
            except pa.ArrowInvalid as error:
                raise ValueError(f"{path} is damaged: {error}") from error
        return cls(batches)

    @cached_property
    def user_ids(self) -> pl.Series:
        """The ids of all users, (users,), sorted."""
        return pl.Series("user_id", pa.chunked_array([batch["user_id"] for batch in self.batches]))

    @cached_property
    def lengths(self) -> IntArray:
        """Items of every user, (users,)."""
        return np.concatenate([np.diff(batch["items"].offsets.to_numpy()) for batch in self.batches]).astype(np.int64)

    @cached_property
    def starts(self) -> IntArray:
        """The position of every user's first item, (users,)."""
        return offsets_of(self.lengths)[:-1]

    def array(self, name: str, lookup: IntArray | None = None) -> ShardedArray | None:
        """All values of a list column, read through `lookup`; None if the folder has none."""
        if name not in self.batches[0].schema.names:
            return None
        return ShardedArray([batch[name].values.to_numpy() for batch in self.batches], lookup)

    @property
    def items(self) -> ShardedArray:
        """The items of all histories, as row numbers of the item table."""
        items = self.array("items")
        assert items is not None
        return items

    def check(self, num_items: int, repeats: bool) -> None:
        """Raise ValueError unless users are sorted, items in the table, times ascending and, without repeats, items
        distinct.
        """
        if not (self.user_ids[1:] > self.user_ids[:-1]).all():
            raise ValueError("the users of the files are not in ascending order, or a user is in two files")
        for number, batch in enumerate(self.batches):
            items = batch["items"].values.to_numpy()
            lengths = np.diff(batch["items"].offsets.to_numpy())
            rows = np.repeat(np.arange(len(lengths)), lengths)
            name = SHARD.format(number)
            if not len(items) or items.min() < 0 or items.max() >= num_items or not lengths.all():
                raise ValueError(f"{name} has no items, an item that is not in {ITEMS}, or a user without items")
            if not repeats and len(repeated_rows(rows, items.astype(np.int64))):
                raise ValueError(f"{name}: an item is twice in a history")
            if "timestamps" in batch.schema.names:
                times = batch["timestamps"].values.to_numpy()
                if ((times[1:] < times[:-1]) & (rows[1:] == rows[:-1])).any():
                    raise ValueError(f"{name}: a history is not in the order of its times")


@dataclass(frozen=True)
class PreparedFolder:
    """A complete folder: its manifest, its item table (with the column `count`) and its histories."""

    path: Path
    manifest: dict[str, Any]
    items: pl.DataFrame
    histories: Histories

    @property
    def options(self) -> dict[str, Any]:
        """The values of `OPTIONS`."""
        return self.manifest["options"]

    @cached_property
    def splits(self) -> SplitLengths:
        """How many items of every history are in each part."""
        return compute_splits(self.histories, self.options)


def open_folder(folder: str | Path) -> PreparedFolder:
    """Check a folder and map its histories to memory.

    Raises:
        ValueError: the folder is incomplete, of another version, or a file is missing, damaged or of another folder.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    files = manifest["files"]
    if surplus := sorted({path.name for path in folder.glob(SHARDS)} - set(files)):
        raise ValueError(f"{folder / surplus[0]} is not in {MANIFEST}: it belongs to another preparation; remove it")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing: {MANIFEST} lists it. Prepare the table again")
        if path.stat().st_size != expected["bytes"] or file_sha256(path) != expected["sha256"]:
            raise ValueError(
                f"{path} is not the file that {MANIFEST} describes: it is damaged, or of another preparation. Prepare "
                "the table again"
            )
    histories = Histories.open([folder / name for name in files if name != ITEMS])
    return PreparedFolder(folder, manifest, pl.read_parquet(folder / ITEMS), histories)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        ValueError: it is missing, damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"{folder} is incomplete: {MANIFEST}, which is written last, is missing. Prepare the table again"
        )
    manifest = read_object(path)
    if manifest.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {manifest.get('version')!r} of the layout, and this package reads {VERSION}: prepare "
            "the table again, or install the version of the package that wrote it"
        )
    return manifest


def finish_folder(
    folder: Path, name: str, item_id_name: str, items: pl.DataFrame, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Check the histories of a folder, write its item table and, as the last file, its manifest.

    Args:
        name: of the data set.
        item_id_name: the table's name of what `movie_id` holds.
        items: movie_id, title, year and genres, in the vocabulary's order.
        options: values of `OPTIONS`.

    Raises:
        ValueError: a file breaks a rule of the layout, or a part of the split is empty.
    """
    paths = sorted(folder.glob(SHARDS))
    histories = Histories.open(paths)
    histories.check(len(items), repeats=options["repeats"] == "all")
    splits = compute_splits(histories, options)
    counts = np.zeros(len(items), dtype=np.int64)
    for block in part_histories(histories, splits, "train").blocks():
        counts += np.bincount(block.values, minlength=len(items))
    with atomic_write(folder / ITEMS) as temporary:
        items.with_columns(count=pl.Series(counts)).write_parquet(temporary)
    manifest = {
        "version": VERSION,
        "name": name,
        "item_id_name": item_id_name,
        "options": {option: options[option] for option in OPTIONS},
        "users": len(histories.lengths),
        "items": len(items),
        "interactions": len(histories.items),
        "columns": histories.batches[0].schema.names,
        "splits": {
            "train": {"users": len(splits.users("train")), "interactions": int(counts.sum())},
            **{part: _part_record(histories, splits, part, items["movie_id"]) for part in ("validation", "test")},
        },
        "files": {path.name: _file_record(path) for path in [folder / ITEMS, *paths]},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _part_record(histories: Histories, splits: SplitLengths, part: str, item_ids: pl.Series) -> dict[str, Any]:
    rows = splits.users(part)
    targets = item_ids.gather(part_targets(histories, splits, part))
    column = (
        {"target": targets}
        if splits.target_column == "target"
        else {"targets": targets.reshape((len(rows), splits.targets)).arr.to_list()}
    )
    table = pl.DataFrame({"user_id": histories.user_ids.gather(rows), **column})
    return {"users": len(rows), "targets_sha256": target_hash(to_dataset(table))}


def _file_record(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compute_splits(histories: Histories, options: Mapping[str, Any]) -> SplitLengths:
    """The split of the users who are not held out; the others are `ABSENT` in all parts.

    Raises:
        ValueError: a part would be empty, or an option is out of range.
    """
    training = held_out_masks(histories.user_ids, options["held_out_users"])["training"]
    lengths = histories.lengths[training]
    if options["split"] == "temporal":
        times = histories.array("timestamps")
        check_temporal(options["quantile"], times is not None)
        assert times is not None
        of_training = partial(_selected, times, training, histories)
        cuts = temporal_cuts(of_training, options["quantile"])
        splits = split_in_time(
            lengths, options["quantile"], cuts, lambda cut: _count_before(times, histories, cut)[training]
        )
    else:
        splits = split_at_ends(lengths, options)
    return splits.scattered(training)


def _selected(times: ShardedArray, users: npt.NDArray[np.bool_], histories: Histories) -> Iterator[npt.NDArray[Any]]:
    """The times of these users, a file at a time."""
    if users.all():
        yield from times.parts
        return
    keep = np.split(np.repeat(users, histories.lengths), times.offsets[1:-1])
    yield from (part[chosen] for part, chosen in zip(times.parts, keep, strict=True))


def _count_before(times: ShardedArray, histories: Histories, cut: Any) -> IntArray:
    """The interactions of every user before a time, (users,)."""
    counts = []
    for part, batch in zip(times.parts, histories.batches, strict=True):
        offsets = batch["items"].offsets.to_numpy()
        counts.append(count_before(Ragged(part, offsets.astype(np.int64)), cut))
    return np.concatenate(counts)


def part_histories(
    histories: Histories, splits: SplitLengths, part: str, lookup: IntArray | None = None, timed: bool = False
) -> MappedHistories:
    """The items of a part, one row per user of the part, read through `lookup`; with times if `timed` and known."""
    rows = splits.users(part)
    items = ShardedArray(histories.items.parts, lookup)
    starts, lengths = histories.starts[rows], getattr(splits, part)[rows]
    times = histories.array("timestamps") if timed else None
    columns = {} if times is None else {"timestamps": ShardedArray(times.parts, dtype=np.int64)}
    return MappedHistories(items, starts, lengths, columns)


def part_targets(histories: Histories, splits: SplitLengths, part: str) -> IntArray:
    """The target items of a part, `splits.targets` for each of its users, (users * targets,)."""
    rows = splits.users(part)
    first = histories.starts[rows] + getattr(splits, part)[rows]
    return histories.items.take((first[:, None] + np.arange(splits.targets)).ravel())
