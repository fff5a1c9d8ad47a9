"""Refuse versions that cannot run this code, and bridge the differences between those that can.

Files that transformers loads by name import this one first, so that an old version is refused in one clear message.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
import transformers

MINIMUM_VERSIONS = {"Python": (3, 10), "torch": (2, 4), "transformers": (5, 0)}


def parse_version(version: str) -> tuple[int, ...]:
    """Major and minor number of a version such as "5.1.0.dev0" or "2.13.0+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


INSTALLED_VERSIONS = {
    "Python": sys.version_info[:2],
    "torch": parse_version(torch.__version__),
    "transformers": parse_version(transformers.__version__),
}


def check_versions(installed: dict[str, tuple[int, ...]]) -> None:
    """Raise ImportError if a version is older than `MINIMUM_VERSIONS`."""
    for name, minimum in MINIMUM_VERSIONS.items():
        if installed[name] < minimum:
            needed, present = (".".join(map(str, version)) for version in (minimum, installed[name]))
            raise ImportError(f"this model needs {name} {needed} or newer: upgrade {name}, which is {present}")


def causal_mask_arguments(states: torch.Tensor) -> dict[str, Any]:
    """Arguments of `create_causal_mask` without a cache, for states (batch, seq, hidden)."""
    if INSTALLED_VERSIONS["transformers"] < (5, 5):
        return {"past_key_values": None, "cache_position": torch.arange(states.shape[1], device=states.device)}
    return {"cache" if INSTALLED_VERSIONS["transformers"] >= (5, 24) else "past_key_values": None}


check_versions(INSTALLED_VERSIONS)

try:
    from transformers.utils.output_capturing import capture_outputs
except ImportError:  # transformers before 5.2
    from transformers.utils.generic import check_model_inputs

    capture_outputs = check_model_inputs
