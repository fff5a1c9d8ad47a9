"""Training killed by SIGKILL, again and again over a run or before a change to a file, ends as an unbroken run does."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from tests.stress import killing
from tests.stress import workloads as victims

KILLS, RUNS = 30, 2  # kills at moments of chance over each of so many runs
RUN_EPOCHS, SHORT = 24, 2  # of a run that is killed so often, with 48 checkpoints, and of one killed once
CHECKPOINTS = 2  # an epoch


def campaign(root: Path) -> dict[str, Any]:
    """Runs that are killed again and again, and one killed before each change to a file."""
    began = time.monotonic()
    short = unbroken_weights(root / "unbroken", SHORT)
    turned = time.monotonic()
    weights = unbroken_weights(root / "long", RUN_EPOCHS)
    longer = (time.monotonic() - turned) - (turned - began)  # what both need to start is in neither
    moment = max(longer, 0.0) / (CHECKPOINTS * (RUN_EPOCHS - SHORT))
    runs = [train_killed_by_chance(root / f"run{seed}", weights, KILLS, moment, seed) for seed in range(RUNS)]
    changes = killing.at_each(lambda change: train_killed_at(change, root / f"t{change}", short, SHORT))
    return {"kills_survived_in_one_run": runs, "killed_at_each_change_to_a_file": changes}


def unbroken_weights(folder: Path, epochs: float = 3) -> bytes:
    """The final weights of a run that nobody kills."""
    killing.finish(victims.train, str(folder), epochs)
    return (folder / victims.WEIGHTS_FILE).read_bytes()


def train_killed_at(change: int, folder: Path, expected: bytes, epochs: float = 3) -> bool:
    """Kill training before that change, go on to the end, compare the weights; False where it ended before."""
    was_killed = killing.kill_at_change(change, folder, victims.train, str(folder), epochs)
    if was_killed:
        killing.finish(victims.train, str(folder), epochs)
    found = (folder / victims.WEIGHTS_FILE).read_bytes()
    assert found == expected, f"killed before change {change}, the weights are others than those of an unbroken run"
    return was_killed


def train_killed_by_chance(
    folder: Path, expected: bytes, kills: int, moment: float, seed: int, epochs: float = RUN_EPOCHS
) -> int:
    """Kill one run at moments of chance, so many times, let it end, compare; how many kills it survived.

    At most `moment` seconds pass between a start, or a new checkpoint, and a kill: about as long as it takes from one
    checkpoint to the next, so that a run of more checkpoints than kills does not end before it was killed so often.

    Raises:
        AssertionError: other weights, or the run ended before it was killed so often.
    """
    chance = random.Random(seed)

    def attempt(number: int, seconds: float) -> bool:
        assert not (folder / victims.WEIGHTS_FILE).exists(), f"the run has ended after {number} starts: make it longer"
        wanted = _newest_step(folder) + chance.randint(0, 1)  # a checkpoint that there is already, or the next
        return killing.kill_when(lambda: _newest_step(folder) >= wanted, seconds, victims.train, str(folder), epochs)

    survived = killing.by_chance(attempt, kills, 0, moment, seed)
    killing.finish(victims.train, str(folder), epochs)
    found = (folder / victims.WEIGHTS_FILE).read_bytes()
    assert found == expected, f"after {survived} kills the weights are others than those of an unbroken run"
    return survived


def _newest_step(folder: Path) -> int:
    """The step of the newest checkpoint, whole or not; 0 where there is none."""
    return max((int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("checkpoint-*")), default=0)
