"""Linear layers computed as convolutions: outputs and gradients of torch's linear layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from hf_bert4rec.training import linear
from hf_bert4rec.training.linear import convolution_is_faster, convolved_gradients, convolved_linear
from hf_bert4rec.training.training_forward import training_forward_installed
from tests.model.tiny import build, tiny_config

TOLERANCES = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2}}


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1, 7), (10, 7), (3, 5, 7), (2, 1, 7)], ids=str)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", ""])
def test_outputs_and_gradients_are_those_of_a_linear_layer(
    shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool
) -> None:
    states, weight = random(*shape, dtype=dtype), random(11, 7, dtype=dtype)
    inputs = (states, weight, random(11, dtype=dtype)) if with_bias else (states, weight)
    expected, actual = (
        function(states, weight, inputs[2] if with_bias else None) for function in (functional.linear, convolved_linear)
    )
    torch.testing.assert_close(actual, expected, **TOLERANCES[dtype])
    grad_outputs = random(*expected.shape, dtype=dtype)
    gradients = [torch.autograd.grad(outputs, inputs, grad_outputs) for outputs in (actual, expected)]
    torch.testing.assert_close(*gradients, **TOLERANCES[dtype])
    if with_bias and len(shape) == 2:
        given = convolved_gradients(grad_outputs, states, weight)
        torch.testing.assert_close(given, gradients[1], **TOLERANCES[dtype])


def test_other_states_are_multiplied_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert convolution_is_faster(random(3, 7)) == torch.backends.mkldnn.is_available()
    assert not convolution_is_faster(random(0, 7))
    assert not convolution_is_faster(random(3, 7, dtype=torch.float64))
    assert not convolution_is_faster(torch.empty(3, 7, device="meta"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not convolution_is_faster(random(3, 7))


@pytest.mark.parametrize("capability", ["AVX512", "AVX2"])
def test_only_training_multiplies_by_convolutions(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    calls: list[torch.Size] = []

    def recorded(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        calls.append(weight.shape)
        return convolved_linear(states, weight, bias)

    monkeypatch.setattr(linear, "convolved_linear", recorded)
    model = build(tiny_config(20)).train()
    input_ids = torch.arange(3, 11)[None]
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    with training_forward_installed(model):
        model(input_ids, labels=input_ids).loss.backward()
        trained = list(calls)
        model.eval()(input_ids)
    assert calls == trained
    assert len(trained) == (len(layers) - 1 if capability == "AVX512" else 0)  # the loss multiplies by the decoder
    assert not any("forward" in layer.__dict__ for layer in layers)
