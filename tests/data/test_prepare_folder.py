"""A folder of prepared histories holds what the same table gives in memory, bit for bit."""

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from hf_bert4rec.cli.main import main
from hf_bert4rec.data import splits
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.folder import prepare_folder as module
from hf_bert4rec.data.folder import row_batches
from hf_bert4rec.data.folder.prepare_folder import prepare_folder
from hf_bert4rec.data.folder.prepared_folder import MANIFEST, VERSION
from hf_bert4rec.data.leakage import target_hash
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.stored_histories import Histories
from hf_bert4rec.data.windows import TrainingWindows

ROWS = 600
MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, partitions and files for a small table."""
    monkeypatch.setattr(row_batches, "ROWS", 97)
    monkeypatch.setattr(module, "ROWS_PER_PARTITION", 110)


def interactions(**columns: pl.Expr) -> pl.DataFrame:
    """Repeated items, equal times, items and users with few interactions."""
    generator = np.random.default_rng(0)
    users = generator.integers(0, 30, ROWS) ** 2 // 30
    items = generator.integers(0, 50, ROWS) ** 2 // 50
    ratings = generator.integers(1, 6, ROWS).astype(np.float32)
    times = 1_500_000_000_000 + 1000 * generator.integers(0, 200, ROWS)  # milliseconds
    frame = pl.DataFrame({"user_id": users, "movie_id": items, "rating": ratings, "timestamp": times})
    return frame.with_columns(**columns)


TABLES = {
    "integers": interactions(),
    "text": interactions(user_id=pl.format("u{}", "user_id"), movie_id=pl.format("i{}", "movie_id")),
    "integers as text, with spaces": interactions(
        user_id=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.format(" {}", "user_id")).otherwise("user_id"),
        timestamp=pl.col("timestamp").cast(pl.String),
    ),
    "datetimes": interactions(timestamp=pl.from_epoch("timestamp", "ms")),
    "a fraction of a second in one row": interactions(
        timestamp=pl.col("timestamp") + (pl.int_range(pl.len()) == ROWS - 1).cast(pl.Int64)
    ),
    "seconds by user, one with a fraction": interactions()
    .sort("user_id", maintain_order=True)
    .with_columns(pl.col("timestamp") / 1000 + (pl.int_range(pl.len()) == ROWS - 1) / 4),
    "dates as numbers": interactions(timestamp=20_240_101 + pl.col("timestamp") // 1000 % 28),
    "without ratings": interactions().drop("rating"),
    "events": interactions(
        kind=pl.Series(["view", " view", "cart", "buy"])[[(3 * row + row // 5) % 4 for row in range(ROWS)]],
        weight=(pl.int_range(pl.len()) * 7 % 5).cast(pl.Float64) / 3,
    ),
}
DATES_AFTER_ZEROS = pl.when(pl.int_range(pl.len()) >= 97).then(20_240_501).otherwise(0)  # the first chunk has none
ISO_AFTER_NUMBERS = pl.when(pl.int_range(pl.len()) >= 97).then(pl.lit("2024-05-01")).otherwise(pl.lit("5"))
EVENTS: dict[str, Any] = {"event_column": "kind", "target_events": ["cart", "buy"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "leave-one-out": {},
    "last-n": {"split": "last-n", "targets": 3},
    "temporal": {"split": "temporal", "quantile": 0.7},
    "held-out users": {"held_out_users": 0.3, "min_interactions": 2},
    "last repeats": {"repeats": "last", "min_interactions": 3},
    "all repeats": {"repeats": "all", "min_interactions": 1},
    "weights": {"weight_column": "weight"},
    "event types": {**EVENTS, "held_out_users": 0.3, "min_interactions": 2},
    "events, last-n": {**EVENTS, "target_events": ["buy"], "split": "last-n", "targets": 2, "min_interactions": 3},
    "events, temporal": {**EVENTS, "split": "temporal", "quantile": 0.7, "repeats": "last"},
    "events, all repeats": {**EVENTS, "repeats": "all", "weight_column": "weight", "min_rating": 2.0},
}
CASES = [
    *(
        ("events" if {"event_column", "weight_column"} & set(options) else "integers", name)
        for name, options in OPTIONS.items()
    ),
    *((table, "leave-one-out") for table in TABLES if table != "integers"),
    ("a fraction of a second in one row", "temporal"),
    ("text", "held-out users"),
]


def both(path: Path, frame: pl.DataFrame, **options: Any) -> tuple[PreparedData, PreparedData, dict[str, Any]]:
    """The data of a table in memory, those of its folder, and the folder's manifest."""
    frame.write_parquet(path / "table.parquet")
    arguments = DataArguments(ratings=str(path / "table.parquet"), **options)
    manifest = prepare_folder(arguments, path / "prepared")
    return prepare(arguments), prepare(DataArguments(ratings=str(path / "prepared"), **options)), manifest


