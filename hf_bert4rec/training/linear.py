"""Linear layers on a CPU with AVX-512, computed as convolutions of one position.

torch multiplies float32 matrices with MKL, which uses half of an AMD CPU's vector width, and bfloat16 matrices with
oneDNN in a form that is slow for gradients. Convolutions use oneDNN in both types. On two cores of an AMD EPYC, forward
and backward of layers of widths 64 to 512 ran at 300 to 370 instead of 160 to 190 GFLOP/s in float32, and at 620 to 820
instead of 490 to 710 in bfloat16.
"""

import torch
from torch import nn
from torch.nn import functional

from ..model.modeling_bert4rec import autocast_dtype


def training_linear(self: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """The forward of a linear layer that trains; `nn.Linear.forward` in evaluation."""
    if self.training and convolution_is_faster(states):
        return convolved_linear(states, self.weight, self.bias)
    return functional.linear(states, self.weight, self.bias)


def convolution_is_faster(states: torch.Tensor) -> bool:
    """Whether a linear layer of states is faster as a convolution; not in a compiled model."""
    return (
        states.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and states.numel() > 0
        and autocast_dtype(states) in (torch.float32, torch.bfloat16)
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
    )


def convolved_linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`functional.linear` of states (..., in)."""
    outputs = functional.conv2d(_image(states), weight[:, :, None, None], bias)
    return _rows(outputs).view(*states.shape[:-1], -1)


def convolved_gradients(
    grad_outputs: torch.Tensor, states: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of states (positions, in), weight (out, in) and bias (out,) from those of outputs (positions, out)."""
    grad_states, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        *(_image(grad_outputs), _image(states), weight[:, :, None, None], [len(weight)]),
        *([1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, True]),  # those of conv2d; all three gradients
    )
    return _rows(grad_states), grad_weight[:, :, 0, 0], grad_bias


def _image(rows: torch.Tensor) -> torch.Tensor:
    """(..., channels) → (1, channels, positions, 1), without a copy."""
    return rows.reshape(1, -1, 1, rows.shape[-1]).permute(0, 3, 1, 2)


def _rows(image: torch.Tensor) -> torch.Tensor:
    """(1, channels, positions, 1) → (positions, channels)."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])
