"""Data sets in any format, selected, shuffled or streamed, give the same histories; transforms are refused."""

import pytest
from datasets import Dataset

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data import build_histories
from hf_bert4rec.data.encoding import encode_histories

HISTORIES = {"item_ids": [[1, 2, 3], [2], [3, 1]]}
RATINGS = {"user_id": [1, 1, 2], "movie_id": [1, 2, 3]}
MOVIES = {"movie_id": [1, 2, 3], "title": ["Heat", "Up", None], "year": [1995, 2009, None]}
FORMATS = [None, "torch", "numpy", "pandas", "polars", "arrow"]


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    return Bert4RecTokenizer.from_movies(MOVIES)


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_does_not_matter(tokenizer, form):
    encoded = encode_histories(Dataset.from_dict(HISTORIES).with_format(form), tokenizer)
    assert [row.tolist() for row in encoded] == [[3, 4, 5], [4], [5, 3]]
    assert build_histories(Dataset.from_dict(RATINGS).with_format(form), 1)["item_ids"][:] == [[1, 2], [3]]
    assert Bert4RecTokenizer.from_movies(Dataset.from_dict(MOVIES).with_format(form)).items == tokenizer.items


def test_streams_are_read_to_their_end(tokenizer):
    encoded = encode_histories(Dataset.from_dict(HISTORIES).to_iterable_dataset(num_shards=3), tokenizer)
    assert [row.tolist() for row in encoded] == [[3, 4, 5], [4], [5, 3]]
    assert build_histories(Dataset.from_dict(RATINGS).to_iterable_dataset(), 1)["item_ids"][:] == [[1, 2], [3]]
    assert Bert4RecTokenizer.from_movies(Dataset.from_dict(MOVIES).to_iterable_dataset()).items == tokenizer.items


def test_selected_and_shuffled_rows_are_encoded_in_their_order(tokenizer):
    rows = Dataset.from_dict(HISTORIES)
    assert [row.tolist() for row in encode_histories(rows.select([2, 0]), tokenizer)] == [[5, 3], [3, 4, 5]]
    shuffled = rows.shuffle(seed=3)
    expected = [[item + 2 for item in row] for row in shuffled["item_ids"]]
    assert [row.tolist() for row in encode_histories(shuffled, tokenizer)] == expected


@pytest.mark.parametrize("read", [build_histories, lambda rows: encode_histories(rows, None)])
def test_a_transform_is_refused(read):
    rows = Dataset.from_dict({**RATINGS, **HISTORIES}).with_transform(lambda batch: batch)
    with pytest.raises(ValueError, match=r"has a transform.*apply it by dataset\.map"):
        read(rows)
