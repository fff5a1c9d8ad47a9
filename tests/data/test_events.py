"""Event types and weights of interactions: tables, histories, splits, training rows and batches."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from datasets import Dataset, DatasetDict

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data import (
    LeakageError,
    build_histories,
    check_leakage,
    global_temporal_split,
    last_n,
    leave_one_out,
    read_interactions,
)
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.collators import IGNORED, DataCollatorForMaskedItems, DataCollatorForNextItem
from hf_bert4rec.data.encoding import collator_row, encode_histories
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.data.ragged import concatenate, labels_of, seen_items
from hf_bert4rec.data.transitions import damped_transitions, label_counts
from hf_bert4rec.data.windows import TrainingWindows

# User 1 views and buys; user 2 buys once, which is too little to hold out; user 3 has a view after the last purchase.
ROWS = [
    *((1, 5, "view"), (1, 5, "buy"), (1, 6, "view"), (1, 7, "view"), (1, 6, "buy"), (1, 8, "view"), (1, 7, "buy")),
    *((2, 5, "buy"), (2, 6, "view")),
    *((3, 6, "view"), (3, 5, "buy"), (3, 7, "view"), (3, 7, "buy"), (3, 8, "view")),
]
TARGETS = ["buy"]


@pytest.fixture
def table() -> pl.DataFrame:
    frame = pl.DataFrame(ROWS, schema=["user_id", "movie_id", "kind"], orient="row")
    return frame.with_columns(timestamp=pl.int_range(pl.len()), weight=pl.lit(1.0))


@pytest.fixture
def histories(table: pl.DataFrame) -> Dataset:
    return build_histories(read_interactions(table, event_column="kind")["ratings"], 1)


@pytest.fixture
def tokenizer() -> Bert4RecTokenizer:
    movies = {"movie_id": [5, 6, 7, 8]}  # input ids 3 to 6
    return Bert4RecTokenizer.from_movies(movies, event_names=["buy", "view"], num_target_events=1)


def prepared(table: pl.DataFrame, tmp_path: Path, **options: Any) -> PreparedData:
    table.write_csv(tmp_path / "shop.csv")
    options = {"event_column": "kind", "target_events": TARGETS, "min_interactions": 1, **options}
    return prepare(DataArguments(ratings=str(tmp_path / "shop.csv"), **options))


def test_events_of_other_kinds_do_not_repeat_each_other(histories: Dataset, table: pl.DataFrame) -> None:
    assert histories[0]["item_ids"] == [5, 5, 6, 7, 6, 8, 7]
    assert histories[0]["events"] == ["view", "buy", "view", "view", "buy", "view", "buy"]
    twice = pl.concat([table, table.head(2).with_columns(timestamp=100 + pl.int_range(2))])
    ratings = read_interactions(twice, event_column="kind", weight_column="weight")["ratings"]
    assert build_histories(ratings, 1)[0]["item_ids"] == histories[0]["item_ids"]
    assert build_histories(ratings, 1, repeats="last")[0]["item_ids"] == [6, 7, 6, 8, 7, 5, 5]
    assert build_histories(ratings, 1, repeats="all")[0]["weights"] == [1.0] * 9


def test_the_last_target_events_are_held_out_after_everything_before_them(histories: Dataset) -> None:
    split = leave_one_out(histories, TARGETS)
    check_leakage(split)
    assert split["train"]["item_ids"][:] == [[5, 5, 6, 7], [5, 6], [6]]
    assert split["validation"]["item_ids"][:] == [[5, 5, 6, 7], [6]]
    assert (split["validation"]["target"][:], split["validation"]["target_event"][:]) == ([6, 5], ["buy", "buy"])
    assert split["test"]["item_ids"][:] == [[5, 5, 6, 7, 6, 8], [6, 5, 7]]
    assert split["test"]["events"][1] == ["view", "buy", "view"]
    assert (split["test"]["target"][:], split["test"]["target_timestamp"][:]) == ([7, 7], [6, 12])
    first_seen = split["test"].map(lambda row: {"target_event": "view"})
    with pytest.raises(LeakageError, match="test target is in the same user's test history; the first is item 7"):
        check_leakage(DatasetDict(split | {"test": first_seen}))


def test_other_splits_hold_out_target_events_too(histories: Dataset) -> None:
    split = last_n(histories, 1, TARGETS)
    assert (split["test"]["targets"][:], split["test"]["target_events"][:]) == ([[7], [7]], [["buy"], ["buy"]])
    for every in (leave_one_out(histories, ["view", "buy"]), leave_one_out(histories)):
        assert (every["test"]["target"][:], every["test"]["target_event"][:]) == ([7, 8], ["buy", "view"])
    # The cuts are at 7 and at 11 of the times 0 to 13.
    temporal = global_temporal_split(histories, 0.8, TARGETS)
    check_leakage(temporal)
    assert temporal["test"]["cut"][0] == 11
    assert (temporal["test"]["user_id"][:], temporal["test"]["target_timestamp"][:]) == ([3], [12])
    assert temporal["validation"]["target_timestamp"][:] == [10]


def test_a_split_without_enough_target_events_says_so(histories: Dataset) -> None:
    with pytest.raises(ValueError, match="None of 3 histories has the 9 interactions, 8 of them buy, that 4 targets"):
        last_n(histories, 4, TARGETS)


def test_prepared_data_know_which_events_are_labels(table: pl.DataFrame, tmp_path: Path) -> None:
    data = prepared(table, tmp_path)
    assert (data.tokenizer.event_names, data.tokenizer.target_events) == (["buy", "view"], ["buy"])
    assert data.tokenizer.items["count"] == [2, 0, 0, 0]  # purchases in training, by article 5 to 8
    assert data.train.columns["event_ids"].tolist() == [1, 0, 1, 1, 0, 1, 1]
    assert data.train.columns["label_weights"].tolist() == [0, 1, 0, 0, 1, 0, 0]
    test = data.next_item_dataset("test")
    assert test[1]["event_ids"].tolist() == [1, 0, 1]
    assert test[1]["queries"] == {"event_ids": 0}
    assert seen_items(test.histories)[0].tolist() == data.tokenizer.encode_items([5, 6])
    assert labels_of(data.known_interactions("test"))[0].tolist() == data.tokenizer.encode_items([5, 6])
    assert data.train_liked.tolist() == [False, True, False, False, True, False, False]


def test_interactions_of_weight_0_are_not_counted_as_popularity(table: pl.DataFrame, tmp_path: Path) -> None:
    weight = (pl.int_range(pl.len()) != 1).cast(pl.Float64)  # 0 for user 1's purchase of 5
    data = prepared(table.with_columns(weight=weight), tmp_path, weight_column="weight")
    assert data.tokenizer.items["count"] == [1, 0, 0, 0]
    assert label_counts(data.train, len(data.tokenizer))[data.tokenizer.first_item_id :].tolist() == [1, 0, 0, 0]


def test_what_follows_in_transitions_is_a_label(histories: Dataset, tokenizer: Bert4RecTokenizer) -> None:
    first_user = encode_histories(histories, tokenizer).rows(0, 1)
    table = damped_transitions(first_user, len(tokenizer), steps=1, power=0.0).toarray()
    # 5 viewed → 5 bought, 7 viewed → 6 bought, 8 viewed → 7 bought
    expected = {(3, 3): 1.0, (5, 4): 1.0, (6, 5): 1.0}
    assert {(int(a), int(b)): table[a, b] for a, b in zip(*table.nonzero(), strict=True)} == expected


def test_training_rows_end_with_a_label(histories: Dataset, tokenizer: Bert4RecTokenizer) -> None:
    windows = TrainingWindows(encode_histories(histories, tokenizer), 4)
    # Two windows of four for users 1 and 3, each up to its last purchase; user 2 has nothing before the purchase.
    expected = [[3, 3], [5, 4, 6, 5], [4, 3, 5, 5], [3, 5, 5]]
    assert [windows[row]["input_ids"].tolist() for row in range(len(windows))] == expected
    assert windows[0]["event_ids"].tolist() == [1, 0]
    views = encode_histories(histories, tokenizer)
    views = views.with_columns(label_weights=np.zeros(len(views.values), dtype=np.float32))
    with pytest.raises(ValueError, match="no history of two items or more"):
        TrainingWindows(views, 4)


@pytest.mark.parametrize("options", [{}, {"last_item_prob": 1.0}, {"causal_prob": 1.0}, {"mlm_probability": 1.0}])
def test_only_target_events_are_labels_and_their_kind_stays(
    histories: Dataset, tokenizer: Bert4RecTokenizer, options: dict[str, Any]
) -> None:
    windows = TrainingWindows(encode_histories(histories, tokenizer), 10)
    batch = DataCollatorForMaskedItems(tokenizer, **options)([windows[0], windows[1]])
    assert batch["event_ids"][:, :7].tolist() == [[1, 0, 1, 1, 0, 1, 0], [1, 0, 1, 0, 0, 0, 0]]
    labelled = batch["labels"] != IGNORED
    assert (batch["label_weights"][labelled] == 1).all()
    assert labelled.any(1).all()
    if "last_item_prob" in options:
        assert labelled.nonzero().tolist() == [[0, 6], [1, 3]]
    elif options:
        assert labelled.nonzero().tolist() == [[0, 1], [0, 4], [0, 6], [1, 1], [1, 3]]


def test_events_move_with_simultaneous_items(tokenizer: Bert4RecTokenizer) -> None:
    rows = {"user_id": [1], "item_ids": [[5, 6, 7, 8]], "events": [["buy", "view", "view", "buy"]]}
    rows |= {"timestamps": [[9, 9, 9, 9]], "weights": [[2.0, 3.0, 4.0, 0.5]]}
    windows = TrainingWindows(encode_histories(Dataset.from_dict(rows), tokenizer, timed=True), 4)
    orders = set()
    for epoch in range(9):
        windows.set_epoch(epoch)
        batch = DataCollatorForMaskedItems(tokenizer, mlm_probability=1.0, mask_replace_prob=0.0)([windows[0]])
        items = batch["input_ids"][0, :4].tolist()
        assert batch["event_ids"][0, :4].tolist() == [{3: 0, 4: 1, 5: 1, 6: 0}[item] for item in items]
        assert batch["label_weights"][0, :4].tolist() == [{3: 2.0, 4: 0, 5: 0, 6: 0.5}[item] for item in items]
        orders.add(tuple(items))
    assert len(orders) > 4


def test_the_requested_kind_is_at_the_mask(histories: Dataset, tokenizer: Bert4RecTokenizer) -> None:
    encoded = encode_histories(histories, tokenizer).with_queries(event_ids=np.array([1, 0, 0]))
    batch = DataCollatorForNextItem(tokenizer, 4)([collator_row(encoded, row) for row in (0, 1)])
    assert batch["event_ids"].tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]
    assert batch["seen"].tolist() == [[3, 4, 5, 6], [3, IGNORED, IGNORED, IGNORED]]


def test_rows_of_several_sources_keep_the_columns_that_all_have(
    histories: Dataset, tokenizer: Bert4RecTokenizer
) -> None:
    timed = encode_histories(histories, tokenizer, timed=True)
    both = concatenate([timed, timed.without("timestamps")])
    assert sorted(both.columns) == ["event_ids", "label_weights"]
    assert both.columns["event_ids"].tolist() == 2 * timed.columns["event_ids"].tolist()


@pytest.mark.parametrize(
    ("column", "value", "options", "message"),
    [
        (
            "kind",
            "view",
            {"target_events": ["rent"]},
            r"target_events is \['rent'\], but the event types .* 'buy', 'view'",
        ),
        ("kind", "view", {"target_events": None}, r"target_events is None, .* are 'buy', 'view'"),
        ("kind", " ", {}, "row 4 .*'kind' is ' ', but an event type is needed"),
        ("kind", None, {}, "row 4 .*'kind' is None, but an event type is needed"),
        (
            "weight",
            -0.5,
            {"weight_column": "weight"},
            "row 4 .*'weight' is '-0.5', but a weight is a finite number of 0",
        ),
        ("weight", float("nan"), {"weight_column": "weight"}, "row 4 .*'weight' is 'NaN', but a weight is"),
        ("weight", None, {"weight_column": "weight"}, "row 4 .*'weight' is None, but a weight is"),
        ("movie_id", 8, {"event_column": "kinds"}, "no column 'kinds'.* event_column="),
    ],
)
def test_bad_events_and_weights_are_named(
    table: pl.DataFrame, tmp_path: Path, column: str, value: Any, options: dict[str, Any], message: str
) -> None:
    bad = table.with_columns(pl.when(pl.int_range(pl.len()) == 4).then(pl.lit(value)).otherwise(column).alias(column))
    with pytest.raises(ValueError, match=message):
        prepared(bad, tmp_path, **options)


def test_weights_that_are_all_zero_are_refused(table: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"row 0 .*'weight' is 0.0, but some weight must be above 0; 14 of 14"):
        read_interactions(table.with_columns(weight=0.0), weight_column="weight")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split is 'last_n'; it must be one of leave-one-out, last-n, temporal"):
        DataArguments(split="last_n")


def test_options_that_need_each_other() -> None:
    with pytest.raises(ValueError, match="event_column is 'kind', which needs a table"):
        DataArguments(event_column="kind")
    with pytest.raises(ValueError, match="name the column of these by event_column"):
        DataArguments(target_events=["buy"])
    with pytest.raises(
        ValueError, match=r"target_events is \['buy', 'view'\] with split=last-n, which needs a single type"
    ):
        DataArguments(ratings="x.csv", event_column="kind", target_events=["buy", "view"], split="last-n")
    assert DataArguments(ratings="x.csv", event_column="kind", target_events=["a", "b", "a"]).target_events == [
        "a",
        "b",
    ]


def test_an_unknown_kind_is_refused(histories: Dataset, tokenizer: Bert4RecTokenizer) -> None:
    plain = Bert4RecTokenizer.from_movies({"movie_id": [5, 6, 7, 8]})
    with pytest.raises(ValueError, match="the event type 'view' is given to a model without event types"):
        encode_histories(histories, plain)
    with pytest.raises(ValueError, match="the event type 'rent' is none of 'buy', 'view'"):
        tokenizer.encode_events(["buy", "rent"])


def test_the_tokenizer_keeps_kinds_of_events(tokenizer: Bert4RecTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = Bert4RecTokenizer.from_pretrained(tmp_path).with_movies({"movie_id": [5], "title": ["Fünf"]})
    assert (loaded.event_names, loaded.target_events) == (["buy", "view"], ["buy"])
    for names, number in ((["a", "a"], 1), ("ab", 1), ([1], 1), (["a"], 0), (["a"], 2), ([], 1), (["a"], True)):
        with pytest.raises(ValueError, match="event"):
            Bert4RecTokenizer.from_movies({"movie_id": [5]}, event_names=names, num_target_events=number)
