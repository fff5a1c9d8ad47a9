"""The protocol of new users: draws, targets, averages over draws, and what the report says."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.stored_histories import Histories, SplitHistories
from hf_bert4rec.evaluation import new_users
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.new_users import (
    DRAWS,
    LENGTHS,
    draw_likes,
    evaluate_new_users,
    histories_and_targets,
    mean_over_draws,
)
from hf_bert4rec.evaluation.report_text import new_users_meaning, new_users_table

MOVIES = 20
CONFIG = EvaluationConfig(ks=[10], seed=3)


def prepared(users: list[int], rated: bool = True, likes: int = 8, **options: float) -> PreparedData:
    """Every new user watched movies 0 to 11 and likes the first ones; without ratings, all twelve are likes."""
    histories = Dataset.from_dict({"user_id": users, "item_ids": [list(range(12))] * len(users)})
    if rated:
        histories = histories.add_column("ratings", [[5.0] * likes + [2.0] * (12 - likes)] * len(users))
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(MOVIES))})
    movies = Dataset.from_dict({"movie_id": list(range(MOVIES))})
    stored = Histories.from_dataset(histories, pa.array(range(MOVIES)), [])
    split = SplitHistories(stored, DataArguments(**{"held_out_users": 0.5, **options}))
    vars(split)["users"] = {part: np.arange(len(users)) for part in ("validation", "test")}  # not by their hashes
    return PreparedData("made-up", movies, split, tokenizer)


def movies_first(number: int, first: int):
    """A scorer that ranks movies 0 to number - 1 first, in order."""

    def scorer(histories: Ragged) -> torch.Tensor:
        scores = torch.zeros(len(histories), MOVIES + first)
        scores[:, first : first + number] = torch.arange(number, 0, -1)
        return scores

    return scorer


@pytest.fixture(autouse=True)
def _one_baseline(monkeypatch) -> None:
    """Equal scores in place of the baselines: there are no training users."""
    scorer = movies_first(0, Bert4RecTokenizer.from_movies({"movie_id": [0]}).first_item_id)
    monkeypatch.setattr(PreparedData, "train_likes", lambda self: None)
    monkeypatch.setattr(new_users, "fit_taste_baselines", lambda *arguments: {"all": scorer})


def test_histories_are_the_first_likes_of_a_draw_and_targets_the_rest() -> None:
    data = prepared([1, 2])
    requests, held_out = draw_likes(data, "test", seed=0)
    likes = {data.tokenizer.first_item_id + movie for movie in range(8)}
    assert held_out == 2
    assert len(requests) == 2 * DRAWS
    for length in LENGTHS:
        histories, targets = histories_and_targets(requests, length)
        for row in range(2 * DRAWS):
            assert len(histories[row]) == length
            assert {*histories[row].tolist(), *targets[row].tolist()} == likes
            assert requests[row][:length].tolist() == histories[row].tolist()


def test_draws_depend_on_user_and_seed_only() -> None:
    (both, _), (second, _) = draw_likes(prepared([1, 2]), "test", 0), draw_likes(prepared([2]), "test", 0)
    assert both.rows(DRAWS, 2 * DRAWS).values.tolist() == second.values.tolist()
    assert draw_likes(prepared([2]), "test", 1)[0].values.tolist() != second.values.tolist()
    assert len({tuple(row) for row in second}) == DRAWS


def test_a_scorer_that_knows_the_likes_is_perfect() -> None:
    """After k of 8 likes are named, the other 8 - k come first: NDCG is 1 and precision (8 - k) / 10."""
    data = prepared([1, 2, 3])
    first = data.tokenizer.first_item_id
    section = evaluate_new_users({"next": movies_first(8, first)}, data, CONFIG)
    assert (section["users"], section["liked_rating"]) == (3, 4.0)
    for length, results in section["results"].items():
        metrics = results["next"]["metrics"]
        assert metrics["ndcg@10"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
        assert metrics["precision@10"]["mean"] == pytest.approx((8 - int(length)) / 10)
        # Equal scores rank every target last: of 20 - k candidates none of the targets is among the first ten.
        assert results["all"]["metrics"]["ndcg@10"]["mean"] == 0.0
        assert results["all"]["difference"]["ndcg@10"]["mean"] == 1.0


def test_values_are_averaged_over_the_draws_of_a_user() -> None:
    assert mean_over_draws(np.array([0.0, 0.5, 1.0, 1.0, 1.0, 0.1])).tolist() == pytest.approx([0.5, 0.7])


def test_without_ratings_all_interactions_are_likes(caplog) -> None:
    data = prepared([1], rated=False)
    first = data.tokenizer.first_item_id
    section = evaluate_new_users({"next": movies_first(12, first)}, data, CONFIG)
    assert section["liked_rating"] is None
    assert section["results"]["3"]["next"]["metrics"]["precision@10"]["mean"] == pytest.approx(0.9)
    meaning = new_users_meaning(section)
    assert "items that they interacted with, as there are no ratings, without times" in meaning
    assert "Fewer than fifty users" in meaning
    assert "only 1 new users" in caplog.text
    assert new_users_table(section)[1][1:] == [
        "1.0000 [1.0000, 1.0000] / 1.0000",
        "1.0000 [1.0000, 1.0000] / 0.9000",
        "1.0000 [1.0000, 1.0000] / 0.7000",
    ]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"no users are held out: train with, for example, --held_out_users 0.2"):
        draw_likes(prepared([1], held_out_users=0.0), "test", 0)
    assert len(draw_likes(prepared([1], likes=6), "test", 0)[0]) == DRAWS
    for few in ({"likes": 5}, {"liked_rating": 5.5}):
        with pytest.raises(ValueError, match=r"none of 1 held-out users has more than 5 movies rated (4|5\.5) or"):
            draw_likes(prepared([1], **few), "test", 0)
