"""Masks: their positions, their share, and that they depend on (seed, epoch, row) only."""

import numpy as np
import pytest
import torch

from hf_bert4rec.data.collators import (
    IGNORED,
    DataCollatorForMaskedItems,
    DataCollatorForNextItem,
    pad_rows,
)
from hf_bert4rec.data.ragged import Ragged
from hf_bert4rec.data.random_streams import NegativeSampler, Stream, hashed_uniform
from hf_bert4rec.data.windows import TrainingWindows


@pytest.fixture
def windows(histories) -> TrainingWindows:
    return TrainingWindows(histories, max_length=8, stride=4)


def rows_of(windows, epoch=0):
    windows.set_epoch(epoch)
    return [windows[row] for row in range(len(windows))]


def restored(batch, first_item_id):
    """The input ids before masking."""
    return torch.where(batch["labels"] == IGNORED, batch["input_ids"], batch["labels"])


def test_windows_cover_every_interaction_and_end_with_the_last(windows, histories):
    values = histories.values
    covered = np.zeros(len(values), dtype=bool)
    starts, stops = windows.windows.starts, windows.windows.starts + windows.lengths
    for start, stop in zip(starts, stops, strict=True):
        assert 2 <= stop - start <= 8
        covered[start:stop] = True
    assert (covered == (histories.lengths >= 2)[histories.row_ids]).all()
    ends = set(stops.tolist())
    assert all(end in ends for end, length in zip(histories.offsets[1:], histories.lengths, strict=True) if length > 1)


@pytest.mark.parametrize(("length", "stride"), [(4, 0), (4, 5), (1, 1)])
def test_lengths_and_strides_out_of_range_are_refused(length, stride):
    with pytest.raises(ValueError, match=rf"stride \({stride}\) must be from 1 to max_length \({length}\)"):
        TrainingWindows(Ragged.from_lists([[5, 6, 7]]), length, stride)


def test_a_short_history_is_one_window():
    windows = TrainingWindows(Ragged.from_lists([[5, 6, 7], [4], list(range(3, 13))]), max_length=4, stride=4)
    assert [windows[row]["input_ids"].tolist() for row in range(len(windows))] == [
        [5, 6, 7],
        [3, 4, 5, 6],
        [5, 6, 7, 8],
        [9, 10, 11, 12],
    ]
    shortest = TrainingWindows(Ragged.from_lists([[5, 6, 7]]), max_length=2)
    assert [shortest[row]["input_ids"].tolist() for row in range(len(shortest))] == [[5, 6], [6, 7]]
    with pytest.raises(ValueError, match="nothing to train on"):
        TrainingWindows(Ragged.from_lists([[5]]), max_length=4)


def test_labels_are_what_was_masked(windows, tokenizer):
    batch = DataCollatorForMaskedItems(tokenizer, pad_to_multiple_of=1)(rows_of(windows))
    expected = pad_rows([row["input_ids"] for row in rows_of(windows)], tokenizer.pad_token_id)
    assert (restored(batch, tokenizer.first_item_id).numpy() == expected).all()
    masked = batch["labels"] != IGNORED
    assert (batch["input_ids"][masked] == tokenizer.mask_token_id).all()
    assert masked.any(dim=1).all()
    assert (batch["attention_mask"].numpy() == (expected != tokenizer.pad_token_id)).all()


def test_the_share_of_masked_positions(tokenizer):
    windows = TrainingWindows(Ragged.from_lists([list(range(3, 43))] * 500), max_length=40)
    collator = DataCollatorForMaskedItems(tokenizer, mlm_probability=0.3)
    share = (collator(rows_of(windows))["labels"] != IGNORED).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.01)


def test_replacement_shares_and_that_only_items_are_drawn(tokenizer):
    windows = TrainingWindows(Ragged.from_lists([list(range(3, 43))] * 500), max_length=40)
    collator = DataCollatorForMaskedItems(
        tokenizer, mlm_probability=0.5, mask_replace_prob=0.8, random_replace_prob=0.1
    )
    batch = collator(rows_of(windows))
    masked = batch["labels"] != IGNORED
    inputs, labels = batch["input_ids"][masked], batch["labels"][masked]
    is_mask = inputs == tokenizer.mask_token_id
    assert is_mask.float().mean().item() == pytest.approx(0.8, abs=0.01)
    unchanged = inputs == labels
    assert unchanged.float().mean().item() == pytest.approx(0.1 + 0.1 / 40, abs=0.01)
    drawn = inputs[~is_mask & ~unchanged]
    assert set(drawn.tolist()) == set(range(tokenizer.first_item_id, len(tokenizer)))


