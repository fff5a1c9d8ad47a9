"""Training options that depend on the hardware: precision, attention implementation, and memory allocator."""

import ctypes
import platform

import torch
from torch.nn.attention import SDPBackend

# Without cuDNN's kernel: it is built for every shape of a batch, and batches of histories have many shapes. On an H100
# training at width 128 was 3.9 times as fast without it.
VARIABLE_LENGTH_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
MAX_EAGER_WINDOW = 512  # longest window whose attention weights (window, window) training materialises


def bf16_is_fast() -> bool:
    """Whether bfloat16 training is faster than float32: on GPUs that support it, and CPUs with AMX or AVX512-BF16.

    With AVX512-BF16 and no AMX, training steps were twice as fast on an AMD EPYC of family 26.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def training_attention(window: int, bf16: bool) -> str:
    """The faster attention implementation for training with a window of this length: "sdpa" or "eager".

    On a CPU the backward pass of the fused kernel does not use bfloat16 instructions. With hidden size 192 and 100
    positions it took 38 % of a step; eager attention takes 14 % of a step that is a quarter shorter.
    """
    return "eager" if bf16 and window <= MAX_EAGER_WINDOW and not torch.cuda.is_available() else "sdpa"


# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def disable_malloc_trim() -> bool:
    """Make glibc reuse the buffers that a training step frees; returns whether that was possible.

    By default large buffers are returned to the system when freed, and mapped and zeroed page by page when allocated
    again, which took up to 40 % of a step on a CPU. Without glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
