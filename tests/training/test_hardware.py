"""What the machine is told and asked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from hf_bert4rec.environment import describe_hardware
from hf_bert4rec.training.hardware import training_attention

COUNT_PAGE_FAULTS = """
import resource, sys
import torch
from hf_bert4rec.training.hardware import disable_malloc_trim

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert disable_malloc_trim()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(8, 2**20).mul(2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told what to keep")
def test_kept_memory_is_not_mapped_again():
    # Half, not none: a machine short of memory may take pages back by itself.
    assert page_faults("keep") < page_faults("give back") / 2


def test_the_hardware_is_named():
    assert describe_hardware().strip()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the fused kernel is always taken")
def test_attention_is_written_out_where_weights_are_few_and_products_fast():
    assert training_attention(window=200, bf16=True) == "eager"
    assert training_attention(window=200, bf16=False) == "sdpa"
    assert training_attention(window=4096, bf16=True) == "sdpa"
