"""A process that measures one row after another, and can be killed without losing the others."""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from traceback import format_exception
from typing import Any

MAX_REASON_LENGTH = 300
Measure = Callable[..., dict[str, Any]]


class RowFailed(RuntimeError):
    """A row could not be measured; the message is the reason in one line, `log` the traceback."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason[:MAX_REASON_LENGTH])
        self.log = log


class Worker:
    """Runs rows in a process of its own, which a time limit or an error of the device ends and replaces.

    After an error on a GPU every later call of the process fails too, so such a process is not used again.
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    def run(self, measure: Measure, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The result of `measure(**options)`.

        Raises:
            RowFailed: it raised, ended the process, or took more than `seconds`.
        """
        if self._executor is None:
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self._executor = ProcessPoolExecutor(1, context, initializer=_fork_loaders)
            self._process = self._executor.submit(os.getpid).result()
        future = self._executor.submit(_measure, measure, options)
        try:
            return future.result(seconds)
        except BrokenProcessPool as error:
            self._executor = None
            raise RowFailed(str(error)) from None
        except Exception as error:
            if not future.done():
                self.close()
                raise RowFailed(f"stopped after {seconds:.0f} s") from None
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            if "CUDA" in reason and "out of memory" not in reason:
                self.close()
            raise RowFailed(reason, "".join(format_exception(error))[-3000:]) from None

    def close(self) -> None:
        """Kill the process."""
        if self._executor is not None:
            os.kill(self._process, signal.SIGKILL)
            self._executor.shutdown()
            self._executor = None


def _fork_loaders() -> None:
    """A spawned process spawns its own, too: a loader's workers would import everything in every epoch."""
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)


def _measure(measure: Measure, options: dict[str, Any]) -> dict[str, Any]:
    """Release what the row before left, compiled code and memory of the device; then measure."""
    if "torch" in sys.modules:
        import torch

        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return measure(**options)
