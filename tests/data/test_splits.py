"""Splits by examples and by properties, every kind of leak, the bytes of the target hash, and held-out users."""

import hashlib
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bert4rec.data import LeakageError, check_leakage, global_temporal_split, last_n, leave_one_out, target_hash
from hf_bert4rec.data.prepare import DataArguments, prepare
from hf_bert4rec.data.user_split import first_by_hash, held_out_users, user_hashes


def histories(*rows: list[Any], times: list[list[Any]] | None = None) -> Dataset:
    columns: dict[str, Any] = {"user_id": list(range(1, len(rows) + 1)), "item_ids": list(rows)}
    return Dataset.from_dict(columns if times is None else {**columns, "timestamps": times})


def test_leave_one_out() -> None:
    split = leave_one_out(histories([1, 2, 3, 4], [5, 6], [7, 8, 9], times=[[1, 2, 3, 4], [5, 6], [7, 8, 9]]))
    assert split["train"].to_list() == [
        {"user_id": 1, "item_ids": [1, 2], "timestamps": [1, 2]},
        {"user_id": 2, "item_ids": [5, 6], "timestamps": [5, 6]},
        {"user_id": 3, "item_ids": [7], "timestamps": [7]},
    ]
    assert split["validation"].select_columns(["user_id", "item_ids", "target"]).to_list() == [
        {"user_id": 1, "item_ids": [1, 2], "target": 3},
        {"user_id": 3, "item_ids": [7], "target": 8},
    ]
    assert split["test"][1] == {
        "user_id": 3,
        "item_ids": [7, 8],
        "timestamps": [7, 8],
        "target": 9,
        "target_timestamp": 9,
    }
    check_leakage(split)


def test_last_n() -> None:
    split = last_n(histories([1, 2, 3, 4, 5, 6], [7, 8, 9, 10]), 2)
    assert split["train"]["item_ids"][:] == [[1, 2], [7, 8, 9, 10]]
    assert split["validation"].to_list() == [{"user_id": 1, "item_ids": [1, 2], "targets": [3, 4]}]
    assert split["test"].to_list() == [{"user_id": 1, "item_ids": [1, 2, 3, 4], "targets": [5, 6]}]
    check_leakage(split)


def test_empty_histories_are_counted_too() -> None:
    with pytest.raises(ValueError, match="None of 2 histories has the 3 interactions of leave-one-out"):
        leave_one_out(histories([1, 2], []))


def test_empty_histories_are_in_no_part() -> None:
    for split in (leave_one_out(histories([1, 2, 3], [], [4])), last_n(histories([1, 2, 3], [], [4]), n=1)):
        assert split["train"]["item_ids"][:] == [[1], [4]]


def test_string_items_stay_strings() -> None:
    split = leave_one_out(histories(["a", "b", "c"], ["a", "c", "d"]))
    assert split["test"]["target"][:] == ["c", "d"]
    assert split["test"].features["item_ids"].feature.dtype == "string"
    check_leakage(split)


ROWS = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=9, unique=True), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 3))
def test_parts_put_together_are_the_history(rows: list[list[int]], n: int) -> None:
    if max(map(len, rows)) < 2 * n + 1:
        with pytest.raises(ValueError, match=f"None of {len(rows)} histories has the {2 * n + 1} interactions"):
            last_n(histories(*rows), n)
        return
    split = last_n(histories(*rows), n)
    check_leakage(split)
    train = dict(zip(split["train"]["user_id"], split["train"]["item_ids"], strict=True))
    assert list(train) == list(range(1, len(rows) + 1))
    long = [user for user, row in enumerate(rows, 1) if len(row) > 2 * n]
    assert split["validation"]["user_id"][:] == split["test"]["user_id"][:] == long
    for validation, test in zip(split["validation"], split["test"], strict=True):
        history = rows[test["user_id"] - 1]
        assert train[test["user_id"]] == validation["item_ids"]
        assert validation["item_ids"] + validation["targets"] == test["item_ids"]
        assert test["item_ids"] + test["targets"] == history
    assert all(train[user] == row for user, row in enumerate(rows, 1) if len(row) <= 2 * n)


def test_leave_one_out_is_last_1() -> None:
    rows = histories([1, 2, 3, 4], [5, 6], [7, 8, 9])
    one, many = leave_one_out(rows), last_n(rows, 1)
    for part in ("validation", "test"):
        assert [[target] for target in one[part]["target"]] == many[part]["targets"][:]
        assert target_hash(one[part]) == target_hash(many[part])


