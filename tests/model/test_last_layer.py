"""The last layer works out labelled places alone: the same loss and gradients as of all places, from less work."""

from __future__ import annotations

import pytest
import torch

from hf_bert4rec.model import layers_bert4rec, modeling_bert4rec
from hf_bert4rec.model.layers_bert4rec import LABEL_COUNT_MULTIPLE, labelled_positions
from tests.model.tiny import CLOSE, VOCAB, WINDOW, build

UNEVEN = [{0, 3, 11}, {8}, set(), {0}]  # labelled places of the four rows, which are 12, 9, 5 and 1 long


@pytest.fixture
def uneven(rows):
    labels = torch.full((4, WINDOW), -100)
    for row, places in enumerate(UNEVEN):
        for place in places:
            labels[row, place] = 5 + place
    return {**rows, "labels": labels}


def step(model, batch, **kwargs):
    """Loss, gradients, and the shape of what goes through the last layer's feed-forward."""
    shapes = []
    hook = model.bert4rec.layers[-1].feed_forward.register_forward_pre_hook(
        lambda module, arguments: shapes.append(tuple(arguments[0].shape))
    )
    model.zero_grad()
    outputs = model(**batch, **kwargs)
    outputs.loss.backward()
    hook.remove()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return outputs, gradients, shapes[0]


def model_of(kind, attention="sdpa"):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    kind.sparse_prediction = True
    torch.manual_seed(0)
    model = build(kind).train()
    model.set_attn_implementation(attention)
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["right", "left", "none"])
@pytest.mark.parametrize("again", [None, False, True], ids=["", "activations made again", "by a reentrant checkpoint"])
def test_loss_and_gradients_are_those_of_all_places(kind, uneven, attention, side, again, monkeypatch):
    if side == "none":
        del uneven["attention_mask"]
    if side == "left":
        uneven = {name: values.flip(1) for name, values in uneven.items()}
    model = model_of(kind, attention)
    if again is not None:
        model.gradient_checkpointing_enable({"use_reentrant": again})
    torch.manual_seed(0)  # of the times that training hides
    found, gradients, shape = step(model, uneven)
    monkeypatch.setattr(type(model), "_last_layer_chooses", lambda *_: False)
    torch.manual_seed(0)
    expected, whole_gradients, whole_shape = step(model, uneven)
    assert shape[:-1] == ((4, WINDOW) if kind.causal else (5,))
    assert whole_shape[:-1] == (4, WINDOW)
    assert found.logits.shape == (5, VOCAB)
    torch.testing.assert_close(found.logits, expected.logits, **CLOSE)
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    assert gradients.keys() == whole_gradients.keys()
    torch.testing.assert_close(gradients, whole_gradients, **CLOSE)


def test_who_wants_every_place_gets_every_place(kind, uneven):
    model = model_of(kind, "eager")
    outputs, _, shape = step(model, uneven, output_hidden_states=True, output_attentions=True)
    assert shape[:-1] == outputs.hidden_states[-1].shape[:-1] == (4, WINDOW)
    assert outputs.attentions[-1].shape[-2:] == (WINDOW, WINDOW)
    model.config.output_attentions = True
    assert step(model, uneven)[0].attentions[-1].shape[-2:] == (WINDOW, WINDOW)


def test_a_mask_of_every_pair_is_kept(kind, uneven):
    model = model_of(kind)
    expected = step(model, uneven)[0].loss
    pairs = torch.ones(WINDOW, WINDOW, dtype=torch.bool)
    pairs = (pairs.tril() if kind.causal else pairs) & uneven["attention_mask"][:, None, None].bool()
    torch.manual_seed(0)
    positions = torch.arange(WINDOW)[None]
    found, _, shape = step(model, {**uneven, "attention_mask": pairs, "position_ids": positions})
    assert shape[:-1] == (4, WINDOW)
    if not kind.time_aware:  # which hides some times by chance
        torch.testing.assert_close(found.loss, expected, **CLOSE)


def test_a_batch_without_labels_has_a_loss_of_nothing(kind, uneven):
    uneven["labels"] = torch.full_like(uneven["labels"], -100)
    outputs, gradients, _ = step(model_of(kind), uneven, num_items_in_batch=torch.tensor(3))
    assert outputs.logits.shape == (0, VOCAB)
    assert outputs.loss == 0
    assert all((gradient == 0).all() for gradient in gradients.values())


def test_what_sizes_are_rounded_up_with_counts_for_nothing(kind, uneven, monkeypatch):
    model = model_of(kind)
    torch.manual_seed(0)
    expected, whole_gradients, _ = step(model, uneven)
    monkeypatch.setattr(modeling_bert4rec, "MAX_DENSE_LOGITS", 0)
    torch.manual_seed(0)
    found, gradients, shape = step(model, uneven)
    assert found.logits is None
    assert shape[:-1] == ((4, WINDOW) if kind.causal else (LABEL_COUNT_MULTIPLE,))
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    torch.testing.assert_close(gradients, whole_gradients, **CLOSE)


def test_labelled_places_of_every_row(monkeypatch):
    labels = torch.tensor([[-100, 7, -100, 8], [9, -100, -100, -100], [-100] * 4])
    asked = labelled_positions(labels)
    assert asked.places.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert asked.chosen.tolist() == [0, 1, 4]
    assert labelled_positions(labels, 4).chosen.tolist() == [0, 1, 4, 0]
    monkeypatch.setattr(layers_bert4rec, "QUERY_LENGTH_MULTIPLE", 2)
    asked = labelled_positions(labels, 3)
    assert asked.places.tolist() == [[1, 3], [0, 1], [0, 1]]
    assert asked.chosen.tolist() == [0, 1, 2]
