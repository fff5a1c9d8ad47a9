"""New movies without retraining: old logits stay, new movies start from similar ones, and all of it is saved."""

import copy
import math

import pytest
import torch
from datasets import Dataset

from hf_bert4rec import Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
from hf_bert4rec.model.cold_start_bert4rec import DECAY_YEARS, TITLE_WEIGHT, ContentSimilarity, nearest_items
from tests.conftest import MOVIES, NUM_MOVIES
from tests.model.tiny import build, ids_of

NEW_MOVIES = {
    "movie_id": [1, 200],
    "title": ["Toy Story 2", "Untitled"],
    "year": [1996, None],
    "genres": [["Animation", "Comedy"], []],
}


def logits_of(model, tokenizer):
    ids = torch.tensor([[*tokenizer.encode_items([10, 13]), tokenizer.mask_token_id]])
    return model.next_item_logits(ids, torch.ones_like(ids))[0]


def test_old_ids_and_logits_stay_and_new_ones_follow(tokenizer, model):
    vocabulary, before = tokenizer.get_vocab(), logits_of(model, tokenizer)
    rows = model.decoder.weight.detach().clone()
    assert tokenizer.add_items(NEW_MOVIES) == [43, 44]
    report = model.add_items(tokenizer)
    grown = tokenizer.get_vocab()
    assert {token: grown[token] for token in vocabulary} == vocabulary
    assert tokenizer.encode_items([1, 10, 200, 100, 1000]) == [43, 3, 44, 33, 2]
    assert tokenizer("100 1 10 200").input_ids == [33, 43, 3, 44]
    after = logits_of(model, tokenizer)
    assert after.shape == (NUM_MOVIES + 5,)
    torch.testing.assert_close(after[:-2], before, atol=1e-6, rtol=1e-6)  # another width rounds otherwise
    torch.testing.assert_close(model.decoder.weight[:-2], rows, atol=0, rtol=0)
    assert model.decoder.weight is model.get_input_embeddings().weight
    assert model.config.vocab_size == len(tokenizer) == 45
    assert [entry["start"] for entry in report] == ["similar movies", "mean of all movies"]
    assert report[0]["similar"][0] == "Toy Story (1995)"
    assert report[0] | {"similar": None} == {
        "movie_id": 1,
        "title": "Toy Story 2 (1996)",
        "input_id": 43,
        "start": "similar movies",
        "similar": None,
    }


def test_similarity_is_by_genres_year_and_title_and_grows_slowly_with_the_count():
    items = {
        "title": ["Dawn", "Dusk", "Noon", "Dawn Again"],
        "year": [1990, 1993, 1993, 1993],
        "genres": [["Drama", "War"], ["Comedy"], ["War"], ["War"]],
        "count": [1, 3, 3, 0],
    }
    title = math.log(4 / 2) / (math.log(4 / 2) + math.log(4 / 1))  # of the words, only the other one is unknown
    expected = [(1 / math.sqrt(2) + TITLE_WEIGHT * title) * math.exp(-3 / DECAY_YEARS), 0, 1]
    assert ContentSimilarity(items, 3).similarities_to(3).tolist() == pytest.approx(expected)
    other = [(1 / math.sqrt(2) + 2 * title) * math.exp(-3 / 12), 0, 1]
    content = ContentSimilarity(items, 3, title_weight=2.0, decay_years=12.0)
    assert content.similarities_to(3).tolist() == pytest.approx(other)
    ((rows, weights),) = nearest_items(items, 3, 1)
    assert rows.tolist() == [2, 0]
    assert weights.tolist() == pytest.approx([math.sqrt(math.log(4)), expected[0] * math.sqrt(math.log(2))])


def test_a_new_bias_is_the_mean_of_similar_ones_less_a_constant(tokenizer, model):
    with torch.no_grad():
        model.decoder.bias[3:] = torch.arange(NUM_MOVIES) / 10
    tokenizer.add_items(NEW_MOVIES)
    model.add_items(tokenizer)
    similar, _ = nearest_items(tokenizer.items, NUM_MOVIES, 2)
    mean = sum(float(weight) * int(row) / 10 for row, weight in zip(*similar, strict=True)) / float(similar[1].sum())
    assert model.decoder.bias[43:].tolist() == pytest.approx([mean - 1.3, 1.95 - 1.3])  # all movies' mean: 1.95


def test_a_new_movie_starts_near_similar_movies(pipe, model):
    pipe.add_items(NEW_MOVIES)
    assert pipe.similar(1)[0]["title"] == "Toy Story (1995)"
    vectors = model.get_input_embeddings().weight
    lengths = vectors[3:43].norm(dim=-1)
    assert lengths.min() - 1e-4 <= vectors[43].norm() <= lengths.max() + 1e-4


