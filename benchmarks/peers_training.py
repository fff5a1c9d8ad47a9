"""Real tokens a second of training, beside every peer at the same sizes: MovieLens 1M, or histories of its shape.

    python -m benchmarks.peers_training --seconds 60

Everyone trains with a library's own loop, in a process and an environment of their own, for the same time; they take
turns, and whoever begins is another one in every repeat. Padding does not count, and neither does what comes before the
third step. RecBole makes a row of every prefix, which MovieLens 1M is too large for: it and ours train on a table of
MovieLens 100K's shape as well.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.histories import movielens_1m, of_shape
from benchmarks.measure import load_of_machine, parser, ratio_row, row, write_result
from benchmarks.peers.running import NAMES, Field, in_turns, run
from hf_bert4rec.cli.console import set_up_console

SMALL = {"users": 943, "items": 1349, "median": 60}  # of MovieLens 100K
CONTENDERS = {"large": ("ours", "rectools", "replay", "cornac"), "small": ("ours", "recbole")}
AT_LEAST = 5  # times the fastest peer
FLOAT, BRAIN = "float32", "bfloat16"
PRECISIONS = {"ours": (None, FLOAT), "cornac": (FLOAT,)}  # None is what ours chooses by itself; cornac has no other
Found = dict[tuple[str, str], list[float]]


def main(argv: Sequence[str] | None = None) -> None:
    set_up_console()
    options = parser(__doc__, repeats=2)
    options.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    options.add_argument("--length", type=int, default=200, help="places of a row")
    options.add_argument("--batch", type=int, default=128, help="rows in a step")
    options.add_argument("--seconds", type=float, default=30, help="for which everyone trains")
    options.add_argument("--bound", type=float, default=300, help="seconds more, after which a contender is ended")
    options.add_argument("--users", type=int, help="make up so many histories, in place of MovieLens 1M")
    arguments = options.parse_args(argv)
    load, field = load_of_machine(), Field()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        large = of_shape(folder, users=arguments.users) if arguments.users else movielens_1m(folder)
        rows = table_rows(arguments, field, large, "large")
        if field.there("recbole"):
            rows += table_rows(arguments, field, of_shape(folder, **SMALL), "small")
    write_result(arguments, "peers_training", rows, load, field.missing, field.versions, data=large["name"])


def table_rows(arguments: Namespace, field: Field, data: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """All rows of one of the two tables of interactions."""
    rows = []
    for width in arguments.widths:
        found = measurements(arguments, field, {**data, **sizes(arguments, width)}, CONTENDERS[table])
        rows += rows_of(f"width {width}" if table == "large" else f"RecBole's table, width {width}", found)
    return rows


def sizes(arguments: Namespace, width: int) -> dict[str, Any]:
    """What all contenders train at."""
    same = {"length": arguments.length, "batch": arguments.batch, "seconds": arguments.seconds, "options": {}}
    return {"width": width, "layers": 2, "heads": max(1, width // 32), "dropout": 0.2, "mask": 0.2, **same}


def measurements(arguments: Namespace, field: Field, settings: dict[str, Any], who: Sequence[str]) -> Found:
    """Tokens a second by contender and precision, in turns; whoever failed once is not asked again."""
    found: Found = {}
    turns = [(name, precision) for name in who for precision in PRECISIONS.get(name, (FLOAT, BRAIN))]
    chosen = None
    for repeat in range(arguments.repeats):
        for name, precision in tqdm(in_turns(turns, repeat), desc=f"width {settings['width']}", disable=None):
            if name == "ours" and precision is not None and precision == chosen:
                continue  # it is what ours chooses anyway
            label = f"width {settings['width']}, {NAMES[name]}" + (f", {precision}" if precision else "")
            asked = {**settings, "precision": precision}
            bound = arguments.seconds + arguments.bound
            taken = field.measure(label, name, partial(run, name, "train", asked, bound))
            if taken is None:
                continue
            chosen = taken["precision"] if name == "ours" and precision is None else chosen
            found.setdefault((name, precision or taken["precision"]), []).append(taken["tokens_per_second"])
    return found


def rows_of(label: str, found: Found) -> list[dict[str, Any]]:
    """Speeds of all, and how many times each peer's ours is, in the same precision and in what ours chooses."""
    rows = [row(f"{label}, {NAMES[who]}, {precision}", "tokens/s", taken) for (who, precision), taken in found.items()]
    ours = {precision: taken for (who, precision), taken in found.items() if who == "ours"}
    peers = {key: taken for key, taken in found.items() if key[0] != "ours"}
    for precision, taken in ours.items():
        for (who, theirs), speed in peers.items():
            name = f"{label}, hf_bert4rec, {precision} : {NAMES[who]}, {theirs}"
            rows.append(ratio_row(name, *paired(taken, speed)))
    if peers:
        rows += [fastest_row(label, precision, taken, peers) for precision, taken in ours.items()]
    return rows


def fastest_row(label: str, precision: str, ours: list[float], peers: Found) -> dict[str, Any]:
    """How many times the fastest peer's, which for ours in float32 is the fastest in float32."""
    alike = {key: speed for key, speed in peers.items() if precision in (BRAIN, key[1])} or peers
    (who, theirs), speed = max(alike.items(), key=lambda entry: np.median(entry[1]))
    name = f"{label}, hf_bert4rec, {precision} : fastest peer ({NAMES[who]}, {theirs})"
    return ratio_row(name, *paired(ours, speed), at_least=AT_LEAST)


def paired(ours: list[float], theirs: list[float]) -> tuple[list[float], list[float]]:
    """As many of one as of the other: a contender may have failed in a later repeat."""
    count = min(len(ours), len(theirs))
    return ours[:count], theirs[:count]


if __name__ == "__main__":
    main()
