"""The forward that training installs gives the model's own loss and gradients, from labelled positions only."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.training import training_forward
from hf_bert4rec.training.training_forward import (
    LABEL_COUNT_MULTIPLE,
    FastDropout,
    TrainingCollator,
    labelled_targets,
    supports_query_positions,
    training_forward_installed,
)
from tests.model.tiny import CLOSE, WINDOW, build, tiny_config

LABELLED = [{0, 3, 11}, {8}, set(), {0}]  # positions in four rows of length 12, 9, 5 and 1
LABELS = 5


@pytest.fixture
def batch(rows):
    labels = torch.full((4, WINDOW), -100)
    for row, positions in enumerate(LABELLED):
        for position in positions:
            labels[row, position] = 5 + position
    return {**rows, "labels": labels}


def step(model, batch, **kwargs):
    """Loss, gradients, and the shape of the input to the last layer's feed-forward."""
    shapes = []
    hook = model.bert4rec.layers[-1].feed_forward.register_forward_pre_hook(
        lambda module, arguments: shapes.append(tuple(arguments[0].shape))
    )
    model.zero_grad()
    torch.manual_seed(0)  # for the random dropout of times
    loss = model(**batch, **kwargs).loss
    loss.backward()
    hook.remove()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return loss, gradients, shapes[0]


def training_step(model, batch, **kwargs):
    with training_forward_installed(model):
        return step(model, batch, **kwargs)


def model_of(kind, attention="sdpa"):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    torch.manual_seed(0)
    model = build(kind).train()
    model.set_attn_implementation(attention)
    return model


def assert_trains_as_the_plain_forward(model, batch, last_layer=None, **negatives):
    """Loss and gradients are the same; the last layer computes `last_layer`, (rows, positions) or (labels,)."""
    loss, gradients, shape = training_step(model, {**batch, **negatives})
    expected, all_gradients, full_shape = step(model, batch)
    assert full_shape[:-1] == (4, WINDOW)
    assert last_layer is None or shape[:-1] == last_layer
    torch.testing.assert_close(loss, expected, **CLOSE)
    torch.testing.assert_close(gradients, all_gradients, **CLOSE)
    return gradients


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["right", "left", "none"])
@pytest.mark.parametrize("reentrant", [None, False, True], ids=["", "checkpointed", "checkpointed, reentrant"])
def test_loss_and_gradients_are_those_of_the_plain_forward(kind, batch, attention, side, reentrant):
    if side == "none":
        del batch["attention_mask"]
    if side == "left":
        batch = {name: values.flip(1) for name, values in batch.items()}
    model = model_of(kind, attention)
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert_trains_as_the_plain_forward(model, batch, (4, WINDOW) if kind.causal else (LABELS,))


def test_the_causal_task_trains_as_the_plain_forward(kind, batch):
    assert_trains_as_the_plain_forward(model_of(kind), {**batch, "is_causal": True}, (4, WINDOW))


