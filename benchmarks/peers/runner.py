"""Runs each library in its own process and environment with a time limit; failures are recorded with their reason."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.peers.common import CONTINUE, MESSAGE_PREFIX, STOP
from hf_bert4rec.training.hardware import bf16_is_fast

FOLDER = Path(__file__).resolve().parent
OURS = "hf_bert4rec"
ENVIRONMENTS = {
    **dict.fromkeys(("rectools", "rectools_fast", "replay", "recbole"), ".venv-peers"),
    "cornac": ".venv-cornac",
}
TITLES = {
    OURS: OURS,
    "rectools": "RecTools",
    "rectools_fast": "RecTools fast_transformers",
    "replay": "RePlay",
    "recbole": "RecBole",
    "cornac": "cornac",
}
FLOAT32, BFLOAT16 = "float32", "bfloat16"
OUR_PRECISIONS = (BFLOAT16, FLOAT32) if bf16_is_fast() else (FLOAT32,)  # the first is the default on this machine
STDERR_FILE = "stderr"
MAX_REASON_LENGTH = 300


class PeerMissing(RuntimeError):
    """A library could not be measured; the message is the reason in one line."""


@dataclass
class PeerRuns:
    """The reasons for missing measurements, and the versions of the libraries that were measured."""

    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)

    def measure(self, name: str, library: str, *arguments: Any) -> dict[str, Any] | None:
        """The result of `run`, or None if it fails or failed before under this name; `missing` has the reason."""
        if name in self.missing:
            return None
        try:
            result = run(library, *arguments)
        except PeerMissing as error:
            self.missing[name] = str(error)
            return None
        self.versions[TITLES[library]] = result.get("versions", {})
        return result

    def is_installed(self, library: str) -> bool:
        """Whether the environment of a library exists; if not, the library is recorded as missing."""
        try:
            python_of(library)
        except PeerMissing as error:
            self.missing[TITLES[library]] = str(error)
            return False
        return True


def model_settings(hidden_size: int) -> dict[str, Any]:
    """The model and masking that all libraries train with at a hidden size."""
    return {"width": hidden_size, "layers": 2, "heads": max(1, hidden_size // 32), "dropout": 0.2, "mask": 0.2}


def script_of(library: str) -> Path:
    return FOLDER / f"with_{library}.py"


def python_of(library: str) -> Path:
    """The interpreter of a library's environment; raises PeerMissing without one."""
    if library == OURS:
        return Path(sys.executable)
    folder = Path(os.environ.get("HF_BERT4REC_PEERS", ROOT)) / ENVIRONMENTS[library]
    if not (folder / "bin" / "python").exists():
        raise PeerMissing("not installed, run `make bench-peers`")
    return folder / "bin" / "python"


def run(
    library: str,
    action: str,
    settings: Mapping[str, Any],
    timeout: float,
    reply: Callable[[dict[str, Any]], bool] = lambda message: True,
) -> dict[str, Any]:
    """Run an action of a library and return its result.

    Args:
        timeout: Seconds after which the process is killed.
        reply: Called with every message before the result; returns whether the library continues.

    Raises:
        PeerMissing: No environment, no result within the timeout, or a failure.
        RuntimeError: The failing library is hf_bert4rec.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "settings.json"
        path.write_text(json.dumps({**settings, "scratch": scratch}), encoding="utf-8")
        process = start(library, action, path)
        timed_out = threading.Event()

        def expire() -> None:
            timed_out.set()
            kill(process)

        timer = threading.Timer(timeout, expire)
        timer.start()
        try:
            result = read_messages(process, reply)
            process.wait()
        finally:
            timer.cancel()
            kill(process)
        stderr = (Path(scratch) / STDERR_FILE).read_text(encoding="utf-8", errors="replace")
    if result is not None and process.returncode == 0:
        return result
    reason = f"no result within {timeout:.0f} s" if timed_out.is_set() else exit_reason(process.returncode)
    if library == OURS:
        raise RuntimeError(f"{script_of(library).name} {action}: {reason}\n{stderr[-3000:]}")
    raise PeerMissing(f"{reason}: {last_line(stderr)}")


def exit_reason(code: int) -> str:
    """Describe an exit code.

    >>> exit_reason(-9), exit_reason(1)
    ('killed by signal 9, possibly out of memory', 'exited with 1')
    """
    return f"killed by signal {-code}, possibly out of memory" if code < 0 else f"exited with {code}"


def start(library: str, action: str, settings: Path) -> subprocess.Popen[str]:
    """Start a library's script; its stderr goes to a file next to the settings."""
    with (settings.parent / STDERR_FILE).open("w") as stderr:
        return subprocess.Popen(
            [str(python_of(library)), str(script_of(library)), action, str(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=settings.parent,  # some libraries write logs and checkpoints to the working directory
            env=clean_environment(),
            start_new_session=True,
        )


def clean_environment() -> dict[str, str]:
    """This process's environment variables without those of its Python interpreter."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**inherited, "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}  # for `benchmarks.peers.common`


def read_messages(process: subprocess.Popen[str], reply: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Reply to every message until the process ends; returns its result, or None without one."""
    assert process.stdout is not None
    assert process.stdin is not None
    result = None
    for line in process.stdout:
        if not line.startswith(MESSAGE_PREFIX):
            continue
        message = json.loads(line.removeprefix(MESSAGE_PREFIX))
        if "versions" in message:
            result = message
            continue
        process.stdin.write(f"{CONTINUE if reply(message) else STOP}\n")
        process.stdin.flush()
    return result


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(text: str) -> str:
    """The last line of a process's output, shortened to fit a table cell."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MAX_REASON_LENGTH].replace("|", "/") if lines else "no output"
