"""Training time to a validation NDCG@10 on MovieLens 1M, compared with RecTools and RePlay at their published settings.

    HF_BERT4REC_DATA=folder python -m benchmarks.peers_quality

hf_bert4rec trains with `training/recipes/ml-1m-quick.yaml`. At each evaluation, the scores of all users are ranked by
`hf_bert4rec.evaluation` over the full catalogue with seen items excluded; evaluation is not timed. hf_bert4rec is
evaluated several times per epoch, a peer once; the curve is interpolated linearly in between. A peer is stopped at
`--time_limit_ratio` times the time of hf_bert4rec to the last threshold; a threshold it has not reached by then gives a
lower bound.
"""

import itertools
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.data import movielens_1m, synthetic_data
from benchmarks.measure import benchmark_parser, cpu_load, row, write_result
from benchmarks.peers.runner import OUR_PRECISIONS, OURS, TITLES, PeerRuns
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.data.sequences import SEQUENCE_FILE
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import rank_targets

PEERS = ("rectools", "replay")
MIN_SPEED_UP = 10  # target over each peer
BATCH = 256  # users per batch of the evaluation
MAX_SECONDS = 7200  # of training
UNTIMED_SECONDS = 600  # time limit for startup and evaluations
Curve = list[dict[str, float]]  # `seconds` of training and `ndcg@10` at every evaluation


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=1)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.13, 0.15], help="validation NDCG@10")
    parser.add_argument("--time_limit_ratio", type=float, default=12, help="time limit of peers relative to ours")
    parser.add_argument("--evaluations_per_epoch", type=int, default=8, help="of hf_bert4rec; peers have one")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="recipe keys of hf_bert4rec")
    parser.add_argument("--users", type=int, help="use this many synthetic histories instead of MovieLens 1M")
    arguments = parser.parse_args(argv)
    load, peers = cpu_load(), PeerRuns()
    rows: list[dict[str, Any]] = []
    trained: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = synthetic_data(folder, users=arguments.users) if arguments.users else movielens_1m(folder)
        if data["name"] != SEQUENCE_FILE and not arguments.users:
            peers.missing["training time"] = f"no {SEQUENCE_FILE} in HF_BERT4REC_DATA"
        else:
            trained = train_all(arguments, peers, data)
            rows = [line for threshold in arguments.thresholds for line in result_rows(threshold, trained, peers)]
    write_result(arguments, "peers_quality", rows, load, peers.missing, peers.versions, trained=trained)


def train_all(arguments: Namespace, peers: PeerRuns, data: dict[str, Any]) -> dict[str, Any]:
    """The curves of hf_bert4rec by precision, and the curve and training seconds of every peer."""
    curves = our_curves(arguments, peers, data)
    highest = max(arguments.thresholds)
    slowest = max(time_to_reach(curve, highest) or curve[-1]["seconds"] for curve in curves.values())
    seconds = min(MAX_SECONDS, arguments.time_limit_ratio * slowest)
    trained: dict[str, Any] = {OURS: curves}
    for peer in PEERS:
        result = peer_curve(peers, data, peer, seconds, stop_at=highest)
        trained |= {} if result is None else {peer: result}
    return trained


def our_curves(arguments: Namespace, peers: PeerRuns, data: dict[str, Any]) -> dict[str, Curve]:
    """NDCG@10 by seconds of training in every precision, up to the highest threshold or the end of the recipe."""
    settings = {
        **data,
        "evaluations_per_epoch": arguments.evaluations_per_epoch,
        "stop_at": max(arguments.thresholds),
        "options": dict(option.split("=", 1) for option in arguments.options),
    }
    curves: dict[str, Curve] = {}
    for precision in OUR_PRECISIONS:
        timeout = MAX_SECONDS + UNTIMED_SECONDS
        result = peers.measure(OURS, OURS, "quality", {**settings, "precision": precision}, timeout)
        assert result is not None  # a failure of hf_bert4rec raises
        curves[precision] = result["curve"]
    return curves