def table(dataset: Any) -> Any:
    return dataset.with_format("arrow")[:]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_folder_equals_the_table_in_memory(tmp_path: Path, kind: str, options: str) -> None:
    memory, folder, manifest = both(tmp_path, TABLES[kind], **OPTIONS[options])
    schemas = [pl.read_ipc_schema(path) for path in (tmp_path / "prepared").glob("histories-*.arrow")]
    assert len(schemas) > 2
    assert all(schema == schemas[0] for schema in schemas)
    assert folder.tokenizer.item_ids == memory.tokenizer.item_ids
    assert folder.tokenizer.items == memory.tokenizer.items  # titles and counts
    assert folder.tokenizer.event_names == memory.tokenizer.event_names
    assert folder.tokenizer.target_events == memory.tokenizer.target_events
    assert table(folder.histories) == table(memory.histories)
    for part, rows in memory.split_tables.items():
        assert table(folder.split_tables[part]) == table(rows)
    for ours, theirs in ((folder.train, memory.train), (folder.timed_train, memory.timed_train)):
        windows, expected = TrainingWindows(ours, 7, 3), TrainingWindows(theirs, 7, 3)
        assert len(windows) == len(expected)
        assert_same_rows(windows, expected)
        assert [len(block) for block in ours.blocks()] != [len(ours)]
        np.testing.assert_array_equal(np.concatenate([block.values for block in ours.blocks()]), theirs.values)
    for part, timed in itertools.product(("validation", "test"), (False, True)):
        assert_same_rows(folder.next_item_dataset(part, timed), memory.next_item_dataset(part, timed))
        assert manifest["splits"][part]["targets_sha256"] == target_hash(memory.split_tables[part])
    np.testing.assert_array_equal(folder.train_liked, memory.train_liked)
    assert (folder.rated, folder.exclude_seen) == (memory.rated, memory.exclude_seen)
    for part in ("validation", "test"):
        (users, likes), (expected_users, expected) = (data.new_user_likes(part, 4) for data in (folder, memory))
        assert (users.to_list(), likes.values.tolist()) == (expected_users.to_list(), expected.values.tolist())


