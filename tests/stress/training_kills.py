"""Campaign: training killed repeatedly, or before a file change, ends with the weights of an uninterrupted run."""

import random
import time
from pathlib import Path
from typing import Any

from tests.stress import sigkill, workloads

KILLS, RUNS = 30, 2  # kills per run, runs
LONG_EPOCHS, SHORT_EPOCHS = 24, 2  # of a run that is killed repeatedly, and of one that is killed once
CHECKPOINTS_PER_EPOCH = 2


def campaign(root: Path) -> dict[str, Any]:
    """Runs that are killed repeatedly, and runs killed before each file change."""
    start = time.monotonic()
    short = uninterrupted_weights(root / "uninterrupted", SHORT_EPOCHS)
    middle = time.monotonic()
    weights = uninterrupted_weights(root / "long", LONG_EPOCHS)
    difference = (time.monotonic() - middle) - (middle - start)  # startup time cancels out
    max_delay = max(difference, 0.0) / (CHECKPOINTS_PER_EPOCH * (LONG_EPOCHS - SHORT_EPOCHS))
    runs = [train_killed_randomly(root / f"run{seed}", weights, KILLS, max_delay, seed) for seed in range(RUNS)]
    changes = sigkill.before_each_change(
        lambda change: train_killed_before(change, root / f"t{change}", short, SHORT_EPOCHS)
    )
    return {"kills_survived_in_one_run": runs, "killed_before_each_file_change": changes}


def uninterrupted_weights(folder: Path, epochs: float = 3) -> bytes:
    """The final weights of a run that is not killed."""
    sigkill.finish(workloads.train, str(folder), epochs)
    return (folder / workloads.WEIGHTS_FILE).read_bytes()


def train_killed_before(change: int, folder: Path, expected: bytes, epochs: float = 3) -> bool:
    """Kill training before that file change, resume, compare the weights; False if it makes fewer changes."""
    was_killed = sigkill.kill_before_change(change, folder, workloads.train, str(folder), epochs)
    if was_killed:
        sigkill.finish(workloads.train, str(folder), epochs)
    weights = (folder / workloads.WEIGHTS_FILE).read_bytes()
    assert weights == expected, f"killed before change {change}, the weights differ from an uninterrupted run"
    return was_killed


def train_killed_randomly(
    folder: Path, expected: bytes, kills: int, max_delay: float, seed: int, epochs: float = LONG_EPOCHS
) -> int:
    """Kill one run `kills` times at random times, let it finish, compare the weights; returns the number of kills.

    A kill follows a start or a new checkpoint by at most `max_delay` seconds: about the time between checkpoints, so
    that a run with more checkpoints than kills does not finish early.

    Raises:
        AssertionError: The weights differ, or the run finished before the last kill.
    """
    rng = random.Random(seed)

    def attempt(number: int, seconds: float) -> bool:
        assert not (folder / workloads.WEIGHTS_FILE).exists(), f"the run finished after {number} starts: make it longer"
        step = _newest_step(folder) + rng.randint(0, 1)  # the current checkpoint, or the next
        return sigkill.kill_when(lambda: _newest_step(folder) >= step, seconds, workloads.train, str(folder), epochs)

    survived = sigkill.at_random_times(attempt, kills, 0, max_delay, seed)
    sigkill.finish(workloads.train, str(folder), epochs)
    weights = (folder / workloads.WEIGHTS_FILE).read_bytes()
    assert weights == expected, f"after {survived} kills the weights differ from an uninterrupted run"
    return survived


def _newest_step(folder: Path) -> int:
    """The step of the newest checkpoint, complete or not; 0 without any."""
    return max((int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("checkpoint-*")), default=0)
