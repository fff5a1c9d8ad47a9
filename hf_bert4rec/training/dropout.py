"""Dropout that draws its mask faster on a CPU than torch's."""

import torch
from torch import nn


class FastDropout(nn.Dropout):
    """Dropout that draws one random number per eight elements, where torch draws one per element on one thread.

    That is a fifth of a training step on a CPU. Each element is decided by a byte, so `p` is rounded to 1/256.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or states.device.type != "cpu":
            return super().forward(states)
        threshold = min(max(round(self.p * 256), 1), 255)
        random_bytes = torch.empty(-(-states.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = random_bytes.view(torch.uint8)[: states.numel()].view(states.shape) >= threshold
        return states * keep.to(states.dtype).mul_(256 / (256 - threshold))
