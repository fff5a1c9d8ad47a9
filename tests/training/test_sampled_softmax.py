"""Sampled softmax equals the full one with every item drawn once, and in expectation otherwise."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.random_streams import NegativeSampler
from hf_bert4rec.training.arguments import MaskingArguments
from hf_bert4rec.training.build import build_collator
from hf_bert4rec.training.losses import sampled_softmax_loss
from hf_bert4rec.training.training_forward import training_forward_installed
from tests.model.tiny import build, tiny_config
from tests.recipes import NO_DROPOUT

ITEMS, HIDDEN, POSITIONS, FIRST = 400, 6, 9, 3


@pytest.fixture
def problem() -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(POSITIONS, HIDDEN), nn.Linear(HIDDEN, ITEMS), torch.randint(FIRST, ITEMS, (POSITIONS,))


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).zipf(1.4, ITEMS).clip(max=5000) * (np.arange(ITEMS) >= FIRST)


def gradients(loss, decoder):
    decoder.zero_grad()
    loss.backward()
    return loss.detach(), decoder.weight.grad.clone(), decoder.bias.grad.clone()


def test_every_item_once_is_the_full_loss_with_its_gradients(problem):
    states, decoder, labels = problem
    full = gradients(functional.cross_entropy(decoder(states), labels), decoder)
    all_items = torch.arange(ITEMS)
    torch.testing.assert_close(gradients(sampled_softmax_loss(states, decoder, labels, all_items, None), decoder), full)
    halved = sampled_softmax_loss(states, decoder, labels, all_items, None, num_items_in_batch=2 * POSITIONS)
    torch.testing.assert_close(2 * halved, full[0])


def test_the_sum_over_the_catalogue_is_unbiased(problem, counts):
    states, decoder, labels = problem
    scores = decoder(states).detach().double()
    scores[:, :FIRST] = -torch.inf  # special tokens are never drawn
    own = scores[torch.arange(POSITIONS), labels]
    sampler = NegativeSampler(counts, 64, FIRST)
    sums = torch.zeros(POSITIONS, dtype=torch.float64)
    for row in range(1500):
        ids, log_count = map(torch.from_numpy, sampler.draw(0, row))
        losses = [
            sampled_softmax_loss(states[[position]], decoder, labels[[position]], ids, log_count)
            for position in range(POSITIONS)
        ]
        sums += (torch.stack(losses).detach().double() + own).exp() / 1500
    torch.testing.assert_close(sums, scores.exp().sum(1), rtol=0.02, atol=0)


def test_draws_follow_their_shares_and_depend_on_epoch_and_row_only(counts):
    sampler = NegativeSampler(counts, 200_000, FIRST)
    ids, log_count = sampler.draw(1, 7)
    expected = sampler.share * 200_000
    actual = np.bincount(ids, minlength=ITEMS)
    assert not actual[:FIRST].any()
    assert np.abs(actual[FIRST:] - expected).max() < 5 * np.sqrt(expected.max())
    np.testing.assert_allclose(np.exp(log_count), expected[ids - FIRST], rtol=1e-5)
    np.testing.assert_array_equal(ids, sampler.draw(1, 7)[0])
    assert (ids != sampler.draw(2, 7)[0]).any()
    assert (ids != sampler.draw(1, 8)[0]).any()
    with pytest.raises(ValueError, match="0 negatives"):
        NegativeSampler(counts, 0, FIRST)


def test_the_model_uses_the_negatives_of_the_collator(tokenizer, histories):
    model = build(tiny_config(max_position_embeddings=24, initializer_range=0.02, **NO_DROPOUT)).train()
    rows = [{"input_ids": ids, "index": row, "epoch": 0} for row, ids in enumerate(histories) if len(ids) > 1]
    counts = np.bincount(histories.values, minlength=len(tokenizer))
    sampler = NegativeSampler(counts, 20_000, tokenizer.first_item_id)
    plain = DataCollatorForMaskedItems(tokenizer)(rows)
    batch = DataCollatorForMaskedItems(tokenizer, negatives=sampler)(rows)
    assert batch["negatives"].shape == batch["negatives_log_count"].shape == (20_000,)
    with training_forward_installed(model):
        outputs = model(**batch)
    assert outputs.logits is None
    scores = model(**plain).logits.clone()
    scores[:, : tokenizer.first_item_id] = -torch.inf
    labels = plain["labels"][plain["labels"] != -100]
    torch.testing.assert_close(outputs.loss, functional.cross_entropy(scores, labels), rtol=5e-3, atol=0)


def test_the_option_reaches_the_batches(tokenizer, histories):
    data = SimpleNamespace(tokenizer=tokenizer, train=histories)
    row = [{"input_ids": histories[0], "index": 0, "epoch": 0}]
    assert "negatives" not in build_collator(data, MaskingArguments(), 0)(row)
    batch = build_collator(data, MaskingArguments(sampled_negatives=5), 0)(row)
    assert batch["negatives"].shape == (5,)