def assert_same_rows(rows: Any, expected: Any) -> None:
    assert len(rows) == len(expected)
    for number in range(len(expected)):
        assert rows[number].keys() == expected[number].keys()
        for name, value in expected[number].items():
            np.testing.assert_array_equal(rows[number][name], value)
            assert getattr(rows[number][name], "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.skipif(not MAPS.is_file(), reason="the list of mapped files is one of Linux")
def test_a_mapped_file_is_neither_removed_nor_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses both."""

    def checked(change: Callable[..., Any]) -> Callable[..., Any]:
        def check(path: Path, *args: Any, **options: Any) -> Any:
            if str(path) in MAPS.read_text():
                raise PermissionError(f"[WinError 32] {path}")
            return change(path, *args, **options)

        return check

    for name in ("unlink", "replace"):
        monkeypatch.setattr(Path, name, checked(getattr(Path, name)))
    both(tmp_path, TABLES["integers"])
    both(tmp_path, TABLES["text"])  # replaces the first
    assert {path.name for path in tmp_path.iterdir()} == {"prepared", "table.parquet"}


def test_the_k_core_is_iterated(tmp_path: Path) -> None:
    """Item 6 falls first, users e and f with it, then item 5, and last user d."""
    items = {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 3, 5], "e": [1, 5, 6], "f": [2, 5, 6]}
    rows = [(user, item, time) for user in items for time, item in enumerate(items[user])]
    frame = pl.DataFrame(rows, schema=["user_id", "movie_id", "timestamp"], orient="row")
    _, folder, _ = both(tmp_path, frame, min_interactions=3)
    assert folder.histories["user_id"][:] == ["a", "b", "c"]


def test_a_rating_threshold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory, folder, _ = both(tmp_path, TABLES["integers"], min_rating=3.0, min_interactions=3, repeats="last")
    assert table(folder.histories) == table(memory.histories)
    np.testing.assert_array_equal(folder.train_liked, memory.train_liked)
    folder_warning, memory_warning = (text for text in caplog.messages if "repeat a user's later one" in text)
    assert folder_warning == memory_warning
    with pytest.raises(ValueError, match=r"min_rating is 3\.0, but .* has no ratings"):
        both(tmp_path, TABLES["without ratings"], min_rating=3.0)


def test_rows_in_order_and_a_table_of_items(tmp_path: Path) -> None:
    frame = TABLES["text"].drop("timestamp")
    items = pl.DataFrame({"movie_id": ["i9", "nobody", "i3"], "title": ["Nine (1999)", "Nobody", "Three"]})
    items.write_csv(tmp_path / "items.csv")
    options = {"time_column": "", "items": str(tmp_path / "items.csv")}
    frame.write_parquet(tmp_path / "table.parquet")
    arguments = DataArguments(ratings=str(tmp_path / "table.parquet"), **options)
    prepare_folder(arguments, tmp_path / "prepared")
    memory, folder = prepare(arguments), prepare(DataArguments(ratings=str(tmp_path / "prepared")))
    assert folder.tokenizer.items == memory.tokenizer.items
    assert folder.tokenizer.titles[:2] == ["Nine (1999)", "Three"]
    assert table(folder.histories) == table(memory.histories)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_text_that_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    monkeypatch.setattr(row_batches, "TEXT_BLOCK", 1000)
    item = pl.format("a {}\nb", "movie_id") if separator == "," else pl.format("a {}", "movie_id")
    frame = TABLES["text"].with_columns(
        movie_id=item.str.replace("\n", "; "), note=pl.lit('"x",\ny' if separator == "," else "x")
    )
    blank_lines = "\r\n\n" if separator == ";" else ""
    (tmp_path / "table.csv").write_text(blank_lines + frame.write_csv(separator=separator))
    arguments = DataArguments(ratings=str(tmp_path / "table.csv"), min_interactions=2)
    assert len([*row_batches.open_batches(arguments.ratings, arguments).frames()]) > 10
    prepare_folder(arguments, tmp_path / "prepared")
    folder = prepare(DataArguments(ratings=str(tmp_path / "prepared"), min_interactions=2))
    assert table(folder.histories) == table(prepare(arguments).histories)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_files_of_pairs_that_are_read_in_blocks_and_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(row_batches, "TEXT_BLOCK", 1000)
    (tmp_path / "table").mkdir()
    lines = TABLES["integers"].select("user_id", "movie_id").write_csv(separator=" ", include_header=False).split("\n")
    for name, text in {"1.txt": "\n".join(lines[:500]), "2.txt": "\n".join(lines[500:])}.items():  # 2,700 and 500 bytes
        (tmp_path / "table" / name).write_text(text.rstrip("\n"), encoding=encoding)
    arguments = DataArguments(ratings=str(tmp_path / "table"), min_interactions=2)
    prepare_folder(arguments, tmp_path / "prepared")
    folder = prepare(DataArguments(ratings=str(tmp_path / "prepared"), min_interactions=2))
    assert table(folder.histories) == table(prepare(arguments).histories)


@pytest.mark.slow
def test_training_from_a_folder_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TABLES["text"].write_csv("orders.csv")
    assert main(["prepare", "orders.csv", "--output_dir", "prepared", "--min_interactions", "3"]) == 0
    manifest = json.loads(Path("prepared", MANIFEST).read_text())
    assert (manifest["name"], manifest["version"]) == ("orders", VERSION)
    assert main(["prepare", "orders.csv", "--output_dir", "prepared", "--min_interactions", "3"]) == 0  # replaced
    recipe = {
        "min_interactions": 3,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "use_cpu": True,
    }
    recipe |= {"max_position_embeddings": 12, "num_train_epochs": 1, "cooccurrence_init": 0.1, "memory_size": 8}
    Path("recipe.yaml").write_text("".join(f"{name}: {value}\n" for name, value in recipe.items()))
    for source in ("orders.csv", "prepared"):
        assert main(["train", "recipe.yaml", "--ratings", source, "--output_dir", f"outputs/{Path(source).stem}"]) == 0
    for name in ("model.safetensors", "items.json"):
        assert Path("outputs/prepared", name).read_bytes() == Path("outputs/orders", name).read_bytes()


def test_a_second_table_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "orders.csv", "--ratings", "other.csv"]) == 2
    assert "--ratings is other.csv, and the table is orders.csv" in capsys.readouterr().err


def test_options_that_differ_are_named(tmp_path: Path) -> None:
    TABLES["integers"].write_parquet(tmp_path / "table.parquet")
    prepare_folder(DataArguments(ratings=str(tmp_path / "table.parquet")), tmp_path / "prepared")
    prepared = str(tmp_path / "prepared")
    with pytest.raises(ValueError, match=r"min_interactions is 2, and the folder was prepared with 5"):
        prepare(DataArguments(ratings=prepared, min_interactions=2))
    assert len(prepare(DataArguments(ratings=prepared, targets=7)).train)  # leave-one-out has no targets option
    with pytest.raises(ValueError, match="event_column is kind, and the folder was prepared with None"):
        prepare(DataArguments(ratings=prepared, **EVENTS))
    with pytest.raises(ValueError, match="has its own table of items"):
        prepare(DataArguments(ratings=prepared, items="items.csv"))
    with pytest.raises(ValueError, match="rating_column is '', and the folder was prepared with ratings"):
        prepare(DataArguments(ratings=prepared, rating_column=""))
    with pytest.raises(ValueError, match="time_column is '', and the folder was prepared with timestamps"):
        prepare(DataArguments(ratings=prepared, time_column=""))


def test_bad_tables_leave_an_earlier_folder_as_it_was(tmp_path: Path) -> None:
    TABLES["events"].write_parquet(tmp_path / "table.parquet")
    arguments = DataArguments(ratings=str(tmp_path / "table.parquet"), **EVENTS, weight_column="weight")
    prepare_folder(arguments, tmp_path / "prepared")
    before = {path.name: path.read_bytes() for path in (tmp_path / "prepared").iterdir()}
    for frame, message in [
        (TABLES["events"].with_columns(weight=0.0), "'weight' is 0 in all rows, but some weight must be above 0"),
        (TABLES["events"].with_columns(weight=-pl.col("weight")), "a weight is a finite number of 0 or more"),
        (TABLES["events"].with_columns(kind=pl.lit(" ")), "an event type is needed"),
        (
            TABLES["events"].with_columns(kind=pl.lit("rent")),
            r"target_events is \['cart', 'buy'\], but the event types",
        ),
        (TABLES["events"].drop("weight"), "has no column 'weight'"),
        (TABLES["events"].with_columns(user_id=pl.lit(None, pl.Int64)), "an id is needed"),
        (TABLES["events"].with_columns(timestamp=pl.lit("yesterday")), "a time is a number or an ISO date"),
        (TABLES["events"].with_columns(timestamp=DATES_AFTER_ZEROS), "only some chunks of them are dates"),
        (TABLES["events"].with_columns(timestamp=ISO_AFTER_NUMBERS), "has dates, and earlier rows have numbers"),
        (TABLES["events"].head(4), "No user is left of 4 interactions of"),
        (TABLES["events"].head(0), "has no rows"),
        (TABLES["events"].drop("movie_id"), "has no column 'movie_id'"),
    ]:
        frame.write_parquet(tmp_path / "table.parquet")
        for name in ("prepared", "new"):
            with pytest.raises(ValueError, match=message):
                prepare_folder(arguments, tmp_path / name)
    assert {path.name: path.read_bytes() for path in (tmp_path / "prepared").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "table.parquet"]


def test_a_replacement_that_fails_leaves_the_earlier_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "prepared"
    TABLES["integers"].write_parquet(tmp_path / "table.parquet")
    arguments = DataArguments(ratings=str(tmp_path / "table.parquet"))
    prepare_folder(arguments, folder)
    manifest = (folder / MANIFEST).read_bytes()
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no second rename")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no second rename"):
        prepare_folder(arguments, folder)
    assert (folder / MANIFEST).read_bytes() == manifest
    assert list(tmp_path.glob(".*")) == []


def test_another_folder_is_not_replaced(tmp_path: Path) -> None:
    TABLES["integers"].write_parquet(tmp_path / "table.parquet")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    with pytest.raises(FileExistsError, match="something that is not a preparation"):
        prepare_folder(DataArguments(ratings=str(tmp_path / "table.parquet")), tmp_path / "thesis")
    (tmp_path / ".new.preparing").mkdir()
    with FileLock(tmp_path / ".new.preparing" / "lock"), pytest.raises(OSError, match="another process is writing to"):
        prepare_folder(DataArguments(ratings=str(tmp_path / "table.parquet")), tmp_path / "new")


def test_a_folder_is_neither_prepared_again_nor_written_among_tables(prepared: Path) -> None:
    with pytest.raises(ValueError, match="one has prepared histories already: name the table"):
        prepare_folder(DataArguments(ratings=str(prepared / "one")), prepared / "three")
    with pytest.raises(ValueError, match="whose files are all read as tables"):
        prepare_folder(DataArguments(ratings=str(prepared)), prepared / "three")
    assert not (prepared / "three").exists()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two preparations, `one` and `two`; copy them to change them."""
    folder = tmp_path_factory.mktemp("folders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_PER_PARTITION", 110)
        for name, frame in (("one", TABLES["integers"]), ("two", TABLES["integers"].reverse())):
            frame.write_parquet(folder / f"{name}.parquet")
            prepare_folder(DataArguments(ratings=str(folder / f"{name}.parquet")), folder / name)
    return folder


def other_version(folder: Path, two: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "version": 1}))


