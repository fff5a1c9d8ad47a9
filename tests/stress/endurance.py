"""Campaign: the memory of a long training and of a long serving loop, as a slope."""

from __future__ import annotations

import gc
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from tests.stress.request_fuzz import tiny_pipeline
from tests.stress.workloads import tiny_trainer

STEPS = 10_000
EVERY = 100  # steps from one reading to the next
WARM = 0.2  # share of the run in which caches may still fill
USERS = 8_000  # a thousand steps an epoch: accelerate keeps a reference to the loader of every epoch
# KiB that a thousand steps may add. Torch keeps kernels for up to 1,024 shapes of a product, which is 50 KiB more until
# there are so many: `make stress` has it keep none.
MOST = 20.0
PAGE = resource.getpagesize()


def campaign() -> dict[str, Any]:
    """Both slopes. AssertionError where memory grows."""
    told = {"training": training(STEPS), "serving": serving(STEPS)}
    for name, found in told.items():
        assert found["kib_a_thousand_steps"] < MOST, f"{name} grows: {found}"
    return told


def training(steps: int) -> dict[str, float]:
    """Slope of the memory over so many training steps; nothing is saved or evaluated meanwhile."""
    readings: list[int] = []

    class Reading(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % EVERY == 0:
                readings.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        quiet: dict[str, Any] = {
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "max_steps": steps,
        }
        trainer = tiny_trainer(Path(folder), users=USERS, **quiet, logging_strategy="no")
        trainer.add_callback(Reading())
        trainer.train()
    return slope(readings)


def serving(calls: int) -> dict[str, float]:
    """Slope of the memory over so many requests."""
    pipe, readings = tiny_pipeline(), []
    for call in range(1, calls + 1):
        pipe([100 + call % 12, 105, "Movie 103"], top_k=3, explain=call % 7 == 0)
        if call % EVERY == 0:
            readings.append(resident())
    return slope(readings)


def resident() -> int:
    """Bytes of this process in memory, garbage collected."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def slope(readings: list[int]) -> dict[str, float]:
    """Least squares over the readings after the warm-up."""
    kept = np.array(readings[int(WARM * len(readings)) :]) / 1024
    thousands = np.arange(len(kept)) * EVERY / 1000
    return {
        "steps": len(readings) * EVERY,
        "mib_at_the_end": round(float(kept[-1]) / 1024, 1),
        "kib_a_thousand_steps": round(float(np.polyfit(thousands, kept, 1)[0]), 2),
    }
