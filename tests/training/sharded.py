"""Training with sharded weights, run by a launcher in two processes.

accelerate shards on accelerators only; here it is patched to shard on CPUs.
"""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from hf_bert4rec.training import training_forward
from tests.stress.workloads import tiny_trainer


def shard() -> None:
    """Make accelerate prepare models as with training/accelerate/fsdp.yaml."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Bert4RecLayer"],
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )
    original = AcceleratorState.__init__

    def sharding(state: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        original(state, *args, **kwargs)
        if state.distributed_type is DistributedType.MULTI_CPU:
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, plugin

    AcceleratorState.__init__ = sharding


def trained(folder: Path, how: str) -> None:
    """Train one epoch without dropout, and save the metric and the final weights."""
    training_forward.MAX_DENSE_LOGITS = 0  # the chunked loss reads the decoder weights, not through its forward
    if how == "sharded":
        shard()
        with pytest.raises(ValueError, match="which FSDP shards"):
            tiny_trainer(folder / "averaged", ema_decay=0.9)
    trainer = tiny_trainer(folder / "run", epochs=1)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer.train()
    assert isinstance(trainer.model, FSDPModule) == (how == "sharded")
    ndcg = trainer.evaluate()["eval_ndcg@10"]
    model = trainer.gathered_model()
    if trainer.is_world_process_zero():
        weights = {name: value.detach().contiguous() for name, value in model.named_parameters()}
        save_file({**weights, "ndcg": torch.tensor(ndcg)}, folder / f"{how}.safetensors")
    wrapped = [item for item in gc.get_objects() if isinstance(item, DistributedDataParallel)]
    assert bool(wrapped) == (how != "sharded")
    wrapped.clear()
    trainer.leave_process_group()
    assert not any(isinstance(item, DistributedDataParallel) for item in gc.get_objects())
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    trained(Path(sys.argv[1]), sys.argv[2])