def peer_curve(
    peers: PeerRuns, data: dict[str, Any], peer: str, seconds: float, stop_at: float
) -> dict[str, Any] | None:
    """`curve` of a peer and the `seconds` it trained for; None if it could not be run."""
    curve: Curve = []
    with tqdm(desc=f"{TITLES[peer]}, evaluations", disable=None) as bar:

        def reply(message: dict[str, Any]) -> bool:
            bar.update()
            curve.append({"seconds": message["seconds"], "ndcg@10": ndcg(data, message["scores"])})
            return curve[-1]["ndcg@10"] < stop_at

        settings, timeout = {**data, "seconds": seconds}, 2 * seconds + UNTIMED_SECONDS
        result = peers.measure(TITLES[peer], peer, "quality", settings, timeout, reply)
    return None if result is None else {"curve": curve, "seconds": result["seconds"]}


def ndcg(data: dict[str, Any], path: str) -> float:
    """NDCG@10 of a peer's scores: `scores` (users, items), and `items`, the input id of every column."""
    histories, scored = np.load(data["data"]), np.load(path)
    scores = np.full((len(histories["targets"]), data["vocab_size"]), np.finfo(np.float32).min, dtype=np.float32)
    scores[:, scored["items"]] = scored["scores"]
    batches = iter(torch.from_numpy(scores).split(BATCH))
    ranking = rank_targets(
        lambda batch: next(batches),
        Ragged(histories["values"], histories["offsets"]),
        Ragged(histories["targets"], offsets_of(np.ones(len(histories["targets"]), dtype=np.int64))),
        vocab_size=data["vocab_size"],
        special_ids=range(data["first_item"]),
        batch_size=BATCH,
    )
    return metrics_from_ranks(ranking.ranks.values)["ndcg@10"]


def time_to_reach(curve: Curve, threshold: float) -> float | None:
    """Seconds of training to a threshold, interpolated linearly between evaluations; None if it was not reached.

    >>> time_to_reach([{"seconds": 10, "ndcg@10": 0.1}, {"seconds": 30, "ndcg@10": 0.14}], 0.13)
    25.0
    """
    for before, after in itertools.pairwise([None, *curve]):
        if after is not None and after["ndcg@10"] >= threshold:
            if before is None:
                return after["seconds"]
            share = (threshold - before["ndcg@10"]) / (after["ndcg@10"] - before["ndcg@10"])
            return round(before["seconds"] + share * (after["seconds"] - before["seconds"]), 3)
    return None


def result_rows(threshold: float, trained: dict[str, Any], peers: PeerRuns) -> list[dict[str, Any]]:
    """Training time of every library to a threshold, and the speed-up over each peer."""
    label = f"NDCG@10 {threshold}"
    reached = {peer: time_to_reach(trained[peer]["curve"], threshold) for peer in PEERS if peer in trained}
    seconds = {peer: time or trained[peer]["seconds"] for peer, time in reached.items()}
    bounds = {peer: {} if time else {"lower_bound": True} for peer, time in reached.items()}
    rows = [
        row(f"{label}, training time, {TITLES[peer]}", "min", [seconds[peer] / 60], **bounds[peer]) for peer in seconds
    ]
    for precision, curve in trained[OURS].items():
        name = f"{label}, training time, {OURS} {precision}"
        ours = time_to_reach(curve, threshold)
        if ours is None:
            peers.missing[name] = f"reached {max(point['ndcg@10'] for point in curve):.4f}"
            continue
        rows.append(row(name, "min", [ours / 60]))
        for peer, time in seconds.items():
            ratio = f"{label}, speed-up, {OURS} {precision} over {TITLES[peer]}"
            rows.append(row(ratio, "×", [time / ours], at_least=MIN_SPEED_UP, **bounds[peer]))
    return rows


if __name__ == "__main__":
    main()
