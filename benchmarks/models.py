"""Untrained models in the form of the recipes: pre-norm, rotary positions, previous item, no attention dropout."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import nn

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM
from hf_bert4rec.training import linear, losses, training_forward
from hf_bert4rec.training.hardware import bf16_is_fast
from hf_bert4rec.training.training_forward import training_forward_installed

LAYERS = 2
MASK_ID, FIRST_ITEM_ID = 1, 3  # input ids: [PAD], [MASK], [UNK], then items
Batch = dict[str, torch.Tensor]
Step = Callable[[Batch], None]


def untrained_model(vocab_size: int, hidden_size: int, length: int, **options: Any) -> Bert4RecForMaskedLM:
    """A model with seeded random weights; `options` override fields of the config."""
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": length,
        "attention_probs_dropout_prob": 0.0,
        "pre_layer_norm": True,
        "rotary_positions": True,
        "previous_item": not options.get("causal", False),
    }
    return Bert4RecForMaskedLM(Bert4RecConfig(**{**config, **options}))


def step_of(
    model: Bert4RecForMaskedLM, fast_dropout: bool = True, labelled_only: bool = True, convolved: bool = True
) -> Step:
    """`plain_step` with the trainer's forward pass.

    `fast_dropout`: `FastDropout` replaces `nn.Dropout`; `labelled_only`: the last layer computes the labelled positions
    only; `convolved`: linear layers are computed as convolutions where these are faster.
    """
    update = plain_step(model.train(), model, bf16_is_fast())
    replaced = {
        (training_forward, "supports_query_positions"): labelled_only,
        (linear, "convolution_is_faster"): convolved,
        (losses, "convolution_is_faster"): convolved,
    }

    def step(batch: Batch) -> None:
        with ExitStack() as stack:
            for (module, name), enabled in replaced.items():
                if not enabled:
                    stack.enter_context(mock.patch.object(module, name, return_value=False))
            stack.enter_context(training_forward_installed(model, fast_dropout))
            update(batch)

    return step


def plain_step(model: Any, call: Callable[..., Any], bf16: bool) -> Step:
    """Forward by `call`, backward, clip, and update with the fused AdamW of the recipes."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(batch: Batch) -> None:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            loss = call(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step
