"""Time-aware models: time embeddings, the time bins of the memory, and timestamps in requests."""

import numpy as np
import pytest
import torch

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.data.collators import DataCollatorForMaskedItems, DataCollatorForNextItem
from hf_bert4rec.data.encoding import NextItemDataset
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.transitions import fit_transition_memory
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.evaluation.baselines import MarkovScorer
from hf_bert4rec.evaluation.scoring import ModelScorer
from hf_bert4rec.model.extensions_bert4rec import (
    DATES,
    GAPS,
    MIN_DECAY,
    SMOOTHING,
    TIME_BIN,
    YEAR,
    Bert4RecTimeEmbeddings,
    gap_bin,
)
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.model.values_bert4rec import UNKNOWN_TIME
from hf_bert4rec.training.initialization import fit_time_span
from tests.model.tiny import build

START = 1_000_000_000


@pytest.fixture
def timed(histories) -> Ragged:
    """The histories, with seconds that ascend in each, some of them the same."""
    generator = np.random.default_rng(0)
    times = [START + np.cumsum(generator.choice([0, 1, 40, 90_000, 10_000_000], len(history))) for history in histories]
    return histories.with_columns(timestamps=np.concatenate(times))


@pytest.fixture
def timed_model(config, timed) -> Bert4RecForMaskedLM:
    config.causal = config.time_aware = True
    config.memory_size = config.vocab_size
    model = build(config)
    fit_time_span(model, timed)
    fit_transition_memory(model, timed)
    return model


@pytest.fixture
def recommender(timed_model, tokenizer) -> MovieRecommendationPipeline:
    return MovieRecommendationPipeline(model=timed_model, tokenizer=tokenizer, task=TASK)


def with_times(values, offsets, times) -> Ragged:
    return Ragged(values, offsets, {"timestamps": times})


def requested_after(timed: Ragged, seconds: int) -> Ragged:
    """The histories with a query this number of seconds after their last item."""
    return timed.with_queries(timestamps=timed.columns["timestamps"][timed.offsets[1:] - 1] + seconds)


def batch_of(tokenizer, histories: Ragged) -> dict[str, torch.Tensor]:
    next_items = NextItemDataset(histories, Ragged.from_lists([[5]] * len(histories)))
    batch = DataCollatorForNextItem(tokenizer, 12)([next_items[row] for row in range(len(next_items))])
    return {name: batch[name] for name in ("input_ids", "attention_mask", "timestamps")}


def test_gaps_are_binned_by_half_doublings():
    gaps = torch.tensor([-5, 0, 1, 2, 3, 4, 60, 86_400, 2**31, 2**40, UNKNOWN_TIME])
    earlier = torch.zeros_like(gaps)
    actual = gap_bin(earlier, gaps)
    assert actual.tolist() == [0, 0, 1, 3, 4, 5, 12, 33, 63, GAPS - 1, GAPS]
    assert gap_bin(gaps[-1:], earlier[:1]).tolist() == [GAPS]


