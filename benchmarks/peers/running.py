"""Every contender in a process of its own, in its own environment, for a bounded time; what fails says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peers.common import ANSWER, PAUSE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = {"rectools": ".venv-peers", "replay": ".venv-peers", "recbole": ".venv-peers", "cornac": ".venv-cornac"}
NAMES = {"ours": "hf_bert4rec", "rectools": "RecTools", "replay": "RePlay", "recbole": "RecBole", "cornac": "cornac"}
Turn = TypeVar("Turn")
ERRORS = "stderr"
SAID = 300  # characters of a failure that are kept


class PeerMissing(RuntimeError):
    """A contender that could not be measured; the message says why, in one line."""


@dataclass
class Field:
    """Those who were measured, those who could not be, and what each ran on."""

    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)

    def measure(self, name: str, contender: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What a contender answered; None, and the reason kept under that name, where it could not now or before."""
        if name in self.missing:
            return None
        try:
            found = run()
        except PeerMissing as error:
            self.missing[name] = str(error)
            return None
        self.versions[NAMES[contender]] = found.get("versions", {})
        return found

    def there(self, contender: str) -> bool:
        """Whether its environment has been built; where not, that is kept as what it is missing for."""
        try:
            python_of(contender)
        except PeerMissing as error:
            self.missing[NAMES[contender]] = str(error)
            return False
        return True


def python_of(contender: str) -> Path:
    """The interpreter that a contender runs on.

    Raises:
        PeerMissing: its environment has not been built.
    """
    if contender == "ours":
        return Path(sys.executable)
    folder = Path(os.environ.get("HF_BERT4REC_PEERS", ROOT)) / ENVIRONMENTS[contender]
    if not (folder / "bin" / "python").exists():
        raise PeerMissing("not installed, run `make bench-peers`")
    return folder / "bin" / "python"


def run(contender: str, action: str, settings: Mapping[str, Any], bound: float) -> dict[str, Any]:
    """Let a contender do something and give back its answer.

    Args:
        bound: seconds after which it is ended.

    Raises:
        PeerMissing: no environment, no answer within the bound, or a failure, with what was said last.
        RuntimeError: it was ours that failed.
    """
    return converse(contender, action, settings, bound, lambda message: True)


def converse(
    contender: str,
    action: str,
    settings: Mapping[str, Any],
    bound: float,
    reply: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    """`run`, where each thing that the contender says before its answer is replied to: whether it goes on."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "settings.json"
        path.write_text(json.dumps({**settings, "scratch": scratch}), encoding="utf-8")
        process = started(contender, action, path)
        late = threading.Event()

        def expire() -> None:
            late.set()
            end(process)

        timer = threading.Timer(bound, expire)
        timer.start()
        try:
            found = listen(process, reply)
            process.wait()
        finally:
            timer.cancel()
            end(process)
        said = (Path(scratch) / ERRORS).read_text(encoding="utf-8", errors="replace")
    if found is not None and process.returncode == 0:
        return found
    code = process.returncode
    killed = f"killed by signal {-code}, as when memory runs out" if code < 0 else f"ended with {code}"
    ended = f"no answer within {bound:.0f} s" if late.is_set() else killed
    if contender == "ours":
        raise RuntimeError(f"ours.py {action}: {ended}\n{said[-3000:]}")
    raise PeerMissing(f"{ended}: {last_line(said)}")


def started(contender: str, action: str, settings: Path) -> subprocess.Popen[str]:
    """The process of a contender, talked to by lines, what it says otherwise in a file beside its settings."""
    script = HERE / ("ours.py" if contender == "ours" else f"with_{contender}.py")
    command = [str(python_of(contender)), str(script), action, str(settings)]
    with (settings.parent / ERRORS).open("w") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=settings.parent,  # some write logs and checkpoints where they are
            env=surroundings(),
            start_new_session=True,
        )


def surroundings() -> dict[str, str]:
    """The environment variables of a contender: this process's, without what is meant for our interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}  # for `benchmarks.peers.common`


def listen(process: subprocess.Popen[str], reply: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Reply to every message; the answer, or None where there was none."""
    assert process.stdout is not None
    assert process.stdin is not None
    answer = None
    for line in process.stdout:
        if not line.startswith(ANSWER):
            continue
        message = json.loads(line.removeprefix(ANSWER))
        if "versions" in message:
            answer = message
            continue
        process.stdin.write(f"{PAUSE if reply(message) else 'STOP'}\n")
        process.stdin.flush()
    return answer


def end(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(text: str) -> str:
    """What a process said last, in one line fit for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:SAID].replace("|", "/") if lines else "nothing was said"


def in_turns(names: Sequence[Turn], repeat: int) -> list[Turn]:
    """What takes turns in the order of this repeat: everything begins in its turn."""
    shift = repeat % len(names)
    return [*names[shift:], *names[:shift]]
