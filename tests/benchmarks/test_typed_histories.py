"""The page of typed histories, for a small catalogue."""

from __future__ import annotations

import torch

from benchmarks.quality.typed_histories import answer_rows, find, table
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline

TITLES = ["Alien", "Aliens", "Babe", "Heat", "Postino, Il (The Postman)", "Jaws", "Speed (Mach | 1)", "Casablanca"]


def make_pipeline() -> MovieRecommendationPipeline:
    """Everyone's taste is the order of the titles."""
    tokenizer = Bert4RecTokenizer.from_movies(
        {"movie_id": list(range(8)), "title": TITLES, "year": [1990] * 8}, dict.fromkeys(range(8), 1)
    )
    torch.manual_seed(0)
    config = Bert4RecConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, max_position_embeddings=8, taste_size=2
    )
    model = Bert4RecForMaskedLM(config).eval()
    assert model.taste is not None
    model.taste.shares[tokenizer.first_item_id :] = torch.arange(8, 0, -1) / 10
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def test_the_first_name_that_the_catalogue_has_is_meant() -> None:
    tokenizer = make_pipeline().tokenizer
    assert find(tokenizer, ["The Thing", "babe"]) == 2
    assert find(tokenizer, ["The Thing"]) is None


def test_histories_of_known_titles_are_answered() -> None:
    rows = answer_rows(make_pipeline())
    assert rows[0][0] == "history"
    histories = [row[0] for row in rows[1:]]
    assert histories == ["Alien; Aliens", "Casablanca", "Babe", "Postino, Il"]
    assert rows[1][2] == "Babe; Heat; Postino, Il; Jaws; Speed"
    assert rows[1][2] == rows[1][3]  # all movies are equally popular
    assert table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
