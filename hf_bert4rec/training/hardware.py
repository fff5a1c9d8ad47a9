"""What the machine at hand is good at, found out rather than hoped for."""

from __future__ import annotations

import ctypes
import os

import torch

LONGEST_WRITTEN_OUT = 512  # places of a window whose attention weights training may hold whole


def bf16_is_fast() -> bool:
    """Whether bfloat16 training is faster here: a GPU that has it, or a CPU with instructions for its products.

    Those are matrix tiles (AMX) or AVX-512's bfloat16 dot products; with the latter alone an AMD EPYC of family 26
    multiplied matrices 4.7 times as fast as in float32, and took 2 steps for one.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def training_attention(window: int, bf16: bool) -> str:
    """The attention to train a model of so many places with: "sdpa", or "eager" where that is faster.

    On a CPU the fused kernel's backward makes no use of bfloat16 products: of a step at width 192 and 100 places it
    took 38 %, and all of attention written out takes 14 % of a step that is a quarter shorter.
    """
    on_cpu = not torch.cuda.is_available()
    return "eager" if on_cpu and bf16 and window <= LONGEST_WRITTEN_OUT else "sdpa"


# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def disable_malloc_trim() -> bool:
    """Make glibc keep the buffers that a training step frees, for the next step; whether it could be told so.

    By default every large buffer goes back to the system when it is freed and is mapped, and zeroed page by page, when
    it is next wanted: as much as 40 % of a step on a CPU. Where there is no glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
