"""What figures and timings may depend on: package versions, the date and the hardware."""

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from . import __version__

PACKAGES = ("torch", "transformers", "datasets", "numpy", "polars", "scipy")


def environment() -> dict[str, Any]:
    """Versions of Python, this package and those it computes with, and the date in UTC."""
    versions = {"python": platform.python_version(), "hf-bert4rec": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # training on encoded histories needs only some of them
            versions[package] = version(package)
    return {"versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def describe_hardware() -> str:
    """The processor that torch computes on: "2 cores of AMD EPYC …" or "1 x NVIDIA H100 …"."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = min(cores or 1, torch.get_num_threads())
    return f"{cores} core{'s' if cores != 1 else ''} of {_processor_name()}"


def _processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
