"""Real tokens a second of training on one process, on one with two threads, and on two processes of one thread.

    python -m benchmarks.scaling

Two processes share the batch between them, as `accelerate launch` starts them with `training/accelerate/gpus.yaml`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.histories import USERS, of_shape
from benchmarks.measure import load_of_machine, parser, ratio_row, row, write_result
from benchmarks.peers.common import ANSWER
from benchmarks.peers.running import HERE, ROOT, in_turns
from hf_bert4rec.cli.console import set_up_console

CONFIG = ROOT / "training" / "accelerate" / "gpus.yaml"
WAYS = {
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=2)
    options.add_argument("--width", type=int, default=64)
    options.add_argument("--length", type=int, default=200, help="places of a row")
    options.add_argument("--batch", type=int, default=128, help="rows in a step, of all processes together")
    options.add_argument(
        "--steps", type=int, default=20, help="steps in a measurement, of which the first two do not count"
    )
    options.add_argument("--users", type=int, default=USERS, help="histories to make up")
    options.add_argument("--bound", type=float, default=600, help="seconds after which a measurement is ended")
    arguments = options.parse_args(argv)
    load, found = load_of_machine(), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as temporary:
        data = of_shape(Path(temporary), users=arguments.users)
        for repeat in range(arguments.repeats):
            for name in tqdm(in_turns(list(WAYS), repeat), desc="scaling", disable=None):
                found.setdefault(name, []).append(speed(arguments, data, *WAYS[name]))
    rows = [row(name, "tokens/s", speeds) for name, speeds in found.items()]
    alone, *others = WAYS
    rows += [ratio_row(f"{name} : {alone}", found[name], found[alone]) for name in others]
    write_result(arguments, "scaling", rows, load)


def speed(arguments: Namespace, data: dict[str, Any], processes: int, threads: int) -> float:
    """Tokens a second of all processes together.

    Raises:
        RuntimeError: training failed, with what it said last.
    """
    command = [sys.executable]
    if processes > 1:
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIG), "--main_process_port", "0"]
        command += [*launcher, "--num_processes", str(processes)]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "settings.json"
        path.write_text(json.dumps({**data, **settings(arguments, processes), "scratch": scratch}), encoding="utf-8")
        done = subprocess.run(
            [*command, str(HERE / "ours.py"), "train", str(path)],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=arguments.bound,
        )
    read = json.JSONDecoder().raw_decode  # two processes may answer on the same line
    answers = [read(part)[0] for part in done.stdout.split(ANSWER)[1:]]
    if done.returncode or len(answers) != processes:
        raise RuntimeError(f"{processes} processes ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return sum(answer["tokens_per_second"] for answer in answers)


def settings(arguments: Namespace, processes: int) -> dict[str, Any]:
    """What `ours.py` trains with: the batch shared out, and as many steps on every process."""
    return {
        "width": arguments.width,
        "layers": 2,
        "heads": max(1, arguments.width // 32),
        "length": arguments.length,
        "batch": arguments.batch // processes,
        "dropout": 0.2,
        "mask": 0.2,
        "precision": None,
        "seconds": float("inf"),
        "options": {"max_steps": arguments.steps, "use_cpu": "true"},
    }


if __name__ == "__main__":
    main()
