"""Cross-entropy in chunks: the loss and gradients of the dense computation, in less memory."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_bert4rec import Bert4RecForMaskedLM
from hf_bert4rec.training import losses, training_forward
from hf_bert4rec.training.training_forward import training_forward_installed
from tests.model.tiny import build, tiny_config
from tests.recipes import NO_DROPOUT

ITEMS, HIDDEN = 5000, 8
CHUNK_POSITIONS = 7
OUTPUTS = [True, False]


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        actual = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(actual) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return actual


@pytest.fixture(params=OUTPUTS, ids=["labelled positions", "all positions"])
def model(request) -> Iterator[Bert4RecForMaskedLM]:
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "max_position_embeddings": 40}
    model = build(tiny_config(ITEMS, **sizes, **NO_DROPOUT, sparse_prediction=request.param)).train()
    with training_forward_installed(model):
        yield model


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(3, ITEMS, (6, 40), generator=generator)
    masked = torch.rand(input_ids.shape, generator=generator) < 0.4
    return {"input_ids": input_ids, "labels": torch.where(masked, input_ids, -100)}


def use_chunks(monkeypatch) -> None:
    """Compute the logits of CHUNK_POSITIONS positions at a time."""
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 0)
    monkeypatch.setattr(losses, "CPU_CHUNK_LOGITS", CHUNK_POSITIONS * ITEMS)
    monkeypatch.setattr(losses, "MIN_CHUNK_POSITIONS", 1)


@pytest.fixture(autouse=True)
def use_dense_logits(monkeypatch) -> None:
    """Compute all logits at once, until `use_chunks` is called."""
    monkeypatch.setattr(training_forward, "MAX_DENSE_LOGITS", 1 << 30)


def step(model, batch, **kwargs):
    """Loss, gradients, and the largest tensor of a step."""
    model.zero_grad()
    with LargestTensor() as largest:
        outputs = model(**batch, **kwargs)
        outputs.loss.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    return outputs, gradients, largest.elements


@pytest.mark.parametrize("options", [{}, {"num_items_in_batch": torch.tensor(500)}], ids=["mean", "accumulated"])
def test_loss_and_gradients_equal_the_dense_ones(model, batch, options, monkeypatch):
    dense, expected, largest = step(model, batch, **options)
    use_chunks(monkeypatch)
    chunked, actual, largest_chunked = step(model, batch, **options)
    assert chunked.logits is None
    torch.testing.assert_close(chunked.loss, dense.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
    positions = int((batch["labels"] != -100).sum())
    assert largest >= positions * ITEMS
    assert largest_chunked == HIDDEN * ITEMS  # the item embeddings themselves, and their gradient


def test_the_loss_is_exact_however_far_apart_the_logits_are():
    generator = torch.Generator().manual_seed(0)
    states = (100 * torch.randn(30, HIDDEN, generator=generator)).requires_grad_()
    decoder = torch.nn.Linear(HIDDEN, 200)
    labels = torch.randint(200, (30,), generator=generator)
    actual = losses.chunked_cross_entropy(states, decoder, labels)
    actual.backward()
    exact = states.detach().double().requires_grad_()
    weight, bias = (parameter.detach().double() for parameter in decoder.parameters())
    expected = torch.nn.functional.cross_entropy(exact @ weight.T + bias, labels)
    expected.backward()
    assert expected > 50
    torch.testing.assert_close(actual, expected.float(), rtol=1e-5, atol=0)
    torch.testing.assert_close(states.grad, exact.grad.float(), rtol=1e-4, atol=1e-6)


def test_frozen_weights_get_no_gradient(model, batch, monkeypatch):
    use_chunks(monkeypatch)
    _, expected, _ = step(model, batch)
    model.decoder.bias.requires_grad_(False)
    model.zero_grad()
    model(**batch).loss.backward()
    assert model.decoder.bias.grad is None
    assert all(
        torch.equal(value.grad, expected[name]) for name, value in model.named_parameters() if "decoder" not in name
    )


def test_training_in_chunks_runs_under_bfloat16_and_checkpointed_layers(model, batch, monkeypatch):
    use_chunks(monkeypatch)
    _, plain, _ = step(model, batch)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    _, checkpointed, _ = step(model, batch)
    torch.testing.assert_close(checkpointed, plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, rounded, _ = step(model, batch)
    name = "bert4rec.embeddings.item_embeddings.weight"
    assert torch.cosine_similarity(rounded[name].flatten(), plain[name].flatten(), dim=0) > 0.99


def test_items_added_for_a_gpu_do_not_change_the_loss():
    generator = torch.Generator().manual_seed(0)
    states, labels = torch.randn(30, HIDDEN, generator=generator), torch.arange(30)
    decoder = torch.nn.Linear(HIDDEN, 3419)
    weight, bias = losses.pad_vocabulary(decoder.weight, decoder.bias)
    assert len(weight) == len(bias) == 3424
    padded = torch.nn.functional.linear(states, weight, bias)
    plain = torch.nn.functional.cross_entropy(decoder(states), labels)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(padded, labels), plain)
