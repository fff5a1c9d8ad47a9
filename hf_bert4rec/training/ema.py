"""Exponential moving average of a model's weights during training.

The average of the last steps generalises better than any of them (Polyak and Juditsky, SIAM 1992). The decay starts
small, so that the random initial weights soon have no effect.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

AVERAGE_FILE = "average.safetensors"
COUNT = "n_averaged"


class WeightAverage(AveragedModel):
    """`model` averaged over calls of `update_parameters`, with decay `min(decay, (1 + n) / (10 + n))` at call n.

    `module` is a copy of the model with the averaged weights, always in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        def average(averaged: Tensors, current: Tensors, _: torch.Tensor | int) -> None:
            n = int(self.n_averaged)  # on the CPU; reading torch's copy on the weights' device waits for the step
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(model, multi_avg_fn=average)
        self.module.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write `average.safetensors` for `load`."""
        weights = {name: weight.contiguous() for name, weight in self.module.named_parameters()}
        save_file({**weights, COUNT: self.n_averaged}, folder / AVERAGE_FILE)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint's average; FileNotFoundError without, ValueError for one of another model."""
        path = folder / AVERAGE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: the run had no weight average; resume it without ema_decay")
        saved = load_file(path)
        self.n_averaged.copy_(saved.pop(COUNT))
        own = dict(self.module.named_parameters())
        if {name: weight.shape for name, weight in own.items()} != {name: w.shape for name, w in saved.items()}:
            raise ValueError(f"{path} does not have the model's weights: resume with the options of its run")
        for name, weight in own.items():
            weight.copy_(saved[name])

    def copy_to(self, model: nn.Module) -> None:
        """Copy the averaged weights to `model`."""
        with torch.no_grad():
            for weight, averaged in zip(model.parameters(), self.module.parameters(), strict=True):
                weight.copy_(averaged)
