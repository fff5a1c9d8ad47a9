"""Shared by the scripts of all libraries: settings, training data, throughput, and messages to the runner.

A script is started as `python with_….py ACTION SETTINGS.json` and prints its result as one prefixed line of JSON, since
the libraries print to stdout as well. This file imports numpy only: the environments of the peers have nothing else in
common.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MESSAGE_PREFIX = "BENCHMARK "
WARM_UP = 2  # batches before the clock starts
CONTINUE, STOP = "CONTINUE", "STOP"  # replies of the runner


def run_action(actions: Mapping[str, Callable[[Namespace], dict[str, Any]]], packages: tuple[str, ...]) -> None:
    """Run the action named on the command line; print its result with the versions of the packages."""
    name, path = sys.argv[1:3]
    settings = Namespace(**json.loads(Path(path).read_text(encoding="utf-8")))
    result = actions[name](settings)
    send({**result, "versions": {package: metadata.version(package) for package in packages}})


def send(message: Mapping[str, Any]) -> None:
    """Print one message for the runner."""
    print(MESSAGE_PREFIX + json.dumps(message), flush=True)


def ask_to_continue(message: Mapping[str, Any]) -> bool:
    """Send a message and wait for the reply; True to continue training."""
    send(message)
    return sys.stdin.readline().strip() == CONTINUE


def read_histories(settings: Namespace) -> tuple[Any, Any]:
    """User index and input id of every training interaction, oldest first within a user, each (interactions,)."""
    data = np.load(settings.data)
    return np.repeat(np.arange(len(data["offsets"]) - 1), np.diff(data["offsets"])), data["values"]


def process_megabytes(name: str) -> float:
    """A field of /proc/self/status such as VmHWM, the peak resident memory, in megabytes of 1,000 KiB.

    `getrusage` has the peak of the process that started this one, where that is larger.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1e3


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class ThroughputMeter:
    """Tokens per second of a training loop without padding, after `WARM_UP` batches, for a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.batches, self.tokens = seconds, 0, 0
        self.start = self.stop = 0.0

    def batch_done(self, tokens: int) -> bool:
        """Count a finished batch; True once the time is up."""
        self.batches += 1
        now = time.perf_counter()
        if self.batches <= WARM_UP:
            self.start = now
            return False
        self.tokens += tokens
        self.stop = now
        return now - self.start >= self.seconds

    def result(self) -> dict[str, Any]:
        """Tokens per second, and the steps and seconds they were measured over."""
        if not self.tokens:
            raise ValueError(f"training ended after {self.batches} batches, {WARM_UP + 1} are needed")
        seconds = self.stop - self.start
        return {"tokens_per_second": self.tokens / seconds, "steps": self.batches - WARM_UP, "seconds": seconds}


class TimeUp(Exception):
    """Ends a training loop that has no hook to stop it."""


def metered(
    meter: ThroughputMeter, compute_loss: Callable[..., Any], count_tokens: Callable[..., int]
) -> Callable[..., Any]:
    """Wrap the loss function of a loop without callbacks: a batch counts as done when the next one starts.

    The wrapped function raises `TimeUp` once the time is up.
    """
    pending: list[int] = []

    def loss(*args: Any, **kwargs: Any) -> Any:
        if pending and meter.batch_done(pending.pop()):
            raise TimeUp
        pending.append(count_tokens(*args, **kwargs))
        return compute_loss(*args, **kwargs)

    return loss


class Stopwatch:
    """Seconds of training without pauses."""

    def __init__(self) -> None:
        self.elapsed, self.resumed_at = 0.0, time.perf_counter()
        self.paused = False

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.elapsed if self.paused else self.elapsed + time.perf_counter() - self.resumed_at

    def pause(self, call: Callable[[], Any]) -> Any:
        """Call a function that is not timed."""
        self.elapsed, self.paused = self.seconds, True
        try:
            return call()
        finally:
            self.resumed_at, self.paused = time.perf_counter(), False


class QualityMonitor:
    """The hooks of a Lightning callback that times a training and sends the scores of every user after each epoch."""

    def __init__(self, settings: Namespace) -> None:
        self.settings, self.watch, self.seconds = settings, Stopwatch(), 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clock; data preparation before it is not counted."""
        self.watch = Stopwatch()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Stop training once the time is up."""
        self.seconds = self.watch.seconds
        trainer.should_stop = self.seconds > self.settings.seconds

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Send the scores, untimed, and stop training if the runner says so."""
        trainer.should_stop |= not self.watch.pause(lambda: self._send_scores(*self.scores(module)))
        module.train()

    def scores(self, module: Any) -> tuple[Any, Any]:
        """Scores (users, items) in the order of users, and the input id of every column."""
        raise NotImplementedError

    def _send_scores(self, scores: Any, items: Any) -> bool:
        path = Path(self.settings.scratch) / "scores.npz"
        np.savez(path, scores=scores, items=items)
        return ask_to_continue({"seconds": self.watch.seconds, "scores": str(path)})
