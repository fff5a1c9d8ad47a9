"""What every benchmark shares: interleaved timing, peak memory, spread, and a result that says where it was taken."""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from hf_bert4rec.environment import describe_hardware, environment
from hf_bert4rec.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
QUIET = 0.1  # share of the cores' time that others take before a run, above which its timings are not to be trusted
WATCHED = 2.0  # seconds over which that is looked at


def parser(documentation: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, default=repeats, help="times that everything is measured")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder that the result is written to")
    return made


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Median and quartiles of what several repeats gave."""
    first, median, third = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": median, "lower_quartile": first, "upper_quartile": third, "repeats": len(values)}


def row(name: str, unit: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """One line of a result.

    Args:
        more: `at_least` or `at_most`, the target that the median is held against; `lower_bound=True` where the values
            are only known to be no smaller, as of what was stopped before its end.
    """
    return {"name": name, "unit": unit, **spread(values), **more}


def ratio_row(name: str, values: Sequence[float], reference: Sequence[float], **more: Any) -> dict[str, Any]:
    """How many times the reference the values are, repeat by repeat, so that a slow moment strikes both alike."""
    return row(name, "×", [value / other for value, other in zip(values, reference, strict=True)], **more)


def interleaved(
    calls: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1, before: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of every call in every repeat; all take turns, and each repeat begins with another one.

    `before` is run before every call and is not timed.
    """
    for call in [call for call in calls.values() for _ in range(warm_up)]:
        before()
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for repeat in range(repeats):
        shift = repeat % len(names)
        for name in names[shift:] + names[:shift]:
            before()
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_megabytes(call: Callable[[], Any]) -> float | None:
    """Resident memory at the height of a call above that before it, tensors included; None where not on Linux.

    The allocator hands back what it keeps before, or the call would find room there and seem to need none.
    """
    watermark = Path("/proc/self/clear_refs")
    if not watermark.exists():
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    watermark.write_text("5")  # the peak starts again from what is resident now: proc(5)
    before = _status("VmRSS")
    call()
    return max(0.0, (_status("VmHWM") - before) / 1e3)


def _status(name: str) -> float:
    """A value in kB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def in_process(script: str, options: Sequence[object]) -> dict[str, Any]:
    """Run a benchmark's script in a process of its own and give back the JSON of its last line.

    Raises:
        RuntimeError: it failed; with what it said last.
    """
    module = ".".join(Path(script).resolve().relative_to(ROOT).with_suffix("").parts)
    command = [sys.executable, "-m", module, *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.rstrip().rsplit("\n", 1)[-1])


def load_of_machine() -> float:
    """Share of the cores' time that others take, while nothing is measured yet.

    Unlike a load average it knows nothing of the benchmark before this one.
    """
    return psutil.cpu_percent(interval=WATCHED) / 100


def write_result(
    arguments: argparse.Namespace,
    name: str,
    rows: Sequence[dict[str, Any]],
    load: float,
    missing: Mapping[str, str] | None = None,
    peers: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Write `{name}.json`: the rows, what could not be measured and why, settings, machine, versions.

    Args:
        load: that of the machine before the run, which raises it itself.
        peers: versions of the peers and of what they run on, by peer.
        more: further keys, such as a curve.
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
        **more,
    }
    write_json(arguments.results / f"{name}.json", result)
