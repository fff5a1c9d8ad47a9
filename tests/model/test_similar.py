"""Similar movies, and embeddings whose inner product is the score."""

import pytest
import torch

from tests.conftest import MOVIES, NUM_MOVIES
from tests.model.tiny import assert_same_answer, ids_of


def test_similar_movies_are_titled_and_ordered_by_cosine(pipe, model, tokenizer):
    answer = pipe.similar("toy story", top_k=5)
    assert [list(movie) for movie in answer] == [["movie_id", "title", "genres", "score"]] * 5
    vectors = model.get_input_embeddings().weight.detach()[tokenizer.first_item_id :]
    cosines = torch.nn.functional.cosine_similarity(vectors[:1], vectors)
    cosines[0] = -2
    best = cosines.topk(5)
    assert ids_of(answer) == [MOVIES["movie_id"][index] for index in best.indices]
    assert [movie["score"] for movie in answer] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_similar_takes_one_or_several(pipe):
    one, other = pipe.similar([10, "Amelie"], top_k=3)
    for batched, single in ((one, pipe.similar("10", top_k=3)), (other, pipe.similar(25, top_k=3))):
        assert_same_answer(batched, single, abs=1e-6)
    assert pipe.similar([]) == []
    assert len(pipe.similar(10, top_k=NUM_MOVIES)) == NUM_MOVIES - 1


@pytest.mark.parametrize(
    ("movies", "error", "message"),
    [
        ("Toy Storie", LookupError, "did you mean 'Toy Story"),
        ([10, 999], LookupError, "similar: 999"),
        ("Sabrina", ValueError, "may mean 2 movies"),
        (1.5, TypeError, "similar takes"),
    ],
)
def test_bad_movies_are_named(pipe, movies, error, message):
    with pytest.raises(error, match=message):
        pipe.similar(movies)


@pytest.mark.parametrize("top_k", [0, NUM_MOVIES + 1])
def test_bad_top_k_is_named(pipe, top_k):
    with pytest.raises(ValueError, match="top_k is"):
        pipe.similar(10, top_k=top_k)


def test_inner_product_plus_bias_is_the_score(pipe, histories, tokenizer, model):
    with torch.no_grad():
        model.decoder.bias.copy_(torch.randn(len(tokenizer)))
    requests = [tokenizer.decode_items(history) for history in histories][:10]
    logits = pipe.embed_users(requests, batch_size=4) @ pipe.embed_items().T + pipe.item_biases()  # (users, items)
    for scores, answer in zip(logits.softmax(-1), pipe(requests, top_k=NUM_MOVIES, exclude_seen=False), strict=True):
        expected = dict(zip(tokenizer.item_ids, scores.tolist(), strict=True))
        assert {movie["movie_id"]: movie["score"] for movie in answer} == pytest.approx(expected, abs=1e-5)


def test_embeddings_of_some_movies_and_one_user(pipe, config):
    embeddings, biases = pipe.embed_items(), pipe.item_biases()
    assert embeddings.shape == (NUM_MOVIES, config.hidden_size)
    torch.testing.assert_close(pipe.embed_items(["Amelie", 10]), embeddings[[5, 0]])
    torch.testing.assert_close(pipe.item_biases([25, 10]), biases[[5, 0]])
    one = pipe.embed_users([10, 13])
    assert one.shape == (config.hidden_size,)
    torch.testing.assert_close(one, pipe.embed_users([[10, 13], [16]])[0], atol=1e-5, rtol=1e-5)
    rated = pipe.embed_users({"history": [10, 13, 16], "ratings": [5, 5, 1]})
    torch.testing.assert_close(rated, one, atol=1e-5, rtol=1e-5)
    assert pipe.embed_users([]).shape == (config.hidden_size,)
    with pytest.raises(LookupError, match="999"):
        pipe.embed_items([999])


HISTORIES = [[10, 13], [16, 19, 22], [40], [MOVIES["movie_id"][-1], 25]]


@pytest.mark.parametrize(("kind", "least"), [("Flat", 1.0), ("HNSW32", 0.95)])
def test_the_best_ten_movies_are_those_of_the_exact_logits(pipe, kind, least):
    faiss = pytest.importorskip("faiss", reason="needs pip install faiss-cpu")
    items = torch.cat([pipe.embed_items(), pipe.item_biases()[:, None]], dim=1)
    index = faiss.index_factory(items.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.add(items.numpy())
    users = torch.nn.functional.pad(pipe.embed_users(HISTORIES), (0, 1), value=1.0)
    _, positions = index.search(users.numpy(), 10)
    recalled = []
    for history, row in zip(HISTORIES, positions, strict=True):
        exact = ids_of(pipe(history, exclude_seen=False, top_k=10))
        recalled.append(len(set(exact) & {pipe.tokenizer.item_ids[position] for position in row}) / 10)
    assert sum(recalled) / len(recalled) >= least
