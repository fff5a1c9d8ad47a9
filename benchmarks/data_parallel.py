"""Training throughput of one process with one or two threads, and of two data-parallel processes on CPU.

    python -m benchmarks.data_parallel

Two processes split the batch, as `accelerate launch` starts them with `training/accelerate/gpus.yaml`.
"""

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

from benchmarks.data import USERS, synthetic_data
from benchmarks.measure import ROOT, benchmark_parser, cpu_load, ratio_row, rotated, row, write_result
from benchmarks.peers.common import MESSAGE_PREFIX
from benchmarks.peers.runner import OUR_PRECISIONS, model_settings, script_of

CONFIG = ROOT / "training" / "accelerate" / "gpus.yaml"
SETUPS = {"1 process × 1 thread": (1, 1), "1 process × 2 threads": (1, 2), "2 processes × 1 thread": (2, 1)}
TIMEOUT = 600  # seconds per measurement


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=2)
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--length", type=int, default=200, help="positions per row")
    parser.add_argument("--batch", type=int, default=128, help="rows per step over all processes")
    parser.add_argument("--steps", type=int, default=20, help="steps per measurement; the first two are not counted")
    parser.add_argument("--users", type=int, default=USERS, help="number of synthetic histories")
    arguments = parser.parse_args(argv)
    load, throughputs = cpu_load(), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as temporary:
        data = synthetic_data(Path(temporary), users=arguments.users)
        for repeat in range(arguments.repeats):
            for setup in tqdm(rotated(list(SETUPS), repeat), desc="data parallel", disable=None):
                throughputs.setdefault(setup, []).append(measure(arguments, data, *SETUPS[setup]))
    rows = [row(f"throughput, {setup}", "tokens/s", values) for setup, values in throughputs.items()]
    reference, *others = SETUPS
    rows += [ratio_row(f"speed-up, {setup}", throughputs[setup], throughputs[reference]) for setup in others]
    write_result(arguments, "data_parallel", rows, load)


def measure(arguments: Namespace, data: dict[str, Any], processes: int, threads: int) -> float:
    """Tokens per second of all processes together."""
    command = [sys.executable]
    if processes > 1:
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIG), "--main_process_port", "0"]
        command += [*launcher, "--num_processes", str(processes)]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "settings.json"
        settings = {**data, **training_settings(arguments, processes), "scratch": scratch}
        path.write_text(json.dumps(settings), encoding="utf-8")
        done = subprocess.run(
            [*command, str(script_of("hf_bert4rec")), "train", str(path)],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
    decode = json.JSONDecoder().raw_decode  # two processes may write to the same line
    results = [decode(part)[0] for part in done.stdout.split(MESSAGE_PREFIX)[1:]]
    if done.returncode or len(results) != processes:
        raise RuntimeError(f"{processes} processes exited with {done.returncode}:\n{done.stderr[-3000:]}")
    return sum(result["tokens_per_second"] for result in results)


def training_settings(arguments: Namespace, processes: int) -> dict[str, Any]:
    """Settings of `with_hf_bert4rec.py`: the batch is split over the processes."""
    return {
        **model_settings(arguments.hidden_size),
        "length": arguments.length,
        "batch": arguments.batch // processes,
        "precision": OUR_PRECISIONS[0],
        "seconds": float("inf"),
        "options": {"max_steps": arguments.steps, "use_cpu": "true"},
    }


if __name__ == "__main__":
    main()
