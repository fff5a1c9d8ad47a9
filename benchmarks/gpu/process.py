"""A process that measures one row after another, and can be killed without losing the others."""

import gc
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
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
        self._process: Any = None
        self._connection: Any = None

    def run(self, measure: Measure, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The result of `measure(**options)`.

        Raises:
            RowFailed: it raised, ended the process, or took more than `seconds`.
        """
        if self._process is None:
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=False)
            self._process.start()
            theirs.close()
        self._connection.send((measure, options))
        if not self._connection.poll(seconds):
            self.close()
            raise RowFailed(f"stopped after {seconds:.0f} s")
        try:
            result, reason, log = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.close()
            raise RowFailed(f"the process ended with exit code {code}") from None
        if result is None:
            if "CUDA" in reason and "out of memory" not in reason:
                self.close()
            raise RowFailed(reason, log)
        return result

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Connection) -> None:
    """Measure the rows that arrive until the connection closes; reply with result, reason of a failure, traceback."""
    # A spawned process spawns its own, too: a loader's workers would import everything in every epoch.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    while True:
        try:
            measure, options = connection.recv()
        except EOFError:
            return
        try:
            reply: tuple[Any, str, str] = (measure(**options), "", "")
        except Exception as error:
            first_line = next(iter(str(error).splitlines()), "")
            reply = (None, f"{type(error).__name__}: {first_line}", traceback.format_exc()[-3000:])
        connection.send(reply)
        del reply
        _free_memory()


def _free_memory() -> None:
    """Release what a row left: compiled code, and memory of the device."""
    if "torch" not in sys.modules:
        return
    import torch

    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
