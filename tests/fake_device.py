"""A device that computes on the CPU and, like a GPU, refuses tensors of another device.

Within `FakeDevice()`, tensors made on or moved to `DEVICE` say that they are on a GPU and hold a tensor of the CPU. An
operator that gets one together with a tensor that is on the CPU raises, unless a GPU allows it, too: numbers without a
dimension, copies, and indices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # whose name operators accept without a GPU; nothing on it is without values here
ALLOWED = ("aten::copy_", "aten::_to_copy", "aten::index.", "aten::index_put")


class FakeDeviceTensor(torch.Tensor):
    """A tensor that says it is on `DEVICE`; `held` is on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> FakeDeviceTensor:
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        wrapper.held = held
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"FakeDeviceTensor({self.held})"


class FakeDevice(TorchDispatchMode):
    """The mode in which `DEVICE` can be used."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the CPU tensors that its arguments hold."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    fake = [tensor for tensor in tensors if isinstance(tensor, FakeDeviceTensor)]
    if any(tensor.is_meta and not isinstance(tensor, FakeDeviceTensor) for tensor in tensors):
        raise RuntimeError(f"{func.name()}: torch.tensor and indexing by a list make tensors here that have no values")
    if fake and not func.name().startswith(ALLOWED):
        elsewhere = [tuple(t.shape) for t in tensors if not isinstance(t, FakeDeviceTensor) and t.dim()]
        if elsewhere:
            raise RuntimeError(f"{func.name()}: tensors of shapes {elsewhere} are on the CPU, others on {DEVICE}")
    device = kwargs.get("device")
    on_device = bool(fake) if device is None else torch.device(device).type == DEVICE.type
    if func.name().startswith("aten::copy_"):
        on_device = isinstance(args[0], FakeDeviceTensor)
    if on_device and device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, FakeDeviceTensor) else leaf, (args, kwargs))
    result = func(*args, **{name: value for name, value in kwargs.items() if name != "pin_memory"})
    wrappers = {id(tensor.held): tensor for tensor in fake}  # in-place operators return their argument

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return wrappers[id(leaf)] if id(leaf) in wrappers else FakeDeviceTensor(leaf)

    return tree_map(wrapped, result) if on_device else result


def to_device(module: nn.Module) -> nn.Module:
    """Move parameters and buffers to `DEVICE`, tied parameters together."""
    moved: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    moved[id(parameter)] = nn.Parameter(FakeDeviceTensor(parameter.detach()), parameter.requires_grad)
                part._parameters[name] = moved[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = FakeDeviceTensor(buffer)
    return module
