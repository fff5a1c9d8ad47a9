"""The model of taste: its scores by hand, its fit against the closed form, and requests with either goal."""

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.taste import (
    CONTENT_WEIGHT,
    CORRELATION_RIDGE,
    DISLIKE_WEIGHT,
    INPUT_SHARE,
    PARTIAL_RIDGE,
    PARTIAL_WEIGHT,
    POPULARITY_PENALTY,
    PRIOR_USERS,
    RIDGE,
    SERIES,
    fit_taste,
)
from hf_bert4rec.evaluation.scoring import ModelScorer, TasteScorer
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.hub.folder import load_pipeline
from hf_bert4rec.hub.verify import check_folder
from hf_bert4rec.model.extensions_bert4rec import COLD_START_SHARE, SMALLEST_SCORE, Bert4RecTaste
from hf_bert4rec.model.loading_bert4rec import check_weights
from tests.model.tiny import build, ids_of, tiny_config

CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def made_by_hand() -> Bert4RecTaste:
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=6, taste_size=2))
    taste.factors[3:] = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, -2.0]])
    taste.precisions[3:] = torch.tensor([2.0, 1.0, 4.0])
    taste.shares[3:] = torch.tensor([0.1, 0.2, 0.3])
    return taste


def test_scores_are_shares_plus_weighted_products_of_factors() -> None:
    """After item 3 the user is 2 · (1, 0); after items 3 and 4 it is that plus 1 · (0.5, 1)."""
    scores = made_by_hand()([[3], [4, 3, 4], []])
    expected = [[0.1 + 2, 0.2 + 1, 0.3], [0.1 + 2.5, 0.2 + 1.25 + 1, 0.3 - 2], [0.1, 0.2, 0.3]]
    assert scores[:, 3:].tolist() == pytest.approx(np.array(expected))


def test_scores_of_the_next_item_are_products_by_the_regression() -> None:
    """After items 3 and 4 the user is (2, 0) + (0.5, 1), which the regression turns into (5, 3)."""
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=6, taste_size=2, taste_weight=0.5))
    taste.load_state_dict(made_by_hand().state_dict() | {"regression": torch.tensor([[2.0, 0.8], [0.0, 1.0]])})
    attention_mask = torch.tensor([[0, 1, 1], [0, 0, 0]])
    scores = taste.next_item_scores(torch.tensor([[5, 3, 4], [5, 5, 5]]), attention_mask)
    assert scores.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0, 5.0, 2.5 + 3.0, -6.0, *[0.0] * 6])
    taste.resize(7)
    scores = taste.next_item_scores(torch.tensor([[3, 4]]), torch.ones(1, 2))
    assert scores[0, 3:].tolist() == pytest.approx([5.0, 5.5, -6.0, 0.0])


def test_logarithms_keep_the_order_of_negative_scores() -> None:
    taste = made_by_hand()
    scores, logs = taste([[3, 4]])[0], taste.log_scores([[3, 4]])[0]
    assert logs[3].exp() == pytest.approx(float(scores[3]))
    assert logs.argsort().tolist() == scores.argsort().tolist()
    taste.shares[5] += float(SMALLEST_SCORE - scores[5])  # where the line begins
    assert taste.log_scores([[3, 4]])[0, 5].item() == pytest.approx(np.log(SMALLEST_SCORE), abs=1e-2)


def test_the_penalty_is_subtracted_from_logarithms() -> None:
    """An item that is e² times as popular as another one loses 2 · 0.5 to it; neighbours are raised after that."""
    options = {"vocab_size": 16, "taste_size": 2, "taste_neighbours": 4}
    penalised = Bert4RecTaste(Bert4RecConfig(**options, taste_popularity_penalty=0.5))
    log_popularity = torch.linspace(-1.0, -9.0, 16)
    penalised.load_state_dict(with_neighbours().state_dict() | {"log_popularity": log_popularity})
    expected = with_neighbours().log_scores([[3, 4]]) - 0.5 * log_popularity
    torch.testing.assert_close(penalised.log_scores([[3, 4]]), expected)
    order = penalised.log_scores([[3]])[0, 3:].argsort(descending=True).add(3).tolist()
    by_score = expected[0, 4:].argsort(descending=True).add(4).tolist()  # no factors: the same scores
    similar = [5, 14, 15, 13]
    for rank in (3, 5, 7):
        raised = next(item for item in similar if item not in by_score[: rank - 1])
        by_score.remove(raised)
        by_score.insert(rank - 1, raised)
    assert [item for item in order if item != 3][:10] == by_score[:10]