def test_chunks_and_padding_to_a_multiple_do_not_change_the_loss(kind, batch, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    last_layer = (4, WINDOW) if kind.causal else (LABEL_COUNT_MULTIPLE,)
    assert_trains_as_the_plain_forward(model_of(kind), batch, last_layer)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_batch_without_labels_has_a_loss_of_zero(kind, batch, limit, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", limit)
    batch["labels"] = torch.full_like(batch["labels"], -100)
    loss, gradients, _ = training_step(model_of(kind), batch, num_items_in_batch=torch.tensor(3))
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients.values())


class Wrapped(nn.Module):
    """A decoder with an added low-rank term, as an adapter makes one; its `weight` is that of the layer inside."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.delta = nn.Parameter(torch.full_like(layer.weight, 0.1))

    @property
    def weight(self) -> torch.Tensor:
        return self.layer.weight

    @property
    def bias(self) -> torch.Tensor:
        return self.layer.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer(states) + states @ self.delta.T


@pytest.mark.parametrize("negatives", [{}, {"negatives": torch.arange(3, 9)}], ids=["", "negatives"])
def test_a_wrapped_decoder_is_trained_through_its_forward(kind, batch, negatives, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    model = model_of(kind)
    model.decoder = Wrapped(model.decoder)
    gradients = assert_trains_as_the_plain_forward(model, batch, **negatives)
    assert gradients["decoder.delta"].abs().sum() > 0


LABELLED_ROWS = torch.tensor([[-100, 8, 9, -100], [3, -100, -100, 11]])
WEIGHTS = torch.tensor([[7.0, 2.0, 0.5, 7.0], [1.0, 7.0, 7.0, 0.0]])  # 7: of no label


@pytest.mark.parametrize("form", ["dense", "chunked", "sampled"])
def test_the_loss_is_the_weighted_mean(form, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0 if form == "chunked" else 1 << 18)
    model = model_of(tiny_config())
    batch = {"input_ids": torch.tensor([[5, 1, 1, 6], [1, 7, 4, 1]]), "labels": LABELLED_ROWS}
    if form == "sampled":
        batch["negatives"] = torch.arange(3, model.config.vocab_size)

    def weighted(weights):
        return training_step(model, {**batch, "label_weights": weights})[:2]

    labelled = LABELLED_ROWS != -100
    shares = WEIGHTS[labelled] / WEIGHTS[labelled].sum()
    singly = [weighted(torch.eye(8)[position].view(2, 4)) for position in labelled.flatten().nonzero()[:, 0]]
    loss, gradients = weighted(WEIGHTS)
    torch.testing.assert_close(loss, sum(share * one for share, (one, _) in zip(shares, singly, strict=True)))
    for name, gradient in gradients.items():
        expected = sum(share * ones[name] for share, (_, ones) in zip(shares, singly, strict=True))
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
    plain, plain_gradients, _ = training_step(model, batch)
    equal, equal_gradients = weighted(torch.full_like(WEIGHTS, 3.0))
    torch.testing.assert_close(equal, plain)
    torch.testing.assert_close(equal_gradients, plain_gradients, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(loss, plain)


def test_evaluation_keeps_its_logits(kind, batch, rows, monkeypatch):
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    model = model_of(kind).eval()
    expected = model(**batch).logits
    with training_forward_installed(model), torch.no_grad():
        assert torch.equal(model(**batch).logits, expected)
        assert model(rows["input_ids"], rows["attention_mask"]).loss is None


def test_training_leaves_the_forward_unchanged(kind, batch):
    kind.hidden_dropout_prob = 0.3
    model = build(kind).train()
    modules = dict(model.named_modules())
    with training_forward_installed(model):
        layer = model.bert4rec.layers[0]
        assert type(layer.dropout) is FastDropout
        assert layer.dropout.p == 0.3
        clone = copy.deepcopy(model)
        assert clone(**batch).logits is None
        assert clone.forward.__self__ is clone
    assert dict(model.named_modules()) == modules
    assert model.forward.__func__ is Bert4RecForMaskedLM.forward
    assert pickle.loads(pickle.dumps(model))(**batch).logits.shape[0] == LABELS


def test_labelled_targets_of_every_row(monkeypatch):
    labels = torch.tensor([[-100, 7, -100, 8], [9, -100, -100, -100], [-100] * 4])
    weights = torch.arange(12.0).view(3, 4)
    targets = labelled_targets(labels, weights, sparse=True, vocab_size=10)
    assert targets.positions.tolist() == [[1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert targets.indices.tolist() == [0, 1, 4]
    assert targets.labels.tolist() == [7, 8, 9]
    assert targets.weights.tolist() == [1, 3, 4]
    monkeypatch.setattr(training_forward, "QUERY_LENGTH_MULTIPLE", 2)
    monkeypatch.setattr(training_forward, "LABEL_COUNT_MULTIPLE", 4)
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    targets = labelled_targets(labels, None, sparse=True, vocab_size=10)
    assert targets.positions.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert targets.indices.tolist() == [0, 1, 2, 0]
    assert targets.weights is None
    everywhere = labelled_targets(labels, None, sparse=False, vocab_size=10)
    assert everywhere.positions is None
    assert everywhere.indices.tolist() == [1, 3, 4, 0]
    assert everywhere.labels.tolist() == [7, 8, 9]


def test_the_collator_adds_targets_and_leaves_out_a_mask_without_padding(tokenizer):
    collator = TrainingCollator(DataCollatorForMaskedItems(tokenizer, mlm_probability=0.5), True, 10)
    rows = [{"input_ids": np.arange(3, 3 + length), "index": length, "epoch": 0} for length in (8, 5, 8)]
    padded, full = collator(rows), collator(rows[::2])
    assert "attention_mask" not in full
    assert padded["attention_mask"].sum(1).tolist() == [8, 5, 8]
    for batch in (padded, full):
        expected = labelled_targets(batch["labels"], None, sparse=True, vocab_size=10)
        torch.testing.assert_close(batch["targets"], expected._asdict())


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_given_targets_train_as_those_of_the_labels(kind, batch, weighted):
    model = model_of(kind)
    weights = torch.rand(batch["labels"].shape, generator=torch.Generator().manual_seed(0)) if weighted else None
    sparse = supports_query_positions(model)
    targets = labelled_targets(batch["labels"], weights, sparse, model.config.vocab_size)._asdict()
    given = training_step(model, {**batch, "targets": targets})
    found = training_step(model, {**batch, "label_weights": weights})
    torch.testing.assert_close(given[:2], found[:2], rtol=0, atol=0)


def test_dropout_keeps_the_mean_and_drops_its_share():
    torch.manual_seed(0)
    states = torch.ones(501, 799, requires_grad=True)
    dropout = FastDropout(0.3)
    out = dropout(states)
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert abs(np.corrcoef(out[:-1].detach().ravel(), out[1:].detach().ravel())[0, 1]) < 0.01
    out.sum().backward()
    assert torch.equal(states.grad, out.detach())  # dropped elements get no gradient
    assert torch.equal(dropout.eval()(states), states)


def test_a_compiled_model_is_not_compiled_again_for_other_lengths_and_labels(monkeypatch):
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    model = model_of(Bert4RecConfig(vocab_size=40, hidden_size=8, intermediate_size=8, num_hidden_layers=2))
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for length in (8, 12, 10, 6, 9):
        input_ids = torch.randint(3, 40, (4, length), generator=generator)
        labels = torch.where(torch.rand(4, length, generator=generator) < 0.5, input_ids, -100)
        batch = {"input_ids": input_ids, "labels": labels}
        with training_forward_installed(model, fast_dropout=False):
            expected = model(**batch).loss
            torch.testing.assert_close(torch.compile(model, backend="eager")(**batch).loss, expected, **CLOSE)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[2] == graphs[-1] <= 8, graphs
