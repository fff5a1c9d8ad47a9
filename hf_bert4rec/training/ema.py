"""An exponential moving average of a model's weights, kept beside the model while it trains.

The average over the last steps stands nearer to the middle of a flat valley than any of them (Polyak and Juditsky,
1992). While there are few of them the decay is smaller, so that the first, random ones are soon forgotten. It costs
one addition a weight a step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

AVERAGE_FILE = "average.safetensors"
COUNT = "n_averaged"


class WeightAverage(AveragedModel):
    """`model` averaged over `update_parameters` calls with a decay of `min(decay, (1 + n) / (10 + n))` at call n.

    Its `module` is a model of its own that scores with the averaged weights, always in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        def average(averaged: Tensors, current: Tensors, count: torch.Tensor | int) -> None:
            kept = min(decay, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(averaged, current, 1 - kept)

        super().__init__(model, multi_avg_fn=average)
        self.module.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write `average.safetensors`, from which `load` goes on."""
        weights = {name: weight.contiguous() for name, weight in self.module.named_parameters()}
        save_file({**weights, COUNT: self.n_averaged}, folder / AVERAGE_FILE)

    def load(self, folder: Path) -> None:
        """Take up the average of a checkpoint.

        Raises:
            FileNotFoundError: the checkpoint is of a run that kept none.
            ValueError: its weights are not those of this model.
        """
        path = folder / AVERAGE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: the run kept no average; leave out ema_decay to resume it")
        found = load_file(path)
        self.n_averaged.copy_(found.pop(COUNT))
        own = dict(self.module.named_parameters())
        if {name: weight.shape for name, weight in own.items()} != {name: w.shape for name, w in found.items()}:
            raise ValueError(f"{path} holds other weights than the model's: resume with the options of its run")
        for name, weight in own.items():
            weight.copy_(found[name])

    def copy_to(self, model: nn.Module) -> None:
        """Give `model` the averaged weights."""
        with torch.no_grad():
            for weight, averaged in zip(model.parameters(), self.module.parameters(), strict=True):
                weight.copy_(averaged)
