"""Run workloads in processes that are killed by SIGKILL, at a random time or before one of their file changes."""

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

Workload = Callable[..., None]
CHANGE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TIMEOUT = 300.0  # seconds after which a process counts as hanging

# The fork server imports everything once; starting an interpreter per workload would take ten seconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.stress.workloads"])


def start(workload: Workload, *arguments: Any, die_at: int = 0, within: str = "") -> Any:
    """Start `workload(*arguments)` in a process; with `die_at` it kills itself before that file change in `within`."""
    process = _context.Process(target=_run, args=(workload, arguments, die_at, within))
    process.start()
    return process


def finish(workload: Workload, *arguments: Any) -> float:
    """Run to the end; returns the seconds it took.

    Raises:
        RuntimeError: It failed or hangs.
    """
    start_time = time.monotonic()
    process = start(workload, *arguments)
    process.join(TIMEOUT)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"{workload.__name__}{arguments} exited with {process.exitcode}")
    return time.monotonic() - start_time


def kill_after(seconds: float, workload: Workload, *arguments: Any) -> bool:
    """Kill the process after `seconds`; whether it was still running."""
    process = start(workload, *arguments)
    process.join(seconds)
    end(process)
    return killed(process)


def end(process: Any) -> None:
    """Send SIGKILL to the process and its children."""
    for kill in (partial(os.killpg, process.pid, signal.SIGKILL), process.kill):
        with suppress(ProcessLookupError):
            kill()
    process.join()


def kill_when(ready: Callable[[], bool], seconds: float, workload: Workload, *arguments: Any) -> bool:
    """Kill the process `seconds` after `ready()`; whether it was still running."""
    process = start(workload, *arguments)
    while process.is_alive() and not ready():
        time.sleep(0.005)
    process.join(seconds)
    end(process)
    return killed(process)


def kill_before_change(number: int, within: Path, workload: Workload, *arguments: Any) -> bool:
    """Kill the process before its file change `number` (1-based) in `within`; False if it makes fewer changes."""
    process = start(workload, *arguments, die_at=number, within=str(within))
    process.join(TIMEOUT)
    exitcode = process.exitcode
    end(process)
    if exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{workload.__name__}{arguments} exited with {exitcode} before change {number}")
    return killed(process)


def before_each_change(attempt: Callable[[int], bool]) -> int:
    """Call `attempt(change)` for each file change until the process makes no more; returns the number of changes."""
    change = 1
    while attempt(change):
        change += 1
    return change - 1


def at_random_times(
    attempt: Callable[[int, float], bool], kills: int, min_seconds: float, max_seconds: float, seed: int = 0
) -> int:
    """Call `attempt(number, seconds)` with random times until `kills` processes were killed while running."""
    rng, survived, number = random.Random(seed), 0, 0
    while survived < kills:
        if number > 20 * kills:
            raise RuntimeError(f"only {survived} of {number} processes were still running when killed")
        survived += attempt(number, rng.uniform(min_seconds, max_seconds))
        number += 1
    return survived


def killed(process: Any) -> bool:
    """Whether SIGKILL ended the process.

    Raises:
        RuntimeError: It failed by itself.
    """
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the process exited with {process.exitcode} before it was killed")
    return process.exitcode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` by its relative path."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _run(workload: Workload, arguments: tuple[Any, ...], die_at: int, within: str) -> None:
    os.setsid()  # a process group, so that its children are killed with it
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    if die_at:
        _die_before_change(die_at, within)
    workload(*arguments)


def _die_before_change(number: int, within: str) -> None:
    remaining = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal remaining
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITE_FLAGS)
        else:
            changes = event in CHANGE_EVENTS
        if changes and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(within):
            remaining -= 1
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
