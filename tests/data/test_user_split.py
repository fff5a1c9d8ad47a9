"""New users: held out by a hash of their id, before anything is trained or counted."""

import polars as pl
import pytest
from datasets import Dataset

from hf_bert4rec.data.prepare import DataArguments, prepare
from hf_bert4rec.data.user_split import hold_out_users, user_hashes


def histories(users: list) -> Dataset:
    return Dataset.from_dict({"user_id": users, "item_ids": [[1, 2, 3]] * len(users)})


def test_the_hash_is_the_start_of_the_sha256_of_the_id() -> None:
    # printf 7 | sha256sum: 7902699be42c8a8e…, and 0x7902699be42c8a8e / 2**64 = 0.47269306
    assert user_hashes(pl.Series([7]))[0] == pytest.approx(0x7902699BE42C8A8E / 2**64)
    assert user_hashes(pl.Series(["7"]))[0] == user_hashes(pl.Series([7]))[0]


def test_parts_are_disjoint_and_depend_on_the_id_only() -> None:
    users = list(range(400))
    training, new = hold_out_users(histories(users), 0.2)
    parts = [set(training["user_id"]), set(new["validation"]["user_id"]), set(new["test"]["user_id"])]
    assert sum(map(len, parts)) == 400
    assert set.union(*parts) == set(users)
    assert 60 < len(parts[2]) < 100  # a fifth
    assert 25 < len(parts[1]) < 55  # a tenth
    _, fewer = hold_out_users(histories(users[:200]), 0.2)
    assert set(fewer["test"]["user_id"]) == {user for user in parts[2] if user < 200}
    _, larger = hold_out_users(histories(users), 0.3)
    assert set(larger["test"]["user_id"]) > parts[2]


def test_none_are_held_out_by_default() -> None:
    rows = histories([1, 2])
    assert hold_out_users(rows, 0.0) == (rows, None)


def test_bad_shares_are_named() -> None:
    with pytest.raises(ValueError, match=r"held_out_users is 0.6; it must be from 0 to 0.5"):
        hold_out_users(histories([1, 2]), 0.6)
    with pytest.raises(ValueError, match=r"held_out_users 0.2 leaves no validation and no test user of 1:"):
        hold_out_users(histories([7]), 0.2)


def test_nothing_of_new_users_is_in_training(tmp_path) -> None:
    """Movie 100 + user is watched by that user and the next: counts of a held-out user's movies fall to one or none."""
    table = tmp_path / "ratings.csv"
    rows = [f"{user},{100 + (user + step) % 40},{3 + step},{step}" for user in range(40) for step in range(3)]
    table.write_text("\n".join(["user_id,movie_id,rating,timestamp", *rows]) + "\n")
    data = prepare(DataArguments(ratings=str(table), min_interactions=1, held_out_users=0.2))
    assert data.new_users is not None
    new = {*data.new_users["test"]["user_id"], *data.new_users["validation"]["user_id"]}
    for part in data.splits.values():
        assert not new & set(part["user_id"])
    assert len(data.histories) == 40 - len(new)
    assert data.tokenizer.num_items == 40  # the catalogue is that of all users
    assert sum(data.tokenizer.items["count"]) == 40 - len(new)  # the first of three movies of each other user