def test_similarities_are_cosines() -> None:
    cosines = made_by_hand().similarities(torch.tensor([4]))[0]
    assert cosines[3:].tolist() == pytest.approx([0.5 / 1.25**0.5, 1.0, -1 / 1.25**0.5])


def with_neighbours(vocab: int = 16) -> Bert4RecTaste:
    """Items 3 to 15 have shares of 13 to 1 hundredths; those most similar to 3 are 5, 14, 15 and 13."""
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=vocab, taste_size=2, taste_neighbours=4))
    taste.shares[3:] = torch.arange(vocab - 3, 0, -1) / 100
    assert taste.neighbours is not None
    taste.neighbours[3] = torch.tensor([5, 14, 15, 13])
    taste.correlations[3] = torch.tensor([0.5, 0.4, 0.3, 0.2])
    return taste


def test_neighbours_of_a_single_item_are_among_the_first_ten() -> None:
    """The best of item 3 are 4, 5 and so on; 5 is listed already, so 14, 15 and 13 are raised."""
    taste = with_neighbours()
    assert taste.neighbours is not None
    order = taste.log_scores([[3, 3]])[0].argsort(descending=True, stable=True).tolist()
    assert order[:13] == [3, 4, 5, 14, 6, 15, 7, 13, 8, 9, 10, 11, 12]
    taste.neighbours[3] = torch.tensor([9, 14, 0, 0])
    order = taste.log_scores([[3]])[0].argsort(descending=True, stable=True).tolist()
    assert order[:13] == [3, 4, 5, 9, 6, 14, 7, 8, 10, 11, 12, 13, 15]
    for others in ([3, 4], [4]):  # 4 has no neighbours
        order = taste.log_scores([others])[0].argsort(descending=True, stable=True).tolist()
        assert order[:13] == list(range(3, 16))
    taste.resize(13)  # nine others are all of them
    assert taste.log_scores([[3]])[0].argsort(descending=True, stable=True).tolist()[:10] == list(range(3, 13))


def test_neighbours_are_the_most_similar() -> None:
    taste = with_neighbours()
    taste.factors[3:6] = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    similarities = taste.similarities(torch.tensor([3, 4]))
    assert similarities[0, [5, 14, 15, 13]].tolist() == pytest.approx([0.5, 0.4, 0.3, 0.2])
    assert similarities[0, 4].item() == pytest.approx(0.2 / 2**0.5)  # cosine times the smallest correlation
    assert similarities[1, [3, 5]].tolist() == pytest.approx([0.5**0.5] * 2)
    taste.resize(15)
    assert taste.neighbours is not None
    assert taste.neighbours[3].tolist() == [5, 14, 0, 13]
    assert taste.similarities(torch.tensor([3]))[0, [5, 14, 13]].tolist() == pytest.approx([0.5, 0.4, 0.2])


def test_a_model_of_fewer_items_than_neighbours_loads(tmp_path) -> None:
    config = Bert4RecConfig(vocab_size=16, hidden_size=4, num_attention_heads=1, taste_size=2, taste_neighbours=12)
    model = Bert4RecForMaskedLM(config)
    model.resize_token_embeddings(8)
    model.save_pretrained(tmp_path)
    taste = Bert4RecForMaskedLM.from_pretrained(tmp_path).taste
    assert taste is not None
    assert taste.neighbours is not None
    assert taste.neighbours.shape == taste.correlations.shape == (8, 8)


def test_the_penalty_may_be_changed(tasteful, tmp_path) -> None:
    config = tasteful.model.config
    penalised = order(tasteful, HISTORY)
    config.taste_popularity_penalty = 2.0
    tasteful.save_pretrained(tmp_path)
    assert order(tasteful, HISTORY) == order(load_pipeline(tmp_path), HISTORY) != penalised
    config.taste_popularity_penalty = 0.0
    assert order(tasteful, HISTORY) != penalised
    tasteful.model.taste.log_popularity, config.taste_popularity_penalty = None, 0.4
    with pytest.raises(ValueError, match=r"trained with one: set config\.taste_popularity_penalty to 0"):
        tasteful(HISTORY)