def other_counts(folder: Path, two: Path) -> None:
    manifest = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(manifest.replace('"users": ', '"users": 1'))


def truncated(folder: Path, two: Path) -> None:
    path = folder / "histories-00000.arrow"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES: dict[str, Callable[[Path, Path], Any]] = {
    r"histories-00001.arrow is not the file that prepared.json describes": (
        lambda folder, two: shutil.copy(two / "histories-00001.arrow", folder)
    ),
    r"histories-00099.arrow is not in prepared.json: it belongs to another preparation": (
        lambda folder, two: shutil.copy(two / "histories-00000.arrow", folder / "histories-00099.arrow")
    ),
    r"histories-00002.arrow is missing: prepared.json lists it": (
        lambda folder, two: (folder / "histories-00002.arrow").unlink()
    ),
    r"broken is incomplete: prepared.json, which is written last, is missing": (
        lambda folder, two: (folder / MANIFEST).unlink()
    ),
    rf"prepared.json has version 1 of the layout, and this package reads {VERSION}": other_version,
    r"histories-00000.arrow is not the file": truncated,
    r"prepared.json is damaged, or was changed after preparation": other_counts,
    r"prepared.json is not valid": lambda folder, two: (folder / MANIFEST).write_text("{"),
}


@pytest.mark.parametrize(("message", "damage"), DAMAGES.items())
def test_a_damaged_folder_is_refused(
    prepared: Path, tmp_path: Path, message: str, damage: Callable[[Path, Path], Any]
) -> None:
    """`prepared` holds two preparations; `two` is the other one."""
    folder = Path(shutil.copytree(prepared / "one", tmp_path / "broken"))
    damage(folder, prepared / "two")
    with pytest.raises(ValueError, match=message):
        prepare(DataArguments(ratings=str(folder)))