def test_global_temporal_split() -> None:
    items = [[1, 2, 3], [4, 5, 6], [7, 8], [9]]
    times = [[0, 10, 95], [20, 80, 85], [96, 97], [30]]
    split = global_temporal_split(histories(*items, times=times), 0.7)
    # Nine times: 0 10 20 30 80 85 95 96 97. The test cut is the 7th, 95; of the six before, the 5th, 80.
    assert split["train"].to_list() == [
        {"user_id": 1, "item_ids": [1, 2], "timestamps": [0, 10]},
        {"user_id": 2, "item_ids": [4], "timestamps": [20]},
        {"user_id": 4, "item_ids": [9], "timestamps": [30]},
    ]
    validation = split["validation"].to_list()
    assert [(row["user_id"], row["item_ids"], row["target"], row["cut"]) for row in validation] == [(2, [4, 5], 6, 80)]
    test = split["test"].to_list()
    assert [(row["user_id"], row["item_ids"], row["target"]) for row in test] == [(1, [1, 2], 3), (3, [7], 8)]
    assert {row["cut"] for row in test} == {95}
    check_leakage(split)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.floats(0.05, 0.95), st.data())
def test_temporal_split_never_trains_on_the_future(rows: list[list[int]], quantile: float, data: st.DataObject) -> None:
    stamps = [sorted(data.draw(st.lists(st.integers(0, 20), min_size=len(row), max_size=len(row)))) for row in rows]
    try:
        split = global_temporal_split(histories(*rows, times=stamps), quantile)
    except ValueError as error:
        if "cut" not in str(error):
            raise
        return
    check_leakage(split)
    cuts = [split[part]["cut"][0] for part in ("validation", "test")]
    assert max(time for row in split["train"]["timestamps"] for time in row) < cuts[0] < cuts[1]
    assert all(cuts[0] <= time < cuts[1] for time in split["validation"]["target_timestamp"])
    assert all(time >= cuts[1] for time in split["test"]["target_timestamp"])
    assert all(split["test"]["item_ids"])


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="n must be 1 or more"):
        last_n(histories([1, 2, 3]), 0)
    with pytest.raises(ValueError, match="needs timestamps"):
        global_temporal_split(histories([1, 2, 3]))
    with pytest.raises(ValueError, match="between 0 and 1, both excluded, not 1"):
        global_temporal_split(histories([1, 2, 3], times=[[1, 2, 3]]), 1)
    with pytest.raises(ValueError, match="all timestamps are the same"):
        global_temporal_split(histories([1, 2, 3], times=[[7, 7, 7]]), 0.5)


def changed(split: DatasetDict, part: str, **columns: list[Any]) -> DatasetDict:
    rows = split[part].to_dict()
    return DatasetDict({**split, part: Dataset.from_dict({**rows, **columns})})


def test_every_leak_is_caught() -> None:
    split = leave_one_out(histories([1, 2, 3, 4], times=[[1, 2, 3, 4]]))
    check_leakage(split)
    with pytest.raises(LeakageError, match=r"validation target is in the same user's validation history.*item 2"):
        check_leakage(changed(split, "validation", target=[2]))
    with pytest.raises(LeakageError, match="test target is in the same user's test history"):
        check_leakage(changed(split, "test", target=[1]))
    with pytest.raises(LeakageError, match=r"validation target is in the same user's training history.*of user 1"):
        check_leakage(changed(split, "train", item_ids=[[1, 2, 3]]))
    with pytest.raises(LeakageError, match="test target is in the same user's training history"):
        check_leakage(changed(split, "train", item_ids=[[1, 4]]))
    with pytest.raises(LeakageError, match="test target is in the same user's validation history"):
        check_leakage(changed(split, "validation", item_ids=[[1, 4]]))
    with pytest.raises(LeakageError, match="has an interaction at 9, after its target"):
        check_leakage(changed(split, "test", timestamps=[[1, 2, 9]]))


def test_repeated_item_is_caught() -> None:
    with pytest.raises(LeakageError, match="item 1 of user 1"):
        check_leakage(leave_one_out(histories([1, 2, 3, 1])))


def test_leaks_over_the_cut_are_caught() -> None:
    rows = histories([1, 2, 3], [4, 5, 6], times=[[0, 50, 95], [10, 80, 85]])
    split = global_temporal_split(rows, 0.7)
    with pytest.raises(LeakageError, match="Training has an interaction at 99, not before the validation cut"):
        check_leakage(changed(split, "train", item_ids=[[7]], timestamps=[[99]], user_id=[9]))
    with pytest.raises(LeakageError, match="test target is before the test cut"):
        check_leakage(changed(split, "test", cut=[1000] * 2))


def test_rows_without_targets_are_named() -> None:
    split = leave_one_out(histories([1, 2, 3]))
    with pytest.raises(ValueError, match="neither a column 'target' nor 'targets'"):
        target_hash(split["train"])


