"""The cold-start benchmark on a small data set."""

import json

import numpy as np
import pytest
import torch

from benchmarks.quality import cold_start
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.data.prepare import load, prepare
from hf_bert4rec.data.taste import fit_taste
from hf_bert4rec.evaluation.new_users import LENGTHS
from hf_bert4rec.model.cold_start_bert4rec import COLD_START_BIAS
from tests.published import write_tables


@pytest.fixture
def split(tmp_path):
    arguments = write_tables(tmp_path)
    return cold_start.cold_start_split(prepare(arguments), load(arguments)["ratings"], seed=0)


def test_new_movies_and_users_are_not_in_the_training_data(split):
    movies, users = set(split.movies["movie_id"]), set(split.histories["user_id"])
    assert (len(movies), len(users)) == (2, 12)
    assert not movies & {movie for items in split.old.histories["item_ids"] for movie in items}
    assert not users & set(split.old.histories["user_id"])
    assert split.old.tokenizer.num_items == 38
    assert not any(movie in split.old.tokenizer for movie in movies)
    assert any(movies & set(items) for items in split.histories["item_ids"])


@pytest.mark.slow
def test_new_movies_and_users_are_measured(split):
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=len(split.old.tokenizer),
        hidden_size=16,
        intermediate_size=32,
        max_position_embeddings=12,
        taste_size=8,
    )
    model = Bert4RecForMaskedLM(config).eval()
    fit_taste(model.taste, split.old.train, split.old.train_liked, split.old.tokenizer.items)
    report = cold_start.measure(model, split, seed=0)
    json.dumps(report, allow_nan=False)
    result = report["new_movies_hit_rate@10"]
    positions = [np.flatnonzero(np.isin(items, split.movies["movie_id"])) for items in split.histories["item_ids"]]
    assert result["cases"] == sum((position > 0).sum() for position in positions)
    assert result["random"][0] == pytest.approx(10 / 35, abs=0.05)
    assert result["lift"][0] == pytest.approx(result["model"][0] / result["random"][0])
    assert report["ndcg@10"]["old_users_fine_tuned"]["users"] == 48
    at_default = next(point for point in report["biases"] if point["bias"] == COLD_START_BIAS)
    assert at_default["lift"] == result["lift"]
    assert at_default["change_percent"] == report["ndcg@10"]["old_users_movies_added"]["change_percent"]
    lifts, changes = ([point[name][0] for point in report["biases"]] for name in ("lift", "change_percent"))
    assert lifts == sorted(lifts, reverse=True)
    assert changes == sorted(changes)
    assert split.liked.all()  # every rating is a 4
    assert [point["length"] for point in report["taste"]] == list(LENGTHS)
    assert {point["users"] for point in report["taste"]} == {12}
    for point in report["taste"]:
        assert 0 <= point["lift"][0] <= (40 - point["length"]) / 10 + 1e-9  # at most if all are in the first ten
    lines = cold_start.format_report(report)
    assert lines[0].endswith("2 of 40 movies and 12 of 60 users are new")
    assert len(lines) == 5 + len(cold_start.BIASES) + len(LENGTHS)
    lift = report["new_movies_hit_rate@10"]["lift"][0]
    assert cold_start.format_splits([report, report])[1].endswith(f": {lift:.1f}, {lift:.1f}; mean {lift:.1f}")


def test_the_figures_are_those_of_the_result_files():
    page = cold_start.PAGE.read_text(encoding="utf-8")
    assert page.split(cold_start.MARKS[0])[1].split(cold_start.MARKS[1])[0].strip() == cold_start.results_text()
