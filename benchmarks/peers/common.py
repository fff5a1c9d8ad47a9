"""What every contender's script shares, in whichever environment it runs: settings, data, a clock, its answer.

A contender is started as `python with_….py ACTION SETTINGS.json` and answers with one line of JSON behind a mark, as
the libraries print what they like. This file may import nothing but numpy: no environment has this package but ours.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ANSWER = "ANSWER "
WARM_UP = 2  # batches before the clock starts
PAUSE = "CONTINUE"


def answer(actions: Mapping[str, Callable[[Namespace], dict[str, Any]]], packages: tuple[str, ...]) -> None:
    """Do what the command line asks for and print what it gave, with the versions it ran on."""
    name, path = sys.argv[1:3]
    settings = Namespace(**json.loads(Path(path).read_text(encoding="utf-8")))
    found = actions[name](settings)
    versions = {package: metadata.version(package) for package in packages}
    say({**found, "versions": versions})


def say(message: Mapping[str, Any]) -> None:
    """One line to whoever started this process."""
    print(ANSWER + json.dumps(message), flush=True)


def ask(message: Mapping[str, Any]) -> bool:
    """Say something and wait for the reply: whether to go on."""
    say(message)
    return sys.stdin.readline().strip() == PAUSE


def histories_of(settings: Namespace) -> tuple[Any, Any]:
    """Users and items of every training interaction, oldest first within a user, each (interactions,)."""
    data = np.load(settings.data)
    return np.repeat(np.arange(len(data["offsets"]) - 1), np.diff(data["offsets"])), data["values"]


class Clock:
    """Real tokens a second of a training loop, from the third batch on and for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.batches, self.tokens = seconds, 0, 0
        self.start = self.stop = 0.0

    def batch_done(self, tokens: int) -> bool:
        """Count a batch that has just been trained on; whether the time is over."""
        self.batches += 1
        now = time.perf_counter()
        if self.batches <= WARM_UP:
            self.start = now
            return False
        self.tokens += tokens
        self.stop = now
        return now - self.start >= self.seconds

    def result(self) -> dict[str, Any]:
        """Tokens a second, and how many steps they were taken over.

        Raises:
            ValueError: training ended before the clock had started.
        """
        if not self.tokens:
            raise ValueError(f"training ended after {self.batches} batches: too few to measure")
        seconds = self.stop - self.start
        return {"tokens_per_second": self.tokens / seconds, "steps": self.batches - WARM_UP, "seconds": seconds}


class TimeOver(Exception):
    """Thrown out of a training loop that has no other way to be ended."""


def counted(clock: Clock, compute_loss: Callable[..., Any], tokens_of: Callable[..., int]) -> Callable[..., Any]:
    """A loss that tells the clock of every batch once the next one comes, for loops that call nothing else back."""
    waiting: list[int] = []

    def counting(*arguments: Any, **more: Any) -> Any:
        if waiting and clock.batch_done(waiting.pop()):
            raise TimeOver
        waiting.append(tokens_of(*arguments, **more))
        return compute_loss(*arguments, **more)

    return counting


class Stopwatch:
    """Seconds of training, with pauses that do not count."""

    def __init__(self) -> None:
        self.past, self.since = 0.0, time.perf_counter()
        self.paused = False

    @property
    def seconds(self) -> float:
        """Seconds so far; within a pause those up to it."""
        return self.past if self.paused else self.past + time.perf_counter() - self.since

    def pause(self, call: Callable[[], Any]) -> Any:
        """Do something that does not count."""
        self.past, self.paused = self.seconds, True
        try:
            return call()
        finally:
            self.since, self.paused = time.perf_counter(), False


class Examined:
    """A training whose scores are looked at from outside, and whose time is kept without that."""

    def __init__(self, settings: Namespace) -> None:
        self.settings, self.watch, self.seconds = settings, Stopwatch(), 0.0

    def start(self) -> None:
        """Count from now on: what prepared the data is over."""
        self.watch = Stopwatch()

    def late(self) -> bool:
        """Whether the time that was given is over."""
        self.seconds = self.watch.seconds
        return self.seconds > self.settings.seconds

    def go_on(self, scores_of: Callable[[], tuple[Any, Any]]) -> bool:
        """Hand over scores (users, items) and the item of every column; whether training goes on."""
        return self.watch.pause(lambda: self._asked(scores_of)) and not self.late()

    def _asked(self, scores_of: Callable[[], tuple[Any, Any]]) -> bool:
        scores, items = scores_of()
        path = Path(self.settings.scratch) / "scores.npz"
        np.savez(path, scores=scores, items=items)
        return ask({"seconds": self.watch.seconds, "scores": str(path)})