def test_every_time_counts_but_those_of_later_positions(timed_model, tokenizer, timed):
    row = int(timed.lengths.argmax())
    batch = batch_of(tokenizer, timed.rows(row, row + 1))
    full = timed_model.bert4rec(**batch).last_hidden_state[0]
    for position in range(12):
        changed = {**batch, "timestamps": batch["timestamps"].clone()}
        changed["timestamps"][0, position:] += 3_000_000
        actual = timed_model.bert4rec(**changed).last_hidden_state[0]
        torch.testing.assert_close(actual[:position], full[:position], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(actual[-1], full[-1], atol=1e-3)


def test_a_bidirectional_model_knows_the_gap_until_the_next_item(config):
    config.time_aware = True
    times = Bert4RecTimeEmbeddings(config).eval()
    timestamps = torch.tensor([[100, 103, 103, UNKNOWN_TIME]])
    position_ids = torch.arange(4)[None]
    both, earlier = (times(timestamps, position_ids, is_causal, None)[0] for is_causal in (False, True))
    gap_after = times.gap_after.weight
    # 3 seconds are in bin 4; the gaps from the third and the fourth position are unknown.
    expected = gap_after[[4, 0, GAPS, GAPS]] - gap_after[GAPS]
    torch.testing.assert_close(both - earlier, expected)
    assert Bert4RecTimeEmbeddings(Bert4RecConfig(time_aware=True, causal=True)).gap_after is None


def test_training_drops_the_times_of_masked_positions_only(config):
    config.time_aware = True
    times = Bert4RecTimeEmbeddings(config).train()
    timestamps = torch.arange(100, 700).view(50, 12)
    position_ids = torch.arange(12).expand(50, -1)
    masked = position_ids == 7
    plain = times.eval()(timestamps, position_ids, False, masked)
    torch.manual_seed(0)
    dropped = times.train()(timestamps, position_ids, False, masked)
    changed = (dropped - plain).abs().amax(-1) > 1e-6  # (50, 12)
    sequences = changed.all(1)
    assert 1 <= sequences.sum() <= 12  # about a tenth of the rows have no times at all
    # The own time of a position is also the gap after the one before, and before the two that follow.
    own_time = changed[~sequences]
    assert own_time[:, [*range(6), 10, 11]].sum() == 0
    assert torch.equal(own_time[:, 6], own_time[:, 7])
    assert torch.equal(own_time[:, 9], own_time[:, 7])
    assert 0.3 < own_time[:, 7].float().mean() < 0.7


def test_missing_times_are_unknown_times(timed_model, tokenizer, timed):
    batch = batch_of(tokenizer, timed)
    batch["timestamps"].fill_(UNKNOWN_TIME)
    expected = timed_model.next_item_logits(**batch)
    del batch["timestamps"]
    assert torch.equal(timed_model.next_item_logits(**batch), expected)


def test_dates_outside_the_training_data_are_clamped(timed_model):
    times = timed_model.bert4rec.time_embeddings
    first, last = times.span.tolist()
    assert first == START
    dates = times._date(torch.tensor([[first - 10**8, first, (first + last) // 2, last, last + 10**8, UNKNOWN_TIME]]))[
        0
    ]
    assert torch.equal(dates[0], dates[1])
    assert torch.equal(dates[3], dates[4])
    torch.testing.assert_close(dates[1], times.dates.weight[0])
    torch.testing.assert_close(dates[3], times.dates.weight[DATES - 1])
    middle = times.dates.weight[[DATES // 2 - 1, DATES // 2]].mean(0)
    torch.testing.assert_close(dates[2], middle, atol=1e-4, rtol=1e-4)
    assert not dates[5].any()


def test_training_drops_times_of_queries_and_sequences(timed_model, tokenizer, timed):
    """Other dropout is off, so calls differ by the dropped times only."""
    for module in timed_model.modules():
        module.p = module.attention_dropout = 0.0
    batch = batch_of(tokenizer, timed)
    plain = timed_model.bert4rec(**batch).last_hidden_state
    timed_model.train()
    torch.manual_seed(0)
    one, two = (timed_model.bert4rec(**batch).last_hidden_state for _ in range(2))
    assert not torch.equal(one, two)
    same = ((one - plain).abs().amax(-1) < 1e-5)[batch["attention_mask"].bool()]
    assert 0.02 < same.float().mean() < 0.9
    torch.manual_seed(0)
    assert torch.equal(timed_model.bert4rec(**batch).last_hidden_state, one)


def test_time_bins_add_up_to_the_markov_chain(timed_model, tokenizer, timed):
    timed = timed.rows(0, 6)  # few enough for everything to be remembered
    fit_transition_memory(timed_model, timed)
    assert len(set((timed.columns["timestamps"] // int(TIME_BIN)).tolist())) > 1
    batch = batch_of(tokenizer, timed)
    scores = MarkovScorer(timed, len(tokenizer))(timed)
    expected = scores / scores.sum(-1, keepdim=True).clamp(min=1e-9)
    assert expected.any(1).sum() > 3
    actual = timed_model.memory(batch["input_ids"], batch["attention_mask"]).exp() - SMOOTHING
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)


def test_old_transitions_decay(config, tokenizer):
    """Item 5 was followed by 6 in one half-year and by 7 ten years later, as often."""
    config.causal = config.time_aware = True
    config.memory_size = 4
    early, late = int(TIME_BIN * 60.5), int(TIME_BIN * 80.5)
    histories = with_times(np.array([5, 6, 5, 7]), np.array([0, 2, 4]), np.array([early, early, late, late]))
    model = Bert4RecForMaskedLM(config).eval()
    fit_transition_memory(model, histories)
    row = int(model.memory.next_items[5, 0] != 6)
    assert model.memory.time_bins[5, :2].tolist() == [[60, 80], [80, 60]][row]
    query = torch.tensor([[5, tokenizer.mask_token_id]])
    for query_time, fresh, stale in ((early, 6, 7), (late, 7, 6)):
        # The memory uses the time of the query, or that of the last item if it is unknown.
        for times in ([query_time, UNKNOWN_TIME], [early, query_time]):
            shares = model.memory(query, torch.ones_like(query), torch.tensor([times])).exp() - SMOOTHING
            weight = MIN_DECAY + np.exp(-20 * TIME_BIN / YEAR)
            assert float(shares[0, stale] / shares[0, fresh]) == pytest.approx(weight / (MIN_DECAY + 1), rel=1e-3)
            assert float(shares.sum()) == pytest.approx(1, abs=1e-4)


def test_the_number_of_half_years_is_bounded(config, tokenizer):
    """Item 5 is followed by 6 in 300 half-years, the latest of which is 10^6 half-years after the others."""
    config.causal = config.time_aware = True
    config.memory_size = 400
    half_years = [*range(299), 10**6]
    times = np.repeat([int(TIME_BIN * (number + 0.5)) for number in half_years], 2)
    histories = with_times(np.array([5, 6] * 300), np.arange(0, 601, 2), times)
    model = Bert4RecForMaskedLM(config)
    fit_transition_memory(model, histories)
    filled = model.memory.weights[5] > 0
    # The latest 256 half-years are 44 to 298 and 10^6; the first of them holds its own and the 44 before it.
    assert sorted(model.memory.time_bins[5][filled].tolist()) == [*range(44, 299), 10**6]
    assert model.memory.weights[5].max() == pytest.approx(45 * float(model.memory.weights[5][filled].min()))


def test_a_new_movie_gets_the_time_bins_of_similar_movies(recommender, tokenizer, timed):
    before = batch_of(tokenizer, timed)
    old = recommender.model.next_item_logits(**before)
    (report,) = recommender.add_items({"movie_id": [1], "title": ["Toy Story 2"], "genres": [["Drama", "Animation"]]})
    memory = recommender.model.memory
    new = report["input_id"]
    similar = [tokenizer.resolve(movie) for movie in report["similar"]]
    assert torch.equal(memory.time_bins[new, : len(tokenizer)], memory.time_bins[similar[0], : len(tokenizer)])
    added = memory.next_items == new
    assert added.any()
    time_bins = timed.columns["timestamps"] // int(TIME_BIN)
    assert memory.time_bins[added].min() >= time_bins.min()
    assert memory.time_bins[added].max() <= time_bins.max()
    torch.testing.assert_close(recommender.model.next_item_logits(**before)[:, :-1], old, atol=1e-5, rtol=1e-5)


def test_simultaneous_items_are_reordered_every_epoch(tokenizer):
    history = np.arange(3, 11)
    seconds = np.array([1, 2, 2, 2, 2, 2, 7, 9]) + START
    windows = TrainingWindows(with_times(history, np.array([0, 8]), seconds), 12)
    collate = DataCollatorForMaskedItems(tokenizer, mlm_probability=1.0, mask_replace_prob=0.0)
    orders = set()
    for epoch in range(20):
        windows.set_epoch(epoch)
        batch = collate([windows[0]])
        order = batch["input_ids"][0].tolist()
        assert torch.equal(collate([windows[0]])["input_ids"][0], batch["input_ids"][0])
        assert torch.equal(batch["labels"], batch["input_ids"])
        assert batch["timestamps"][0].tolist() == seconds.tolist()
        assert [*order[:1], *sorted(order[1:6]), *order[6:]] == history.tolist()
        orders.add(tuple(order))
    assert len(orders) > 10


def test_the_pipeline_scores_as_the_evaluation(recommender, timed_model, tokenizer, timed):
    timed = requested_after(timed, 3_600)
    scores = ModelScorer(timed_model, tokenizer)(timed)[:, tokenizer.first_item_id :].softmax(-1)
    rows = np.flatnonzero((timed.lengths > 2) & (timed.lengths < 12))[:3]  # complete within the window
    for row in rows:
        request = {
            "history": tokenizer.decode_items(timed[row].tolist()),
            "timestamps": timed.row(row).columns["timestamps"].tolist(),
            "now": int(timed.queries["timestamps"][row]),
        }
        for movie in recommender(request, explain=True):
            position = tokenizer.item_ids.index(movie["movie_id"])
            assert movie["score"] == pytest.approx(float(scores[row, position]), rel=1e-3)
            for reason in movie["because"]:
                remaining = [at for at, item in enumerate(request["history"]) if item != reason["movie_id"]]
                without = {
                    "history": [request["history"][at] for at in remaining],
                    "timestamps": [request["timestamps"][at] for at in remaining],
                    "now": request["now"],
                }
                left = recommender(without, candidates=[movie["movie_id"]], top_k=1, exclude_seen=False)[0]["score"]
                assert np.log(movie["score"] / left) == pytest.approx(reason["contribution"], abs=1e-3)


def test_times_of_history_and_request_change_the_answer(recommender, recwarn):
    answer = recommender({"history": [10], "timestamps": [START], "now": START + 60})
    assert recommender({"history": [10], "timestamps": ["2001-09-09T01:46:40"], "now": START + 60}) == answer
    assert recommender({"history": [10], "timestamps": [None], "now": START + 60}) != answer
    assert recommender({"history": [10], "timestamps": [START], "now": START + 10**8}) != answer
    assert recommender({"history": [10], "timestamps": [START]}) != answer
    assert not recwarn


@pytest.mark.parametrize(
    ("request_of", "error", "message"),
    [
        ({"timestamps": [1]}, ValueError, "timestamps has 1 values and the history 2 entries"),
        ({"timestamps": [5, 4]}, ValueError, "timestamps decrease at index 1, to 4"),
        ({"timestamps": 5}, TypeError, "timestamps is a list with a time or None"),
        ({"timestamps": [1, "yesterday"]}, ValueError, "a timestamp is 'yesterday'; write it as"),
        ({"timestamps": [1, True]}, TypeError, "a timestamp is a number, not True"),
        ({"timestamps": [1, float("inf")]}, ValueError, "a timestamp is inf"),
        ({"timestamps": [1, 10**400]}, ValueError, "it must be from -9.22337e\\+18 to 9.22337e\\+18"),
        ({"timestamps": [1, 7], "now": 6}, ValueError, "now is 6, earlier than the last of the timestamps"),
        ({"now": [6]}, TypeError, "now is seconds since 1970"),
    ],
)
def test_invalid_timestamps_are_refused(recommender, request_of, error, message):
    with pytest.raises(error, match=message):
        recommender({"history": [10, 13], **request_of})


def test_a_model_without_times_says_so(pipe):
    with pytest.warns(UserWarning, match="was trained without times: they only make 'next' the default goal"):
        answer = pipe({"history": [10], "timestamps": [START], "now": START})
    assert answer == pipe([10])


def test_times_need_a_time_aware_model_and_histories_that_have_them(model, timed_model, histories, timed):
    for fill in (fit_transition_memory, fit_time_span):
        with pytest.raises(ValueError, match="these histories have no times"):
            fill(timed_model, histories)
    with pytest.raises(ValueError, match="time_aware is false"):
        fit_time_span(model, timed)


def test_histories_with_times_are_histories(timed, histories):
    for row, history in enumerate(timed):
        assert history.tolist() == histories[row].tolist()
    expected = timed.columns["timestamps"][timed.offsets[2] : timed.offsets[4]]
    assert timed.rows(2, 4).columns["timestamps"].tolist() == expected.tolist()
    assert timed.without("timestamps").columns == {}


def test_filtered_histories_keep_their_times(timed):
    remaining = timed.values % 2 == 0
    left = timed.with_queries(timestamps=np.arange(len(timed))).where(remaining).take(np.array([7, 3, 3]))
    for position, row in enumerate((7, 3, 3)):
        even = timed[row] % 2 == 0
        assert left[position].tolist() == timed[row][even].tolist()
        assert left.row(position).columns["timestamps"].tolist() == timed.row(row).columns["timestamps"][even].tolist()
    assert left.queries["timestamps"].tolist() == [7, 3, 3]
