"""The tour and the experiment with new movies run from start to end on small models."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from examples import new_movies, tour
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.data.prepare import prepare
from tests.published import write_tables

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_the_tour_takes_every_step_and_leaves_the_folder_alone(model_folder, tmp_path):
    before = {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()}
    tour.main([str(model_folder), "--output", str(tmp_path / "tour.html")])
    page = (tmp_path / "tour.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="\d+">([^<]*)</h2>', page) == list(tour.STEPS)
    assert page.count("data:image/png;base64,") == 2
    assert page.count('<pre class="output">') == len(tour.STEPS)
    assert "years=(1800, 1801) leaves none" in page
    assert "return pipe.similar(visit.history[0], top_k=5)" in page
    scores = re.search(r"score from embeddings ([\d.]+), from the pipeline ([\d.]+)", page)
    assert float(scores[1]) == pytest.approx(float(scores[2]), abs=1e-5)
    assert {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()} == before


@pytest.fixture
def held(tmp_path):
    return new_movies.hold_back(prepare(write_tables(tmp_path)), seed=0)


def test_what_is_held_back_is_unknown_to_training(held):
    movies, users = set(held.movies["movie_id"]), set(held.histories["user_id"])
    assert (len(movies), len(users)) == (2, 12)
    assert not movies & set(held.old.ratings["movie_id"])
    assert not users & set(held.old.ratings["user_id"])
    assert held.old.tokenizer.num_items == 38
    assert not any(movie in held.old.tokenizer for movie in movies)
    assert any(movies & set(items) for items in held.histories["item_ids"])


@pytest.mark.slow
def test_new_movies_and_users_are_measured(held):
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=len(held.old.tokenizer), hidden_size=16, intermediate_size=32, max_position_embeddings=12
    )
    report = new_movies.measure(Bert4RecForMaskedLM(config).eval(), held, seed=0)
    json.dumps(report, allow_nan=False)
    found = report["new_movies_hit_rate@10"]
    places = [np.flatnonzero(np.isin(items, held.movies["movie_id"])) for items in held.histories["item_ids"]]
    assert found["questions"] == sum((place > 0).sum() for place in places)
    assert found["random"][0] == pytest.approx(10 / 35, abs=0.05)
    assert found["times_random"][0] == pytest.approx(found["model"][0] / found["random"][0])
    assert report["ndcg@10"]["old_users_fine_tuned"]["users"] == 48
    lines = new_movies.told(report)
    assert lines[0].endswith("2 of 40 movies and 12 of 60 users held back")
    assert len(lines) == 5