def test_new_movies_are_usable_at_once_saved_and_loaded(pipe, tmp_path):
    before = {movie["movie_id"]: movie["score"] for movie in pipe([10, 13], top_k=38)}
    pipe.add_items(Dataset.from_dict(NEW_MOVIES))
    answer = pipe([10, "toy story 2", 13], candidates=[200, 16], explain=True, top_k=2)
    assert {movie["movie_id"] for movie in answer} == {200, 16}
    after = {movie["movie_id"]: movie["score"] for movie in pipe([10, 13], top_k=40)}
    assert set(after) == set(before) | {1, 200}
    taken = after[1] + after[200]
    shares = {movie: score / (1 - taken) for movie, score in after.items() if movie in before}
    assert {m: shares[m] / shares[16] for m in shares} == pytest.approx(
        {m: before[m] / before[16] for m in before}, rel=1e-5
    )
    pipe.save_pretrained(tmp_path)
    again = MovieRecommendationPipeline(
        model=Bert4RecForMaskedLM.from_pretrained(tmp_path),
        tokenizer=Bert4RecTokenizer.from_pretrained(tmp_path),
        task="movie-recommendation",
    )
    assert again.tokenizer.items == pipe.tokenizer.items
    assert again.tokenizer.find("toy story 2") == 1
    assert {movie["movie_id"]: movie["score"] for movie in again([10, 13], top_k=40)} == pytest.approx(after, rel=1e-5)
    assert pipe([], top_k=42)[-1]["score"] == 0


def test_a_grown_model_can_be_trained(tokenizer, model):
    tokenizer.add_items(NEW_MOVIES)
    model.add_items(tokenizer)
    model.train()
    ids = torch.tensor([[3, 43, 1]])
    model(ids, labels=torch.tensor([[-100, -100, 44]])).loss.backward()
    assert model.get_input_embeddings().weight.grad[44].abs().sum() > 0


def test_vectors_are_used(pipe):
    vectors = pipe.embed_items([13, 16])
    report = pipe.add_items(NEW_MOVIES, vectors)
    assert {entry["start"] for entry in report} == {"given vector"}
    torch.testing.assert_close(pipe.embed_items([1, 200]), vectors)
    assert pipe.similar(1, top_k=1)[0]["movie_id"] == 13


def test_a_catalogue_without_titles_can_be_extended(model):
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": MOVIES["movie_id"]})
    tokenizer.add_items({"movie_id": [1]})
    assert model.add_items(tokenizer)[0]["start"] == "mean of all movies"
    tokenizer.add_items({"movie_id": [2], "title": ["Named"]})
    assert tokenizer.movie(44)["title"] == "Named"
    assert tokenizer.find("named") == 2
    assert tokenizer.movie(3)["title"] == "10"


@pytest.mark.parametrize(
    ("movies", "vectors", "message"),
    [
        ({"movie_id": [1, 10]}, None, r"1 of the movies are in the catalogue already: \[10\]"),
        ({"movie_id": ["x"]}, None, "'x' is not int"),
        ({"movie_id": [1, 1]}, None, "duplicate movie_id"),
        ({"movie_id": []}, None, "no movies"),
        ({"movie_id": [1], "title": []}, None, "'title' must be a list with one value for each of 1 items"),
        (
            {"movie_id": [1]},
            torch.zeros(1, 7),
            r"vectors are \(1, 7\); 1 new movies take finite ones of shape \(1, 16\)",
        ),
        ({"movie_id": [1]}, torch.zeros(2, 16), r"vectors are \(2, 16\)"),
        ({"movie_id": [1]}, torch.full((1, 16), float("nan")), "finite"),
    ],
)
def test_a_refused_addition_changes_nothing(pipe, movies, vectors, message):
    vocabulary, items = pipe.tokenizer.get_vocab(), copy.deepcopy(pipe.tokenizer.items)
    answer = pipe([10, 13])
    with pytest.raises(ValueError, match=message):
        pipe.add_items(movies, vectors)
    assert pipe.tokenizer.get_vocab() == vocabulary
    assert pipe.tokenizer.items == items
    assert pipe.model.config.vocab_size == len(vocabulary)
    assert ids_of(pipe([10, 13])) == ids_of(answer)


def test_untied_embeddings_grow_separately_and_old_logits_stay(tokenizer, config):
    config.tie_word_embeddings = False
    model = build(config)
    before, rows = logits_of(model, tokenizer), model.decoder.weight.detach().clone()
    inputs = model.get_input_embeddings().weight.detach().clone()
    tokenizer.add_items(NEW_MOVIES)
    model.add_items(tokenizer)
    torch.testing.assert_close(logits_of(model, tokenizer)[:-2], before, atol=1e-6, rtol=1e-6)
    assert torch.equal(model.decoder.weight[:-2], rows)
    assert torch.equal(model.get_input_embeddings().weight[:-2], inputs)
    mean = rows[3:].mean(0)  # of all movies, as nothing is known of the last one; scaled to their mean length
    expected = mean / mean.norm() * rows[3:].norm(dim=-1).mean()
    torch.testing.assert_close(model.decoder.weight[-1], expected, atol=1e-6, rtol=1e-5)


def test_a_padded_model_is_not_grown(tokenizer, model):
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=16)
    tokenizer.add_items(NEW_MOVIES)
    with pytest.raises(ValueError, match="the model has 48 entries and the tokenizer 45"):
        model.add_items(tokenizer)


def test_a_model_is_not_grown_without_new_movies(tokenizer, model):
    with pytest.raises(ValueError, match=r"call tokenizer.add_items\(movies\) first"):
        model.add_items(tokenizer)
