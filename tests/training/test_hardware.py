"""Precision, attention, number of GPUs, and allocator."""

import ctypes
import platform

import pytest
import torch

from hf_bert4rec.environment import describe_hardware
from hf_bert4rec.training.hardware import bf16_is_fast, disable_malloc_trim, training_attention
from hf_bert4rec.training.trainer import Bert4RecTrainingArguments
from tests.processes import run_python

COUNT_PAGE_FAULTS = """
import resource
import torch
from hf_bert4rec.training.hardware import disable_malloc_trim

def page_faults():
    for step in range(12):
        if step == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(8, 2**20).mul(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
by_default = page_faults()
assert disable_malloc_trim()
print(by_default, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_reused():
    by_default, reused = map(int, run_python("-c", COUNT_PAGE_FAULTS).split())
    assert reused < by_default / 2  # not none: a machine short of memory may reclaim pages


def test_windows_has_no_library_to_set(monkeypatch):
    def refuse(name: None) -> None:
        raise TypeError("argument of type 'NoneType' is not iterable")  # as ctypes does there

    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not disable_malloc_trim()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the fused kernel is always taken")
def test_short_windows_in_bfloat16_train_with_eager_attention():
    assert training_attention(window=200, bf16=True) == "eager"
    assert training_attention(window=200, bf16=False) == "sdpa"
    assert training_attention(window=4096, bf16=True) == "sdpa"


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bfloat16_trains_in_float32(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert bf16_is_fast() == native


def test_a_process_trains_on_one_of_several_gpus(tmp_path):
    arguments = Bert4RecTrainingArguments(output_dir=str(tmp_path))
    assert arguments.n_gpu <= 1
    arguments._n_gpu = 4
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == arguments.per_device_train_batch_size
    assert arguments.parallel_mode.value == "not_parallel"


def test_the_hardware_is_what_torch_uses() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert describe_hardware().startswith("1 core of ")
    finally:
        torch.set_num_threads(threads)