def test_target_hash_is_of_the_documented_bytes() -> None:
    rows = Dataset.from_dict({"user_id": [1, 2], "target": [50, 7]})
    assert target_hash(rows) == hashlib.sha256(b"1\t50\n2\t7\n").hexdigest()
    lists = Dataset.from_dict({"user_id": ["a\tb", "é\\"], "targets": [["x,y", "z"], ["\n"]]})
    expected = "a\\tb\tx\\,y,z\né\\\\\t\\n\n"
    assert target_hash(lists) == hashlib.sha256(expected.encode()).hexdigest()
    assert target_hash(rows.select([1, 0])) != target_hash(rows)


def test_the_hash_is_the_start_of_the_sha256_of_the_id() -> None:
    # printf 7 | sha256sum: 7902699be42c8a8e…, and 0x7902699be42c8a8e / 2**64 = 0.47269306
    assert user_hashes(pl.Series([7]))[0] == pytest.approx(0x7902699BE42C8A8E / 2**64)
    assert user_hashes(pl.Series(["7"]))[0] == user_hashes(pl.Series([7]))[0]


def test_parts_are_disjoint_and_depend_on_the_id_only() -> None:
    users = pl.Series(range(400))
    parts = [set(held_out_users(users, 0.2)[part].tolist()) for part in ("training", "validation", "test")]
    assert sum(map(len, parts)) == 400
    assert set.union(*parts) == set(users)
    assert 60 < len(parts[2]) < 100  # a fifth
    assert 25 < len(parts[1]) < 55  # a tenth
    assert set(held_out_users(users.head(200), 0.2)["test"].tolist()) == {user for user in parts[2] if user < 200}
    assert set(held_out_users(users, 0.3)["test"].tolist()) > parts[2]


def test_of_too_many_users_those_with_the_smallest_hashes_count() -> None:
    users = pl.Series([7, 3, 12, 5, 8])
    smallest = sorted(users, key=lambda user: hashlib.sha256(str(user).encode()).digest())[:3]
    assert users.gather(first_by_hash(users, 3)).to_list() == [user for user in users if user in smallest]
    assert first_by_hash(users, 5).tolist() == [0, 1, 2, 3, 4]


def test_none_are_held_out_by_default() -> None:
    parts = held_out_users(pl.Series([1, 2]), 0.0)
    assert {name: rows.tolist() for name, rows in parts.items()} == {"training": [0, 1], "validation": [], "test": []}


def test_bad_shares_are_named() -> None:
    with pytest.raises(ValueError, match=r"held_out_users is 0.6; it must be from 0 to 0.5"):
        held_out_users(pl.Series([1, 2]), 0.6)
    with pytest.raises(ValueError, match=r"held_out_users 0.2 leaves no validation and no test user of 1:"):
        held_out_users(pl.Series([7]), 0.2)


def test_training_after_the_cut_is_found_where_no_target_is_in_it() -> None:
    """The cuts are at 4 and 100. Leave-one-out trains user 0 up to 4, before the validation target at 5."""
    times = {0: [1, 2, 3, 4, 5, 100], 1: [1, 100, 100]}
    rows = [{"user": user, "item": item, "time": time} for user in times for item, time in enumerate(times[user])]
    arguments = DataArguments(ratings="orders", split="temporal", quantile=0.7, min_interactions=1)
    data = prepare(arguments, rows)
    data.check_training(arguments)
    message = "interaction at 4, not before the validation cut at 4. The model was trained with --split leave-one-out"
    with pytest.raises(LeakageError, match=message):
        data.check_training(replace(arguments, split="leave-one-out"))


def test_nothing_of_new_users_is_in_training(tmp_path) -> None:
    """Movie 100 + user is watched by that user and the next: counts of a held-out user's movies fall to one or none."""
    table = tmp_path / "ratings.csv"
    rows = [f"{user},{100 + (user + step) % 40},{3 + step},{step}" for user in range(40) for step in range(3)]
    table.write_text("\n".join(["user_id,movie_id,rating,timestamp", *rows]) + "\n")
    data = prepare(DataArguments(ratings=str(table), min_interactions=1, held_out_users=0.2))
    new = {*data.new_user_likes("test", 40)[0], *data.new_user_likes("validation", 40)[0]}
    for part in data.split_tables.values():
        assert not new & set(part["user_id"])
    assert len(data.histories) == 40 - len(new)
    assert data.tokenizer.num_items == 40  # the catalogue is that of all users
    assert sum(data.tokenizer.items["count"]) == 40 - len(new)  # the first of three movies of each other user
