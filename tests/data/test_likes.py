"""Likes: interactions rated high enough, or all of them where there are no ratings."""

from __future__ import annotations

from datasets import Dataset

from hf_bert4rec.data.prepared import liked_mask

HISTORIES = Dataset.from_dict({"user_id": [1, 2], "item_ids": [[10, 11, 12], [10]]})
ROWS = {"user_id": [2, 1, 1, 1, 1], "movie_id": [10, 12, 11, 10, 10], "rating": [3.5, 4.0, None, 5.0, 1.0]}


def test_likes_are_rated_high_enough() -> None:
    """Item 10 of user 1 was rated twice, 5 and then 1: the first counts. A missing rating does not count as a like."""
    assert liked_mask(HISTORIES, Dataset.from_dict(ROWS), 4.0).tolist() == [True, False, True, False]
    assert liked_mask(HISTORIES, Dataset.from_dict(ROWS), 3.5).tolist() == [True, False, True, True]


def test_all_interactions_are_likes_without_ratings() -> None:
    ratings = Dataset.from_dict({"user_id": [1], "movie_id": [10]})
    assert liked_mask(HISTORIES, ratings, 4.0).tolist() == [True] * 4
