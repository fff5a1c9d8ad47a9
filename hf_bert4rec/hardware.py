"""What the machine at hand is good at, found out rather than hoped for."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch


def bf16_pays() -> bool:
    """Whether bfloat16 training is faster here: a GPU that has it, or a CPU with matrix tiles (AMX).

    A CPU that only has bfloat16 vector instructions gains too little in matrix products to make up for the casts.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported()


# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc keep the buffers that a training step frees, for the next step; whether it could be told so.

    By default every large buffer goes back to the system when it is freed and is mapped, and zeroed page by page, when
    it is next wanted: as much as 40 % of a step on a CPU. Where there is no glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def describe_hardware() -> str:
    """The processor that training runs on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} core{'s' if cores != 1 else ''} of {_processor_name()}"


def _processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
