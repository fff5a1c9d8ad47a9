"""Users a second of a full-ranking evaluation, beside RecTools's `recommend` and RePlay's prediction.

    python -m benchmarks.peers_evaluation

Everyone scores the whole catalogue for the same users with an untrained model of the same sizes, leaves out what a user
has seen and gives the ten best; ours finds the rank of the held-out item as well. Each measurement is a process of its
own, and they take turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.histories import movielens_1m, of_shape
from benchmarks.measure import load_of_machine, parser, ratio_row, row, write_result
from benchmarks.peers.running import NAMES, Field, in_turns, run
from hf_bert4rec.cli.console import set_up_console

CONTENDERS = ("ours", "rectools", "replay")
ITEMS = 3416  # of MovieLens 1M
AT_LEAST = 3  # times each peer


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=3)
    options.add_argument("--items", type=int, nargs="+", default=[ITEMS, 60_000], help="sizes of the catalogue")
    options.add_argument("--users", type=int, default=2000, help="users to rank for")
    options.add_argument("--width", type=int, default=64)
    options.add_argument("--length", type=int, default=200, help="the models' window")
    options.add_argument("--batch", type=int, default=256, help="users in a batch")
    options.add_argument("--bound", type=float, default=600, help="seconds after which a contender is ended")
    arguments = options.parse_args(argv)
    load, field, rows = load_of_machine(), Field(), []
    with tempfile.TemporaryDirectory() as temporary:
        for items in arguments.items:
            folder = Path(temporary)
            data = movielens_1m(folder) if items == ITEMS else of_shape(folder, users=arguments.users, items=items)
            same = {"layers": 2, "heads": max(1, arguments.width // 32), "dropout": 0.2, "mask": 0.2}
            same |= {name: getattr(arguments, name) for name in ("users", "width", "length", "batch")}
            rows += rows_of(items, measurements(items, arguments.repeats, arguments.bound, field, {**data, **same}))
    write_result(arguments, "peers_evaluation", rows, load, field.missing, field.versions)


def measurements(
    items: int, repeats: int, bound: float, field: Field, settings: dict[str, Any]
) -> dict[str, list[float]]:
    """Users a second of every contender, in turns."""
    found: dict[str, list[float]] = {}
    for repeat in range(repeats):
        for name in tqdm(in_turns(CONTENDERS, repeat), desc=f"{items:,} items", disable=None):
            label = f"{items:,} items, {NAMES[name]}"
            taken = field.measure(label, name, partial(run, name, "evaluation", settings, bound))
            if taken is not None:
                found.setdefault(name, []).append(taken["users_per_second"])
    return found


def rows_of(items: int, found: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Speeds of all, and how many times each peer's ours is."""
    rows = [row(f"{items:,} items, {NAMES[who]}", "users/s", speeds) for who, speeds in found.items()]
    for who, speeds in found.items():
        if who != "ours":
            ours = found["ours"][: len(speeds)]
            rows.append(ratio_row(f"{items:,} items, hf_bert4rec : {NAMES[who]}", ours, speeds, at_least=AT_LEAST))
    return rows


if __name__ == "__main__":
    main()
