"""Shared by all benchmarks: interleaved timing, peak memory, quartiles, and result files with machine and versions."""

import argparse
import ctypes
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.peers.common import process_megabytes, timed
from hf_bert4rec.environment import describe_hardware, environment
from hf_bert4rec.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MAX_LOAD = 0.1  # CPU load by other processes above which timings are not trusted
LOAD_SECONDS = 2.0  # how long the load is sampled
POLL_SECONDS = 0.5  # between measurements of memory and disk
Value = TypeVar("Value")


@contextmanager
def largest(measure: Callable[[], float]) -> Iterator[list[float]]:
    """The largest value that `measure` returns during the block and at its end, as a list of one."""
    values, done = [0.0], threading.Event()

    def poll() -> None:
        while not done.wait(POLL_SECONDS):
            values[0] = max(values[0], measure())

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield values
    finally:
        done.set()
        thread.join()
        values[0] = max(values[0], measure())


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser without options; sets up logs and progress bars, too."""
    from hf_bert4rec.cli.main import set_up_console  # benchmarks.gpu does not need its libraries

    set_up_console()
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def benchmark_parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """`script_parser` with the options that all benchmarks share."""
    parser = script_parser(description)
    parser.add_argument("--repeats", type=int, default=repeats, help="number of measurements per row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the result file")
    return parser


def row(name: str, unit: str, values: Sequence[float], **extra: Any) -> dict[str, Any]:
    """One row of a result: median and quartiles over repeats.

    Args:
        extra: `at_least` or `at_most`, the target of the median; `lower_bound=True` if the measurement was stopped
            early, so that the true value is at least this large.
    """
    first, median, third = np.percentile(values, [25, 50, 75]).tolist()
    quartiles = {"median": median, "lower_quartile": first, "upper_quartile": third}
    return {"name": name, "unit": unit, **quartiles, "repeats": len(values), **extra}


def ratio_row(name: str, values: Sequence[float], reference: Sequence[float], **extra: Any) -> dict[str, Any]:
    """A row of `values / reference`, divided repeat by repeat so that a slow phase of the machine cancels out.

    The longer one is cut to the shorter: a library may fail in a later repeat.
    """
    return row(name, "×", [value / other for value, other in zip(values, reference, strict=False)], **extra)


def time_interleaved(calls: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every call in every repeat. Calls alternate, and each repeat starts with another one."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats):
        for name in rotated(list(calls), repeat):
            seconds[name].append(timed(calls[name]))
    return seconds


def rotated(names: Sequence[Value], repeat: int) -> list[Value]:
    """The order of this repeat: rotated by one per repeat, so that every name comes first equally often."""
    shift = repeat % len(names)
    return [*names[shift:], *names[:shift]]


def peak_megabytes(call: Callable[[], Any]) -> float:
    """Peak resident memory of a call above that before it, tensors included; on Linux only.

    The allocator returns freed memory to the system first; otherwise the call could reuse it and appear to need none.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current resident size: proc(5)
    before = process_megabytes("VmRSS")
    call()
    return max(0.0, process_megabytes("VmHWM") - before)


def run_in_process(call: Callable[..., Value], *arguments: Any) -> Value:
    """The result of a call in a new process, which has memory and settings of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(call, *arguments).result()


def cpu_load() -> float:
    """CPU load by other processes, sampled before measuring; a load average would include the previous benchmark."""
    import psutil  # benchmarks.gpu does not need it

    return psutil.cpu_percent(interval=LOAD_SECONDS) / 100


def write_result(
    arguments: argparse.Namespace,
    name: str,
    rows: Sequence[dict[str, Any]],
    load: float,
    missing: Mapping[str, str] | None = None,
    peers: Mapping[str, Any] | None = None,
    **extra: Any,
) -> None:
    """Write `{name}.json`: rows, missing rows with the reason, settings, machine and versions, also of `peers`.

    `load` is the CPU load before the run; `extra` are further keys, such as the points of a curve.
    """
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    result = {
        "benchmark": name,
        "rows": list(rows),
        "missing": dict(missing or {}),
        "settings": {key: value for key, value in settings.items() if key != "results"},
        "machine": describe_hardware(),
        "load_before": load,
        "environment": environment(),
        "peers": dict(peers or {}),
        **extra,
    }
    write_json(arguments.results / f"{name}.json", result)
