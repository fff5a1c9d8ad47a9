"""Processes that die by SIGKILL, at a moment of chance or just before one of their file operations."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

Victim = Callable[..., None]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATIENCE = 300.0  # seconds after which a process that ought to end is taken to hang

# A server that has imported everything forks the victims: a fresh interpreter for each would take ten seconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.stress.victims"])


def start(victim: Victim, *arguments: Any, die_at: int = 0, within: str = "") -> Any:
    """Start `victim(*arguments)` in its own process; with `die_at` it kills itself before that change to `within`."""
    process = _context.Process(target=_run, args=(victim, arguments, die_at, within))
    process.start()
    return process


def finish(victim: Victim, *arguments: Any) -> float:
    """Run to the end; the seconds it took. RuntimeError where it fails or hangs."""
    began = time.monotonic()
    process = start(victim, *arguments)
    process.join(PATIENCE)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"{victim.__name__}{arguments} ended with {process.exitcode}, not with 0")
    return time.monotonic() - began


def kill_after(seconds: float, victim: Victim, *arguments: Any) -> bool:
    """Kill the process after so many seconds; whether it was still at work then."""
    process = start(victim, *arguments)
    process.join(seconds)
    end(process)
    return killed(process)


def end(process: Any) -> None:
    """SIGKILL to the process and to what it has started, which would go on without it."""
    for kill in (partial(os.killpg, process.pid, signal.SIGKILL), process.kill):
        with suppress(ProcessLookupError):
            kill()
    process.join()


def kill_when(ready: Callable[[], bool], seconds: float, victim: Victim, *arguments: Any) -> bool:
    """Kill the process so many seconds after something has come of it; whether it was still at work then."""
    process = start(victim, *arguments)
    while process.is_alive() and not ready():
        time.sleep(0.005)
    process.join(seconds)
    end(process)
    return killed(process)


def kill_at_change(number: int, within: Path, victim: Victim, *arguments: Any) -> bool:
    """Let the process die before its change `number` (from 1) to files in `within`; False where it makes fewer."""
    process = start(victim, *arguments, die_at=number, within=str(within))
    process.join(PATIENCE)
    was = process.exitcode
    end(process)
    if was not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{victim.__name__}{arguments} ended with {was} before change {number}")
    return killed(process)


def at_each(attempt: Callable[[int], bool]) -> int:
    """How many changes there are, each survived: one after the other until the process makes no such change."""
    change = 1
    while attempt(change):
        change += 1
    return change - 1


def by_chance(attempt: Callable[[int, float], bool], kills: int, least: float, most: float, seed: int = 0) -> int:
    """Let `attempt(number, seconds)` kill at moments of chance until so many kills were survived; how many."""
    chance, survived, number = random.Random(seed), 0, 0
    while survived < kills:
        if number > 20 * kills:
            raise RuntimeError(f"only {survived} of {number} processes were still at work when they were to be killed")
        survived += attempt(number, chance.uniform(least, most))
        number += 1
    return survived


def killed(process: Any) -> bool:
    """Whether SIGKILL ended it; an end of its own with an error is no death of ours, and an error here."""
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the process failed with {process.exitcode} where it was to be killed")
    return process.exitcode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` by its relative path."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _run(victim: Victim, arguments: tuple[Any, ...], die_at: int, within: str) -> None:
    os.setsid()  # so that what it starts can be ended with it
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    if die_at:
        _die_before_change(die_at, within)
    victim(*arguments)


def _die_before_change(number: int, within: str) -> None:
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
        else:
            changes = event in CHANGES
        if changes and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(within):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
