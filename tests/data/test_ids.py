"""An id is one item however it is written: 7, 7.0, "7", " 7" and a tensor of 7, in histories, targets and tables."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from datasets import Dataset

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data import build_histories
from hf_bert4rec.data.encoding import encode_histories, encode_targets
from tests.model.tiny import build, ids_of, tiny_config

SEVEN = [7, 7.0, "7", " 7", np.int32(7), np.float32(7), np.str_("7"), torch.tensor(7), torch.tensor(7.0)]


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies({"movie_id": [0, 7, -1]})


@pytest.mark.parametrize("seven", SEVEN, ids=repr)
def test_the_tokenizer_knows_an_id_in_any_form(tokenizer, seven):
    assert tokenizer.encode_items([seven]) == [4]  # the second item after [PAD], [MASK] and [UNK]
    assert seven in tokenizer
    assert Bert4RecTokenizer.from_movies({"movie_id": [7]}, {seven: 5}).items["count"] == [5]


@pytest.mark.parametrize("other", [7.5, float("nan"), "07", "seven", True, None, torch.tensor([7, 7])], ids=repr)
def test_other_values_are_unknown(tokenizer, other):
    assert tokenizer.encode_items([other]) == [tokenizer.unk_token_id]


def test_the_smallest_ids_are_recommended(pipe):
    catalogue = {"movie_id": [0, -5, 3, 12]}
    tokenizer = Bert4RecTokenizer.from_movies(catalogue, {0: 1, -5: 2, 3: 3, 12: 4})
    recommender = type(pipe)(model=build(tiny_config(len(tokenizer))), tokenizer=tokenizer, task=pipe.task)
    assert ids_of(recommender([], top_k=4)) == [12, 3, -5, 0]  # by count
    assert {movie["movie_id"] for movie in recommender([0], top_k=3)} == {-5, 3, 12}


def test_float_ids_are_integers_in_histories_and_targets(tokenizer):
    ratings = Dataset.from_pandas(pd.DataFrame({"user_id": [1.0, 1.0, 1.0], "movie_id": [0.0, 7.0, 7.0]}))
    histories = build_histories(ratings, min_interactions=1)
    assert histories[:] == {"user_id": [1], "item_ids": [[0, 7]]}
    assert encode_histories(histories, tokenizer)[0].tolist() == [3, 4]
    split = Dataset.from_dict({"item_ids": [[0.0, 7.0]], "target": ["-1"]})
    assert encode_histories(split, tokenizer)[0].tolist() == [3, 4]
    assert encode_targets(split, tokenizer)[0].tolist() == [5]
    timed = encode_histories(split.add_column("timestamps", [[5.25, 6.75]]), tokenizer, timed=True)
    np.testing.assert_array_equal(timed.columns["timestamps"], [5, 6], strict=True)
    with pytest.raises(KeyError, match="no column 'target' or 'targets'"):
        encode_targets(split.remove_columns("target"), tokenizer)
    lists = Dataset.from_dict({"item_ids": [[7], [7]], "targets": [["-1", "9"], ["0"]]})
    assert [row.tolist() for row in encode_targets(lists, tokenizer)] == [[5, tokenizer.unk_token_id], [3]]


def test_blanks_make_no_second_item_of_a_history():
    ratings = Dataset.from_dict({"user_id": ["ann", "ann ", "ann"], "movie_id": ["x", " x", "y"]})
    assert build_histories(ratings, min_interactions=1)[:] == {"user_id": ["ann"], "item_ids": [["x", "y"]]}


def interactions() -> dict[str, np.ndarray]:
    """Merged logs of 20 users, out of order, many rows in the same second."""
    generator = np.random.default_rng(0)
    return {
        "user_id": generator.integers(0, 20, 300),
        "movie_id": generator.permutation(300),
        "timestamp": generator.integers(1_500_000_000, 1_500_000_010, 300),
    }


@pytest.mark.parametrize("make", [Dataset.from_dict, lambda rows: Dataset.from_dict(rows).with_format("torch")])
@pytest.mark.parametrize("fraction", [0, 0.25])
def test_merged_logs_are_sorted_as_pandas_sorts_them(make, fraction):
    rows = interactions()
    rows["timestamp"] = rows["timestamp"] + fraction
    expected = pd.DataFrame(rows).sort_values("timestamp", kind="stable").groupby("user_id")["movie_id"].agg(list)
    histories = build_histories(make(rows), min_interactions=1)
    assert dict(zip(histories["user_id"][:], histories["item_ids"][:], strict=True)) == expected.to_dict()


def test_shuffled_rows_are_sorted_by_their_own_order():
    rows = Dataset.from_dict(interactions()).shuffle(seed=1)
    frame = pl.DataFrame(rows.to_dict()).sort("user_id", "timestamp", maintain_order=True)
    expected = frame.group_by("user_id", maintain_order=True).agg("movie_id")["movie_id"].to_list()
    assert build_histories(rows, min_interactions=1)["item_ids"][:] == expected


@pytest.fixture
def catalogue() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies(MOVIES)


HISTORIES = {"item_ids": [[1, 2, 3], [2], [3, 1]]}
RATINGS = {"user_id": [1, 1, 2], "movie_id": [1, 2, 3]}
MOVIES = {"movie_id": [1, 2, 3], "title": ["Heat", "Up", None], "year": [1995, 2009, None]}
FORMATS = [None, "torch", "numpy", "pandas", "polars", "arrow"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_does_not_matter(catalogue, form):
    encoded = encode_histories(Dataset.from_dict(HISTORIES).with_format(form), catalogue)
    assert [row.tolist() for row in encoded] == [[3, 4, 5], [4], [5, 3]]
    assert build_histories(Dataset.from_dict(RATINGS).with_format(form), 1)["item_ids"][:] == [[1, 2], [3]]
    assert Bert4RecTokenizer.from_movies(Dataset.from_dict(MOVIES).with_format(form)).items == catalogue.items


def test_streams_are_read_to_their_end(catalogue):
    encoded = encode_histories(Dataset.from_dict(HISTORIES).to_iterable_dataset(num_shards=3), catalogue)
    assert [row.tolist() for row in encoded] == [[3, 4, 5], [4], [5, 3]]
    assert build_histories(Dataset.from_dict(RATINGS).to_iterable_dataset(), 1)["item_ids"][:] == [[1, 2], [3]]
    assert Bert4RecTokenizer.from_movies(Dataset.from_dict(MOVIES).to_iterable_dataset()).items == catalogue.items


def test_selected_and_shuffled_rows_are_encoded_in_their_order(catalogue):
    rows = Dataset.from_dict(HISTORIES)
    assert [row.tolist() for row in encode_histories(rows.select([2, 0]), catalogue)] == [[5, 3], [3, 4, 5]]
    shuffled = rows.shuffle(seed=3)
    expected = [[item + 2 for item in row] for row in shuffled["item_ids"]]
    assert [row.tolist() for row in encode_histories(shuffled, catalogue)] == expected


@pytest.mark.parametrize("read", [build_histories, lambda rows: encode_histories(rows, None)])
def test_a_transform_is_refused(read):
    rows = Dataset.from_dict({**RATINGS, **HISTORIES}).with_transform(lambda batch: batch)
    with pytest.raises(ValueError, match=r"has a transform.*apply it by dataset\.map"):
        read(rows)
