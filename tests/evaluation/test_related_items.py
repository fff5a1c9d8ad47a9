"""Related items: groups from titles and the curated list, and the share that a scorer finds."""

from types import SimpleNamespace

import pytest
import torch

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.evaluation import related_items
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.related_items import (
    SimilarScorer,
    evaluate_related_items,
    plain_title,
    related_groups,
    share_found,
)
from hf_bert4rec.evaluation.report_text import related_items_meaning, related_items_table
from tests.model.tiny import ids_of

TITLES = [
    "Godfather, The",
    "Godfather: Part II, The",
    "Alien",
    "Aliens",
    "Star Trek III: The Search for Spock",
    "Star Trek: The Wrath of Khan",
    "Heat",
    "Jaws",
    "Jaws V",
    "Jaws",
    "Ivanhoe",
    "Saw II",
    "Saw",
    None,
    "Father of the Bride Part II",
    "Father of the Bride",
]


def test_groups_of_titles() -> None:
    """Curated first, then words before a colon, numeral or "Part". "Saw" is too short, the second "Jaws" a remake."""
    assert related_groups(TITLES) == ([[2, 3]], [[0, 1], [4, 5], [7, 8], [14, 15]])
    assert related_groups([]) == ([], [])


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("Empire Strikes Back, The", "empire strikes back"),
        ("Postman, The (Postino, Il)", "postman"),
        ("Men in Black II (a.k.a. MIIB) (a.k.a. MIB 2)", "men in black ii"),
        ("(500) Days of Summer", "(500) days of summer"),
        ("(Untitled)", "(untitled)"),
    ],
)
def test_plain_titles(title: str, plain: str) -> None:
    assert plain_title(title) == plain


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    titles = [title or "Nameless" for title in TITLES]
    return Bert4RecTokenizer.from_movies({"movie_id": list(range(len(titles))), "title": titles})


def next_title(histories: Ragged) -> torch.Tensor:
    """Score an item the higher the nearer it comes after the history's last item."""
    vocab = 3 + len(TITLES)
    distances = (torch.arange(vocab) - torch.from_numpy(histories.values)[:, None] - 1) % vocab
    return -distances.float()


def test_the_share_of_related_movies_in_the_list() -> None:
    """A group of two whose first movie finds the second, and one of three whose last movie finds nothing."""
    ranks = Ragged.from_lists([[1], [16], [1, 2], [18, 1], [17, 18]])
    assert share_found(ranks, [2, 3], k=1).tolist() == pytest.approx([0.5, 2 / 3])  # a list of one holds one movie
    assert share_found(ranks, [2, 3], k=2).tolist() == pytest.approx([0.5, (2 / 2 + 1 / 2 + 0) / 3])


def test_the_section_and_its_text(tokenizer, caplog, monkeypatch) -> None:
    monkeypatch.setattr(related_items, "fit_taste_baselines", lambda *arguments: {"popularity": next_title})
    data = SimpleNamespace(tokenizer=tokenizer, train=None)
    section = evaluate_related_items({"next": next_title}, data, EvaluationConfig(ks=[1]))
    assert section is not None
    assert (section["groups"], section["listed"], section["movies"]) == (5, 1, 10)
    assert section["results"]["popularity"]["difference"]["found@1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert "only 5 groups of related items" in caplog.text
    assert related_items_table(section)[2] == ["popularity", "0.5000 [0.5000, 0.5000]", "0.5000 [0.5000, 0.5000]"]
    assert "5 groups with 10 items, 1 of them from a list; " in related_items_meaning(section)
    assert "Fewer than fifty groups" in related_items_meaning(section)
    data.tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [1, 2]})  # without titles
    assert evaluate_related_items({"next": next_title}, data, EvaluationConfig(ks=[1])) is None


def test_similar_movies_are_ranked_as_by_the_pipeline(pipe, tokenizer) -> None:
    scorer = SimilarScorer(pipe.item_embeddings, len(pipe.tokenizer))
    first = pipe.tokenizer.first_item_id
    scores = scorer(Ragged.from_lists([[first + 4]]))[0]
    scores[first + 4] = -torch.inf
    expected = ids_of(pipe.similar(pipe.tokenizer.movie(first + 4)["movie_id"], top_k=5))
    assert [pipe.tokenizer.movie(item)["movie_id"] for item in scores.topk(5).indices.tolist()] == expected