@pytest.mark.parametrize(
    ("users", "items", "times", "message"),
    [
        ([2, 3], [[0, 1], [1]], [5, 5, 1], ""),
        ([2, 2], [[0, 1], [1]], [5, 5, 1], "not in ascending order, or a user is in two files"),
        ([2, 3], [[0, 2], [1]], [5, 5, 1], "an item that is not in items.parquet"),
        ([2, 3], [[0, -1], [1]], [5, 5, 1], "an item that is not in items.parquet"),
        ([2, 3], [[0, 1], []], [5, 5], "a user without items"),
        ([2, 3], [[0, 0], [1]], [5, 5, 1], "an item is twice in a history"),
        ([2, 3], [[0, 1], [1]], [5, 4, 1], "a history is not in the order of its times"),
    ],
)
def test_files_that_break_a_rule_of_the_layout_are_refused(
    users: list[int], items: list[list[int]], times: list[int], message: str
) -> None:
    part = Ragged.from_lists(items).with_columns(timestamps=np.array(times))
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        Histories(pl.Series(users), [part]).check(num_items=2, repeats=False)


GENERATOR = np.random.default_rng(0)
NUMBERS = {
    "times": 1_500_000_000 + GENERATOR.integers(0, 1000, 5000),
    "integers of all sizes": GENERATOR.integers(-(2**63), 2**63 - 1, 5000, endpoint=True),
    "floats of both signs": GENERATOR.normal(size=5000) * 1e9,
    "fractions": GENERATOR.random(5000),
    "adjacent floats": np.where(GENERATOR.random(5000) < 0.5, 0.1, np.nextafter(0.1, 1)),
    "equal numbers": np.full(9, 7),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("quantile", [0.001, 0.3, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("arrays", [1, 4])
def test_the_value_is_that_of_the_sorted_numbers(
    monkeypatch: pytest.MonkeyPatch, name: str, quantile: float, arrays: int
) -> None:
    monkeypatch.setattr(splits, "MAX_NUMBERS", 8)
    numbers = NUMBERS[name]
    value = splits.value_at_quantile(lambda: np.array_split(numbers, arrays), quantile)
    expected = np.sort(numbers)[int(quantile * len(numbers))].item()
    assert (value, type(value)) == (expected, type(expected))


def test_fractions_are_halved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MAX_NUMBERS", 8)
    passes = []

    def arrays() -> list[np.ndarray]:
        passes.append(1)
        return [NUMBERS["fractions"]]

    splits.value_at_quantile(arrays, 0.9)
    assert len(passes) < 50


def test_no_numbers_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="all timestamps are the same, or there are none"):
        splits.value_at_quantile(lambda: [np.empty(0, dtype=np.int64)], 0.5)
