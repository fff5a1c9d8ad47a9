"""A folder of prepared histories, which are memory-mapped: docs/large_data.md describes its files.

Rows are sorted by user over all files, and each history by time, as `build_histories` does.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from ...files import annotate_write_errors, atomic_write, write_json
from ...model.loading_bert4rec import read_object
from ...model.tokenization_bert4rec import Bert4RecTokenizer
from ..arguments import DataArguments
from ..items import item_id_name
from ..leakage import target_hash
from ..prepared import PreparedData, build_tokenizer
from ..splits import HELD_OUT
from ..stored_histories import ITEMS, SHARDS, Histories, SplitHistories
from ..tables import table_name, to_dataset

VERSION = 2
MANIFEST = "prepared.json"
# Options that decide the histories and their split; a folder is for one value of each.
OPTIONS = (
    *("min_interactions", "min_rating", "repeats", "split", "targets", "quantile", "held_out_users"),
    *("event_column", "target_events", "weight_column"),
)
DISK_FULL_HINT = "What was there is unchanged: free some space, then prepare again"


def is_prepared(folder: str | Path | None) -> bool:
    """Whether a path is a folder with the files of a preparation, complete or not."""
    if folder is None:
        return False
    folder = Path(folder)
    return folder.is_dir() and ((folder / MANIFEST).is_file() or any(folder.glob(SHARDS)))


def check_folders(table: str | None, folder: str | Path) -> None:
    """Check the source and the target of a preparation.

    Raises:
        FileExistsError: `folder` is neither absent, empty (it is then removed), nor a preparation.
        ValueError: the table is a preparation, or a folder that would hold `folder`.
    """
    folder = Path(folder)
    if table is not None:
        if is_prepared(table):
            raise ValueError(f"{table} has prepared histories already: name the table that they were prepared from")
        if Path(table).resolve() in folder.resolve().parents:
            raise ValueError(f"{folder} is in {table}, whose files are all read as tables: choose a folder elsewhere")
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists() and not is_prepared(folder):
        raise FileExistsError(f"{folder} holds something that is not a preparation: choose another folder or remove it")


@contextmanager
def new_folder(folder: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder, which replaces `folder` at the end of the block, and another one for work.

    Both are in a temporary folder next to it. It is removed at the end, and what a killed process left in it at the
    start. OSError if the disk is full, or another process is writing to the same folder.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.preparing")
    earlier, new, work = (temporary / name for name in ("earlier", "new", "work"))
    with annotate_write_errors(folder, DISK_FULL_HINT):
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
            if earlier.is_dir() and not folder.exists():  # the second rename failed
                earlier.replace(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            lock.release()


def open_folder(
    folder: str | Path, arguments: DataArguments, tokenizer: Bert4RecTokenizer | None = None
) -> PreparedData:
    """Check a folder, map its histories to memory, and split them by `arguments`.

    `tokenizer` takes the place of that of its items. ValueError if it is incomplete, damaged or of another version.
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
        if path.stat().st_size != expected["bytes"] or _file_record(path) != expected:
            raise ValueError(
                f"{path} is not the file that {MANIFEST} describes: it is damaged, or of another preparation. Prepare "
                "the table again"
            )
    histories = Histories.open([folder / name for name in files if name != ITEMS])
    items, event_names = pl.read_parquet(folder / ITEMS), manifest["event_names"]
    movies, counts = to_dataset(items.drop("count")), items["count"].to_list()
    if tokenizer is None:
        tokenizer = build_tokenizer(movies, counts, manifest["item_id_name"], event_names, arguments)
    return PreparedData(manifest["name"], movies, SplitHistories(histories, arguments), tokenizer, event_names)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; ValueError if it is missing, damaged, or of another version."""
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
    if manifest.pop("sha256", None) != _digest(manifest):
        raise ValueError(f"{path} is damaged, or was changed after preparation. Prepare the table again")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def finish_folder(
    folder: Path, arguments: DataArguments, item_column: str, items: pl.DataFrame, event_names: Sequence[str]
) -> dict[str, Any]:
    """Check the histories of a folder, write its item table and, as the last file, its manifest.

    `items` has movie_id, title, year and genres, in the vocabulary's order; `item_column` is the table's name of ids,
    and `event_names` those of `order_events`. ValueError if a file breaks a rule of the layout, or a part of the split
    is empty.
    """
    options = {option: getattr(arguments, option) for option in OPTIONS}
    paths = sorted(folder.glob(SHARDS))
    histories = Histories.open(paths)
    histories.check(len(items), repeats=options["repeats"] == "all")
    split = SplitHistories(histories, arguments)
    with atomic_write(folder / ITEMS) as temporary:
        items.with_columns(count=pl.Series(split.label_counts(len(items)))).write_parquet(temporary)
    users = split.lengths.users("train")
    train = {"users": len(users), "interactions": int(split.lengths.train[users].sum())}
    held_out = {part: split.targets(part, items["movie_id"]) for part in HELD_OUT}
    manifest = {
        "version": VERSION,
        "name": table_name(str(arguments.ratings)),
        "item_id_name": item_id_name(item_column),
        "options": options,
        "event_names": [*event_names],
        "users": len(histories.lengths),
        "items": len(items),
        "interactions": int(histories.lengths.sum()),
        "columns": ["user_id", "items", *histories.parts[0].columns],
        "splits": {
            "train": train,
            **{part: {"users": len(rows), "targets_sha256": target_hash(rows)} for part, rows in held_out.items()},
        },
        "files": {path.name: _file_record(path) for path in [folder / ITEMS, *paths]},
    }
    write_json(folder / MANIFEST, {**manifest, "sha256": _digest(manifest)})
    return manifest


def _file_record(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
