"""Minutes of training to a validation NDCG@10 on MovieLens 1M, beside RecTools and RePlay at their own best settings.

    HF_BERT4REC_DATA=folder python -m benchmarks.peers_quality

Ours trains with `training/recipes/ml-1m-quick.yaml`. At every look, the scores of all users are ranked by
`hf_bert4rec.evaluation` over the whole catalogue, seen items left out; that time does not count. Ours is
looked at several times an epoch, a peer once; between looks the curve is taken to be straight. A peer is stopped at
`--times` our own time to the last threshold; what it has not reached by then is a lower bound.
"""

from __future__ import annotations

import itertools
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.histories import movielens_1m, of_shape
from benchmarks.measure import load_of_machine, parser, row, write_result
from benchmarks.peers.running import NAMES, Field, converse, run
from hf_bert4rec.cli.console import set_up_console
from hf_bert4rec.data.prepare import SEQUENCES
from hf_bert4rec.data.ragged import Ragged, offsets_of
from hf_bert4rec.evaluation.metrics import metrics_from_ranks
from hf_bert4rec.evaluation.ranking import rank_targets

PEERS = ("rectools", "replay")
AT_LEAST = 10  # times our time
BATCH = 256
FLOAT = "float32"
SLACK = 600  # seconds for what does not count: starting, and looks
Curve = list[dict[str, float]]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=1)
    options.add_argument("--thresholds", type=float, nargs="+", default=[0.13, 0.15], help="of validation NDCG@10")
    options.add_argument("--times", type=float, default=12, help="our time to the last threshold that a peer is given")
    options.add_argument("--looks", type=int, default=8, help="evaluations of ours in an epoch; peers have one")
    options.add_argument("--longest", type=float, default=7200, help="seconds that nobody trains longer than")
    options.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="keys of ours' recipe")
    options.add_argument("--users", type=int, help="make up so many histories, in place of MovieLens 1M")
    arguments = options.parse_args(argv)
    load, field = load_of_machine(), Field()
    rows: list[dict[str, Any]] = []
    trained: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = of_shape(folder, users=arguments.users) if arguments.users else movielens_1m(folder)
        if data["name"] != SEQUENCES and not arguments.users:
            field.missing["minutes to a quality"] = f"no {SEQUENCES} where HF_BERT4REC_DATA says"
        else:
            ours = our_curves(arguments, field, data)
            seconds = peers_seconds(arguments, ours)
            trained = {"ours": ours}
            for peer in PEERS:
                trained |= peer_curve(arguments, field, data, peer, seconds)
            rows = [line for threshold in arguments.thresholds for line in rows_of(threshold, trained, field)]
    write_result(arguments, "peers_quality", rows, load, field.missing, field.versions, trained=trained)


def our_curves(arguments: Namespace, field: Field, data: dict[str, Any]) -> dict[str, Curve]:
    """NDCG@10 by seconds of training, until the highest threshold or the recipe's end.

    In the precision that ours chooses, and after that in float32 where it chose another.
    """
    settings = {
        **data,
        "times_an_epoch": arguments.looks,
        "enough": max(arguments.thresholds),
        "options": dict(option.split("=", 1) for option in arguments.options),
    }
    curves: dict[str, Curve] = {}
    for precision in (None, FLOAT):
        if precision not in curves:
            asked = {**settings, "precision": precision}
            found = field.measure("ours", "ours", partial(run, "ours", "quality", asked, arguments.longest + SLACK))
            assert found is not None  # a failure of ours ends the benchmark
            curves[precision or found["precision"]] = found["curve"]
    return curves


def peers_seconds(arguments: Namespace, ours: dict[str, Curve]) -> float:
    """How long a peer may train: so many times our slowest time to the highest threshold."""
    highest = max(arguments.thresholds)
    slowest = max(reached(curve, highest) or curve[-1]["seconds"] for curve in ours.values())
    return min(arguments.longest, arguments.times * slowest)


def peer_curve(arguments: Namespace, field: Field, data: dict[str, Any], peer: str, seconds: float) -> dict[str, Any]:
    """`curve` of a peer, and the `seconds` that it trained for; nothing where it could not be had."""
    curve: Curve = []
    settings = {**data, "seconds": seconds}
    with tqdm(desc=f"{NAMES[peer]}, looks", disable=None) as bar:

        def reply(message: dict[str, Any]) -> bool:
            bar.update()
            curve.append({"seconds": message["seconds"], "ndcg@10": ndcg(data, message["scores"])})
            return curve[-1]["ndcg@10"] < max(arguments.thresholds)

        ask = partial(converse, peer, "quality", settings, 2 * seconds + SLACK, reply)
        ended = field.measure(NAMES[peer], peer, ask)
    return {peer: {"curve": curve, "seconds": ended["seconds"]}} if ended is not None else {}


def ndcg(data: dict[str, Any], path: str) -> float:
    """NDCG@10 of what a peer scored: `scores` (users, items) and the `items` of its columns, as input ids."""
    rows, told = np.load(data["data"]), np.load(path)
    scores = np.full((len(rows["targets"]), data["vocab_size"]), np.finfo(np.float32).min, dtype=np.float32)
    scores[:, told["items"]] = told["scores"]
    users = iter(torch.from_numpy(scores).split(BATCH))
    ranking = rank_targets(
        lambda histories: next(users),
        Ragged(rows["values"], rows["offsets"]),
        Ragged(rows["targets"], offsets_of(np.ones(len(rows["targets"]), dtype=np.int64))),
        vocab_size=data["vocab_size"],
        special_ids=range(data["first_item"]),
        batch_size=BATCH,
    )
    return metrics_from_ranks(ranking.ranks.values)["ndcg@10"]


def reached(curve: Curve, threshold: float) -> float | None:
    """Seconds of training to so much, on straight lines between looks; None where no look found it.

    >>> reached([{"seconds": 10, "ndcg@10": 0.1}, {"seconds": 30, "ndcg@10": 0.14}], 0.13)
    25.0
    """
    for before, look in itertools.pairwise([None, *curve]):
        if look is not None and look["ndcg@10"] >= threshold:
            if before is None:
                return look["seconds"]
            share = (threshold - before["ndcg@10"]) / (look["ndcg@10"] - before["ndcg@10"])
            return round(before["seconds"] + share * (look["seconds"] - before["seconds"]), 3)
    return None


def rows_of(threshold: float, trained: dict[str, Any], field: Field) -> list[dict[str, Any]]:
    """Minutes of everyone to a threshold, and how many times ours each peer's are."""
    label = f"validation NDCG@10 {threshold}"
    found = {peer: reached(trained[peer]["curve"], threshold) for peer in PEERS if peer in trained}
    taken = {peer: seconds or trained[peer]["seconds"] for peer, seconds in found.items()}
    bounds = {peer: {} if seconds else {"lower_bound": True} for peer, seconds in found.items()}
    rows = [row(f"{label}, {NAMES[peer]}", "min", [taken[peer] / 60], **bounds[peer]) for peer in found]
    for precision, curve in trained["ours"].items():
        name = f"{label}, {NAMES['ours']}, {precision}"
        ours = reached(curve, threshold)
        if ours is None:
            field.missing[name] = f"reached {max(look['ndcg@10'] for look in curve):.4f}"
            continue
        rows.append(row(name, "min", [ours / 60]))
        for peer, seconds in taken.items():
            ratio = f"{label}, {NAMES[peer]} : {NAMES['ours']}, {precision}"
            rows.append(row(ratio, "×", [seconds / ours], at_least=AT_LEAST, **bounds[peer]))
    return rows


if __name__ == "__main__":
    main()