def test_new_items_are_means_of_similar_ones() -> None:
    taste = made_by_hand()
    taste.add(
        [(torch.tensor([3, 4]), torch.tensor([0.75, 0.25])), (torch.tensor([], dtype=torch.long), torch.tensor([]))]
    )
    assert taste.factors[6].tolist() == pytest.approx([0.875, 0.25])
    assert taste.shares[6:].tolist() == pytest.approx([0.125 * COLD_START_SHARE, 0.0])
    taste.resize(4)
    assert [tuple(table.shape) for table in taste.buffers()] == [(4, 2), (4,), (4,)]
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=6, taste_size=2, taste_popularity_penalty=0.4))
    assert taste.log_popularity is not None
    taste.log_popularity[3:5] = torch.tensor([-2.0, -4.0])
    taste.add([(torch.tensor([3, 4]), torch.tensor([0.75, 0.25]))])
    assert taste.log_popularity[6] == -2.5


@pytest.mark.parametrize("vocab", [14, 60])  # factorised completely, and iteratively
def test_full_rank_equals_the_closed_form(vocab: int) -> None:
    """Weights (INPUT_SHARE · C + diag(v + ridge))⁻¹ C of the weighted covariance C, solved without factors.

    For the next item they are (C + diag(v + ridge))⁻¹ C.
    """
    rng = np.random.default_rng(0)
    rank = 12  # of the data: twelve users and a mean make a covariance of rank eleven
    train = Ragged.from_lists([rng.permutation(np.arange(3, vocab))[: rng.integers(2, 11)] for _ in range(rank)])
    liked = rng.random(len(train.values)) < 0.7
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=vocab, taste_size=rank, taste_weight=1.0))
    fit_taste(taste, train, liked, {})

    likes = np.zeros((rank, vocab))
    likes[train.row_ids, train.values] = np.where(liked, 1.0, DISLIKE_WEIGHT)
    weights = np.maximum(likes.sum(1), 1) ** -0.5
    weights /= weights.mean()
    means = np.average(likes, axis=0, weights=weights)
    covariance = np.cov(likes.T, aweights=weights, bias=True)
    ridge = np.diag(np.diag(covariance) + RIDGE / rank)
    expected = means + np.linalg.solve(INPUT_SHARE * covariance + ridge, covariance)[[3, 7]].sum(0)
    np.testing.assert_allclose(taste([[3, 7]])[0].numpy(), expected, **CLOSE)
    expected = np.linalg.solve(covariance + ridge, covariance)[[3, 7]].sum(0)
    np.testing.assert_allclose(
        taste.next_item_scores(torch.tensor([[3, 7]]), torch.ones(1, 2))[0].numpy(), expected, **CLOSE
    )


def test_popularity_counts_all_interactions() -> None:
    options = {"vocab_size": 6, "taste_size": 2, "taste_popularity_penalty": POPULARITY_PENALTY}
    taste = Bert4RecTaste(Bert4RecConfig(**options))
    liked = np.array([True, False, True, True])
    fit_taste(taste, Ragged.from_lists([[3, 4], [3, 5]]), liked, {})
    assert taste.log_popularity is not None
    counts = np.array([1, 1, 1, 3, 2, 2])  # one more than the users of each
    assert taste.log_popularity.tolist() == pytest.approx(np.log(counts / counts.sum()))


def test_neighbours_have_the_largest_correlations_and_similarities_of_genres() -> None:
    """The correlation of a and b is C_ab / √((C_aa + r/n)(C_bb + r/n)), averaged with the cosine.

    The partial one is that of the residuals of a and b after regressing them on all others; only positive ones count.
    Equal genres count less by e per `decay_years` between the years.
    """
    rng = np.random.default_rng(0)
    users, vocab = 9, 14
    train = Ragged.from_lists([rng.permutation(np.arange(3, vocab))[:6] for _ in range(users)])
    taste = Bert4RecTaste(Bert4RecConfig(vocab_size=vocab, taste_size=2, taste_neighbours=8))
    kinds, years = ["War", "War", None, "Film"] * 2 + [None] * 3, [1990, 1996, None, 1990] + [2000] * 7
    items = {"genres": [[kind] if kind else None for kind in kinds], "year": years}
    fit_taste(taste, train, np.ones(len(train.values), dtype=bool), items)

    likes = np.zeros((users, vocab))  # each user has six likes, so that all weigh the same
    likes[train.row_ids, train.values] = 1
    covariance = np.cov(likes.T, bias=True)
    deviations = np.sqrt(np.diag(covariance) + CORRELATION_RIDGE / users)
    vectors = taste.factors.numpy() / np.maximum(np.linalg.norm(taste.factors, axis=1, keepdims=True), 1e-12)
    prior = PRIOR_USERS / users
    correlations = (covariance / np.outer(deviations, deviations) + prior * vectors @ vectors.T) / (1 + prior)
    np.fill_diagonal(correlations, 0)
    partial = partial_correlations(np.vstack([likes, np.sqrt(PARTIAL_RIDGE) * np.eye(vocab)]))
    partial *= (correlations.max(1) / np.maximum(partial.max(1), 1e-12))[:, None]
    similarities = (correlations + PARTIAL_WEIGHT * np.maximum(partial, 0)) / (1 + PARTIAL_WEIGHT)
    equal = (0, 1, 6), (0, 4, 10), (0, 5, 10), (1, 4, 4), (1, 5, 4), (4, 5, 0), (3, 7, 10)  # genres, years between
    for a, b, gap in equal:
        similarities[[3 + a, 3 + b], [3 + b, 3 + a]] += CONTENT_WEIGHT * np.exp(-gap / SERIES["decay_years"])
    similarities /= 1 + CONTENT_WEIGHT * (1 + SERIES["title_weight"])
    assert taste.neighbours is not None
    for item in range(vocab):
        positive = np.sort(similarities[item][similarities[item] > 1e-9])[::-1][:8]
        np.testing.assert_allclose(taste.correlations[item, : len(positive)], positive, **CLOSE)
        neighbours = taste.neighbours[item, : len(positive)].tolist()
        np.testing.assert_allclose(similarities[item, neighbours], positive, **CLOSE)
        assert not taste.neighbours[item, len(positive) :].any()


