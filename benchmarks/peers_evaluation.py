"""Throughput of full-catalogue evaluation, compared with RecTools' `recommend` and RePlay's prediction.

    python -m benchmarks.peers_evaluation

Every library scores the full catalogue for the same users with an untrained model of the same size, excludes seen items
and returns the top 10; hf_bert4rec also computes the rank of the held-out item. Each measurement runs in its own
process; the libraries alternate.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.data import ITEMS, movielens_1m, synthetic_data
from benchmarks.measure import benchmark_parser, cpu_load, ratio_row, rotated, row, write_result
from benchmarks.peers.runner import OURS, TITLES, PeerRuns, model_settings

LIBRARIES = (OURS, "rectools", "replay")
MIN_SPEED_UP = 3  # target over each peer
TIMEOUT = 600  # seconds per measurement


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=3)
    parser.add_argument("--items", type=int, nargs="+", default=[ITEMS, 60_000], help="catalogue sizes")
    parser.add_argument("--users", type=int, default=2000, help="users to rank for")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--length", type=int, default=200, help="window of the models")
    parser.add_argument("--batch", type=int, default=256, help="users per batch")
    arguments = parser.parse_args(argv)
    load, peers, rows = cpu_load(), PeerRuns(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as temporary:
        for items in arguments.items:
            rows += result_rows(items, measure_all(arguments, peers, items, Path(temporary)))
    write_result(arguments, "peers_evaluation", rows, load, peers.missing, peers.versions)


def measure_all(arguments: Namespace, peers: PeerRuns, items: int, folder: Path) -> dict[str, list[float]]:
    """Users per second of every library at one catalogue size, interleaved."""
    data = movielens_1m(folder) if items == ITEMS else synthetic_data(folder, users=arguments.users, items=items)
    sizes = {name: getattr(arguments, name) for name in ("users", "length", "batch")}
    settings = {**data, **model_settings(arguments.hidden_size), **sizes}
    throughputs: dict[str, list[float]] = {}
    for repeat in range(arguments.repeats):
        for library in tqdm(rotated(LIBRARIES, repeat), desc=f"{items:,} items", disable=None):
            name = f"{items:,} items, throughput, {TITLES[library]}"
            result = peers.measure(name, library, "evaluation", settings, TIMEOUT)
            if result is not None:
                throughputs.setdefault(library, []).append(result["users_per_second"])
    return throughputs


def result_rows(items: int, throughputs: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Throughput of every library, and the speed-up over each peer."""
    rows = [
        row(f"{items:,} items, throughput, {TITLES[library]}", "users/s", values)
        for library, values in throughputs.items()
    ]
    for library, values in throughputs.items():
        if library != OURS:
            name = f"{items:,} items, speed-up over {TITLES[library]}"
            rows.append(ratio_row(name, throughputs[OURS], values, at_least=MIN_SPEED_UP))
    return rows


if __name__ == "__main__":
    main()
