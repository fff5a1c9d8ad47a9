"""Campaign: memory growth of a long training and of a long serving loop."""

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
READ_EVERY = 100  # steps between readings
WARM_UP = 0.2  # share of the run in which caches may fill
USERS = 8_000  # a thousand steps per epoch, since accelerate keeps a reference to the loader of every epoch
# Torch caches kernels for up to 1,024 shapes, which adds 50 KiB per thousand steps until the cache is full;
# `make stress` disables that cache.
MAX_KIB_PER_THOUSAND_STEPS = 20.0
PAGE = resource.getpagesize()


def campaign() -> dict[str, Any]:
    """Both slopes.

    Raises:
        AssertionError: Memory grows.
    """
    counts = {"training": training(STEPS), "serving": serving(STEPS)}
    for name, growth in counts.items():
        assert growth["kib_per_thousand_steps"] < MAX_KIB_PER_THOUSAND_STEPS, f"{name} grows: {growth}"
    return counts


def training(steps: int) -> dict[str, float]:
    """Memory growth over training steps, without saving or evaluation."""
    readings: list[int] = []

    class MemoryReader(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % READ_EVERY == 0:
                readings.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "max_steps": steps,
        }
        trainer = tiny_trainer(Path(folder), users=USERS, **options, logging_strategy="no")
        trainer.add_callback(MemoryReader())
        trainer.train()
    return slope(readings)


def serving(calls: int) -> dict[str, float]:
    """Memory growth over requests."""
    pipe, readings = tiny_pipeline(), []
    for call in range(1, calls + 1):
        pipe([100 + call % 12, 105, "Movie 103"], top_k=3, explain=call % 7 == 0)
        if call % READ_EVERY == 0:
            readings.append(resident())
    return slope(readings)


def resident() -> int:
    """Resident bytes of this process after garbage collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def slope(readings: list[int]) -> dict[str, float]:
    """Least-squares slope of the readings after the warm-up."""
    kib = np.array(readings[int(WARM_UP * len(readings)) :]) / 1024
    thousands = np.arange(len(kib)) * READ_EVERY / 1000
    return {
        "steps": len(readings) * READ_EVERY,
        "mib_at_the_end": round(float(kib[-1]) / 1024, 1),
        "kib_per_thousand_steps": round(float(np.polyfit(thousands, kib, 1)[0]), 2),
    }