def test_rows_masked_only_at_the_end(windows, tokenizer):
    rows = rows_of(windows)
    batch = DataCollatorForMaskedItems(tokenizer, last_item_prob=1.0)(rows)
    positions = (batch["labels"] != IGNORED).nonzero()
    assert positions[:, 0].tolist() == list(range(len(rows)))
    assert positions[:, 1].tolist() == [len(row["input_ids"]) - 1 for row in rows]


def test_batches_of_the_causal_task(windows, tokenizer):
    rows = rows_of(windows)
    batch = DataCollatorForMaskedItems(tokenizer, causal_prob=1.0)(rows)
    assert batch["is_causal"] is True
    assert torch.equal(batch["labels"].masked_fill(batch["labels"] == IGNORED, 0), batch["input_ids"])
    assert (batch["labels"] != IGNORED).sum(-1).tolist() == [len(row["input_ids"]) for row in rows]
    collator = DataCollatorForMaskedItems(tokenizer, causal_prob=0.7)
    row = {"input_ids": np.array([5, 6, 7])}
    batches = [collator([{**row, "index": index, "epoch": 3}]) for index in range(2000)]
    assert sum("is_causal" in batch for batch in batches) / 2000 == pytest.approx(0.7, abs=0.03)
    assert all((batch["labels"] == IGNORED).any() for batch in batches if "is_causal" not in batch)


def test_masks_depend_on_seed_epoch_and_row_only(windows, tokenizer):
    collator = DataCollatorForMaskedItems(tokenizer)
    batch = collator(rows_of(windows))
    single = [collator([row])["labels"][0] for row in rows_of(windows)]
    for row, labels in enumerate(single):
        assert torch.equal(batch["labels"][row, : len(labels)], labels)
    assert not torch.equal(collator(rows_of(windows, epoch=1))["labels"], batch["labels"])
    other = DataCollatorForMaskedItems(tokenizer, seed=1)(rows_of(windows))
    assert not torch.equal(other["labels"], batch["labels"])


def test_draws_are_those_of_splitmix64():
    """The first two numbers of its generator with seed 0; the second key leads from one state to the next."""
    first, second, step = 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x9E3779B97F4A7C15
    assert hashed_uniform(0) == (first >> 11) / 2**53
    assert hashed_uniform(0, (step - first) % 2**64) == (second >> 11) / 2**53
    assert [*Stream] == [*range(7)]  # another number would change every trained model


def test_negatives_do_not_follow_the_order_of_ties(tokenizer):
    collator = DataCollatorForMaskedItems(tokenizer)
    ties = collator._draw(Stream.ORDER_OF_TIES, [np.array([[3]]), np.array([[7]])], 50)[0]
    counts = np.zeros(len(tokenizer), dtype=np.int64)  # every item is equally likely
    sampler = NegativeSampler(counts, 50, tokenizer.first_item_id)
    same_stream = (ties * tokenizer.num_items).astype(np.int64) + tokenizer.first_item_id
    assert (sampler.draw(3, 7)[0] != same_stream).sum() > 40


@pytest.mark.parametrize(
    "options", [{"mlm_probability": 1.2}, {"causal_prob": -1}, {"mask_replace_prob": 0.8, "random_replace_prob": 0.3}]
)
def test_invalid_shares_are_refused(tokenizer, options):
    with pytest.raises(ValueError, match=r"mlm_probability|causal_prob|add up to more than 1"):
        DataCollatorForMaskedItems(tokenizer, **options)


def test_the_mask_is_at_the_end(tokenizer):
    rows = [
        {"input_ids": np.arange(3, 10), "targets": np.array([12])},
        {"input_ids": np.array([5]), "targets": np.array([6])},
        {"input_ids": np.array([], dtype=np.int64), "targets": np.array([7])},
    ]
    batch = DataCollatorForNextItem(tokenizer, max_length=5)(rows)
    inputs = [batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist() for row in range(3)]
    assert inputs == [[6, 7, 8, 9, 1], [5, 1], [1]]
    assert batch["seen"][0].tolist() == list(range(3, 10))
    assert batch["seen"][1].tolist() == [5] + [IGNORED] * 6
    assert batch["targets"].tolist() == [[12], [6], [7]]
    assert batch["attention_mask"][1].tolist() == [1, 1, 0, 0, 0]