def partial_correlations(rows: np.ndarray) -> np.ndarray:
    """The cosine of the residuals of every two columns of `rows` after least squares on all other columns."""
    columns = rows.shape[1]
    partial = np.zeros((columns, columns))
    for a in range(columns):
        for b in range(a):
            others = np.delete(rows, [a, b], axis=1)
            pair = rows[:, [a, b]]
            residuals = pair - others @ np.linalg.lstsq(others, pair, rcond=None)[0]
            left, right = residuals.T
            partial[a, b] = partial[b, a] = left @ right / np.sqrt((left @ left) * (right @ right))
    return partial


@pytest.fixture
def tasteful(tokenizer, histories) -> MovieRecommendationPipeline:
    model = build(tiny_config(taste_size=8, taste_popularity_penalty=0.4, taste_neighbours=3, memory_size=5))
    assert model.taste is not None
    fit_taste(model.taste, histories, np.ones(len(histories.values), dtype=bool), {})
    return MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task="movie-recommendation")


def test_the_network_is_the_same_with_and_without(rows) -> None:
    """No random number is drawn for the factors, so a training with the same seed ends at the same weights."""
    models = [build(tiny_config(taste_size=size)) for size in (0, 8)]
    inputs = {name: rows[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(models[0].next_item_logits(**inputs), models[1].next_item_logits(**inputs))


def test_weighted_scores_of_the_history_are_added_to_the_logits(tasteful, rows) -> None:
    inputs = {name: rows[name] for name in ("input_ids", "attention_mask")}
    model, weighted = tasteful.model, Bert4RecConfig(**{**tasteful.model.config.to_dict(), "taste_weight": 1.5})
    model.config.taste_weight, model.taste.regression = 1.5, torch.randn(8, 8)
    both = model.next_item_logits(**inputs)
    model.config.taste_weight = 0.0
    expected = model.next_item_logits(**inputs) + 1.5 * model.taste.next_item_scores(**inputs)
    torch.testing.assert_close(both, expected)
    assert Bert4RecForMaskedLM(weighted).taste.regression.shape == (8, 8)
    model.config.taste_weight, model.taste.regression = 0.5, None
    with pytest.raises(ValueError, match=r"trained with one: set config\.taste_weight to 0"):
        model.next_item_logits(**inputs)


HISTORY = [10, 40, 22]


def order(pipe: MovieRecommendationPipeline, history: list[int], **options: object) -> list[int]:
    return ids_of(pipe(history, **options))


def test_the_goal_decides_who_ranks(tasteful, tokenizer) -> None:
    row = Ragged.from_lists([tokenizer.encode_items(HISTORY)])
    for goal, scorer in (
        ("taste", TasteScorer(tasteful.model.taste)),
        ("next", ModelScorer(tasteful.model, tokenizer)),
    ):
        scores = scorer(row)[0]
        scores[[*tokenizer.all_special_ids, *row.values]] = -torch.inf
        best = [tokenizer.movie(item)["movie_id"] for item in scores.topk(10).indices.tolist()]
        assert order(tasteful, HISTORY, goal=goal) == best


def test_the_default_goal_is_taste_without_times(tasteful, pipe) -> None:
    taste, following = order(tasteful, HISTORY, goal="taste"), order(tasteful, HISTORY, goal="next")
    assert taste != following
    assert order(tasteful, HISTORY) == taste == order(tasteful, HISTORY[::-1])
    for times in ({"now": 1_000_000_000}, {"timestamps": [1, 2, 3]}):
        with pytest.warns(UserWarning, match="trained without times"):
            answer = order(tasteful, HISTORY, **times)
        assert answer == following
    assert order(pipe, HISTORY) == order(pipe, HISTORY, goal="next")  # a model without taste factors


def test_requests_of_a_batch_may_differ_in_their_goal(tasteful) -> None:
    batch = [{"history": HISTORY, "goal": "next"}, [], HISTORY, {"history": [10], "goal": "next"}]
    answers = [ids_of(answer) for answer in tasteful(batch)]
    singly = [order(tasteful, HISTORY, goal="next"), order(tasteful, []), order(tasteful, HISTORY)]
    assert answers == [*singly, order(tasteful, [10], goal="next")]
    assert sum(movie["score"] for movie in tasteful(HISTORY, top_k=40, exclude_seen=False)) == pytest.approx(1)


def test_explanations_say_what_a_movie_of_the_history_adds(tasteful) -> None:
    movie = tasteful(HISTORY, explain=True)[0]
    reason = movie["because"][0]
    rest = [entry for entry in HISTORY if entry != reason["movie_id"]]
    without = next(other for other in tasteful(rest, top_k=30) if other["movie_id"] == movie["movie_id"])
    assert reason["contribution"] == pytest.approx(np.log(movie["score"] / without["score"]), rel=1e-3)


def test_similar_movies_are_those_of_similar_factors(tasteful, tokenizer) -> None:
    item = tokenizer.encode_items([10])[0]
    cosines = tasteful.model.taste.similarities(torch.tensor([item]))[0]
    cosines[[*tokenizer.all_special_ids, item]] = -torch.inf
    expected = [tokenizer.movie(other)["movie_id"] for other in cosines.topk(5).indices.tolist()]
    assert ids_of(tasteful.similar(10, top_k=5)) == expected


def test_a_folder_keeps_the_factors_and_new_movies_get_some(tasteful, tmp_path) -> None:
    write_folder(tasteful.model, tasteful.tokenizer, tmp_path / "model", "card")
    check_folder(tmp_path / "model", tasteful)  # both goals, in a process without this package
    again = load_pipeline(tmp_path / "model")
    assert order(again, HISTORY) == order(tasteful, HISTORY)
    assert again.similar(10) == tasteful.similar(10)
    assert order(again, [10]) == order(tasteful, [10])
    again.add_items({"movie_id": [999], "title": ["New"], "year": [1970], "genres": [["Drama"]]})
    assert 999 in order(again, HISTORY, top_k=38)
    assert order(again, HISTORY, top_k=5)[0] in order(tasteful, HISTORY, top_k=5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_leaves_the_tables_as_they_are(tasteful, tmp_path, dtype) -> None:
    tasteful.save_pretrained(tmp_path / "full")
    half = load_pipeline(tmp_path / "full", dtype=dtype)
    half.save_pretrained(tmp_path / "half")
    for pipe in (half, load_pipeline(tmp_path / "half")):
        for name, table in tasteful.model.named_buffers():
            assert torch.equal(pipe.model.get_buffer(name), table), name
            assert pipe.model.get_buffer(name).dtype is table.dtype, name
        assert order(pipe, [10], goal="taste") == order(tasteful, [10], goal="taste")  # by its stored neighbours


def test_bad_goals_are_named(tasteful, pipe) -> None:
    with pytest.raises(ValueError, match=r"goal is 'best'; it is 'next' .* or 'taste'"):
        tasteful(HISTORY, goal="best")
    with pytest.raises(ValueError, match=r"goal is 'taste', but the model has no taste factors: train it with"):
        pipe(HISTORY, goal="taste")
    with pytest.raises(ValueError, match="taste_size is -1; it must be from 0"):
        Bert4RecConfig(taste_size=-1)
    with pytest.raises(ValueError, match="taste_neighbours is 9; it must be from 0 to 8"):
        Bert4RecConfig(vocab_size=8, taste_size=2, taste_neighbours=9)
    tasteful.model.taste.neighbours[4, 1] = 999
    with pytest.raises(ValueError, match=r"taste.neighbours names items beyond the vocabulary"):
        check_weights(tasteful.model)
