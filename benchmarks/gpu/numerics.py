"""The device's results against those of the CPU in float32."""

import math
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.data import Vocabulary, collator, random_rows
from benchmarks.gpu.sizes import Sizes, device, heads
from benchmarks.measure import row
from benchmarks.models import Batch, untrained_model
from hf_bert4rec.training.training_forward import training_forward_installed

WIDTH, ROWS = 128, 16
MAX_DIFFERENCE = {False: 1e-4, True: 5e-2}  # targets, in float32 and in bfloat16


def numerics(sizes: Sizes, name: str, *, causal: bool, bf16: bool) -> dict[str, Any]:
    """Relative difference of logits, loss and gradients, of rows of different lengths."""
    collate = collator(Vocabulary(sizes.items), causal)
    batch = collate(random_rows(np.random.default_rng(0), sizes, ROWS, padded=True))
    reference = results(sizes, batch, causal, torch.device("cpu"), bf16=False)
    ours = results(sizes, batch, causal, device(), bf16)
    return {
        "rows": [
            row(
                f"{name}, {part}",
                "relative difference",
                [relative_difference(ours[part], reference[part])],
                at_most=MAX_DIFFERENCE[bf16],
            )
            for part in reference
        ]
    }


def results(sizes: Sizes, batch: Batch, causal: bool, on: torch.device, bf16: bool) -> dict[str, torch.Tensor]:
    """Logits of the next item, the training loss and its gradient, on the CPU."""
    options = {"num_attention_heads": heads(WIDTH), "hidden_dropout_prob": 0.0, "causal": causal}
    model = untrained_model(len(Vocabulary(sizes.items)), WIDTH, sizes.length, **options).to(on)
    inputs = {name: tensor.to(on) for name, tensor in batch.items()}
    with torch.autocast(on.type, torch.bfloat16, enabled=bf16):
        with training_forward_installed(model.train()):
            loss = model(**inputs).loss
        with torch.inference_mode():
            logits = model.eval().next_item_logits(inputs["input_ids"], inputs["attention_mask"])
    loss.backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return {"logits": logits.float().cpu(), "loss": loss.detach().cpu(), "gradient": gradient.cpu()}


def relative_difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    """‖value - reference‖ / ‖reference‖, in double precision."""
    difference = float((value.double() - reference.double()).norm() / reference.double().norm())
    if not math.isfinite(difference):
        raise ValueError(f"the difference is {difference}")
    return difference
