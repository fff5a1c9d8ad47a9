"""Training throughput, compared with RecTools, RePlay, cornac and RecBole at the same model size.

    python -m benchmarks.peers_training --seconds 60

Every library trains on MovieLens 1M (or synthetic histories of its shape) with its own training loop, in its own
process and environment, for the same time; the libraries alternate. Padding tokens and the first two steps are not
counted. The fast transformers of RecTools predict the next item at every position; for them, hf_bert4rec trains a
causal model on the same task. RecBole makes a row of every prefix of a history, for which MovieLens 1M is too large:
RecBole and hf_bert4rec are also measured on synthetic histories in the shape of MovieLens 100K.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.data import movielens_1m, synthetic_data
from benchmarks.measure import benchmark_parser, cpu_load, ratio_row, rotated, row, write_result
from benchmarks.peers.runner import BFLOAT16, FLOAT32, OUR_PRECISIONS, OURS, TITLES, PeerRuns, model_settings

ML_100K_SHAPE = {"users": 943, "items": 1349, "median": 60}
LIBRARIES = (OURS, "rectools", "replay", "cornac")
# hf_bert4rec with a label at every position, as the fast transformers of RecTools have it
CAUSAL = {"causal": "true", "mlm_probability": 1.0, "mask_replace_prob": 0.0}
MIN_SPEED_UP = {BFLOAT16: 10, FLOAT32: 6}  # targets over the fastest peer
PRECISIONS = {OURS: OUR_PRECISIONS, "rectools_fast": (FLOAT32,), "cornac": (FLOAT32,)}  # peers without bfloat16
STARTUP_SECONDS = 300  # time limit for everything but training
Throughputs = dict[tuple[str, str], list[float]]  # by library and precision


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=2)
    parser.add_argument("--hidden_sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--length", type=int, default=200, help="positions per row")
    parser.add_argument("--batch", type=int, default=128, help="rows per step")
    parser.add_argument("--seconds", type=float, default=30, help="training time of each library")
    parser.add_argument("--users", type=int, help="use this many synthetic histories instead of MovieLens 1M")
    arguments = parser.parse_args(argv)
    load, peers, rows = cpu_load(), PeerRuns(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = synthetic_data(folder, users=arguments.users) if arguments.users else movielens_1m(folder)
        rows += compare(arguments, peers, "", LIBRARIES, {**data, "options": {}})
        if peers.is_installed("rectools_fast"):
            rows += compare(arguments, peers, "causal, ", (OURS, "rectools_fast"), {**data, "options": CAUSAL})
        if peers.is_installed("recbole"):
            small = {**synthetic_data(folder, **ML_100K_SHAPE), "options": {}}
            rows += compare(arguments, peers, "ml-100k shape, ", (OURS, "recbole"), small)
    write_result(arguments, "peers_training", rows, load, peers.missing, peers.versions, data=data["name"])


def compare(
    arguments: Namespace, peers: PeerRuns, label: str, libraries: Sequence[str], data: dict[str, Any]
) -> list[dict[str, Any]]:
    """Rows of some libraries at every hidden size."""
    rows: list[dict[str, Any]] = []
    for hidden_size in arguments.hidden_sizes:
        name = f"{label}hidden size {hidden_size}"
        settings = {**data, **model_settings(hidden_size)}
        rows += result_rows(name, measure_all(arguments, peers, name, libraries, settings))
    return rows


def measure_all(
    arguments: Namespace, peers: PeerRuns, label: str, libraries: Sequence[str], settings: dict[str, Any]
) -> Throughputs:
    """Tokens per second of every library and precision, interleaved; failed combinations are not repeated."""
    settings = {**settings, **{name: getattr(arguments, name) for name in ("length", "batch", "seconds")}}
    runs = [(library, precision) for library in libraries for precision in PRECISIONS.get(library, (FLOAT32, BFLOAT16))]
    throughputs: Throughputs = {}
    for repeat in range(arguments.repeats):
        for library, precision in tqdm(rotated(runs, repeat), desc=label, disable=None):
            name = f"{label}, throughput, {TITLES[library]} {precision}"
            timeout = arguments.seconds + STARTUP_SECONDS
            result = peers.measure(name, library, "train", {**settings, "precision": precision}, timeout)
            if result is not None:
                throughputs.setdefault((library, precision), []).append(result["tokens_per_second"])
    return throughputs


def result_rows(label: str, throughputs: Throughputs) -> list[dict[str, Any]]:
    """Throughput of every library, the speed-up over each peer, and over the fastest peer."""
    rows = [
        row(f"{label}, throughput, {TITLES[library]} {precision}", "tokens/s", values)
        for (library, precision), values in throughputs.items()
    ]
    ours = {precision: values for (library, precision), values in throughputs.items() if library == OURS}
    peers = {key: values for key, values in throughputs.items() if key[0] != OURS}
    for precision, values in ours.items():
        for (library, peer_precision), peer_values in peers.items():
            name = f"{label}, speed-up, {OURS} {precision} over {TITLES[library]} {peer_precision}"
            rows.append(ratio_row(name, values, peer_values))
    if peers:
        rows += [fastest_peer_row(label, precision, values, peers) for precision, values in ours.items()]
    return rows


def fastest_peer_row(label: str, precision: str, values: list[float], peers: Throughputs) -> dict[str, Any]:
    """The speed-up over the fastest peer; float32 is compared with the fastest peer in float32."""
    comparable = {key: peer_values for key, peer_values in peers.items() if precision in (BFLOAT16, key[1])} or peers
    (library, peer_precision), peer_values = max(comparable.items(), key=lambda entry: np.median(entry[1]))
    peer = f"the fastest peer ({TITLES[library]} {peer_precision})"
    name = f"{label}, speed-up, {OURS} {precision} over {peer}"
    return ratio_row(name, values, peer_values, at_least=MIN_SPEED_UP[precision])


if __name__ == "__main__":
    main()
