"""Print the results of the benchmarks as Markdown tables.

python training/benchmarks/table.py
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # a checkout works uninstalled

from training.benchmarks.measure import QUIET, RESULTS


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=Path, default=RESULTS, help="folder with the results")
    folder = options.parse_args(argv).results
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no results in {folder}: run `make bench` first")
    print("\n\n".join(described(json.loads(path.read_text(encoding="utf-8"))) for path in paths))


def described(result: dict[str, Any]) -> str:
    """One result as a heading, where it was taken, and a table."""
    versions = result["environment"]["versions"]
    lines = [
        f"### {result['benchmark'].replace('_', ' ').capitalize()}",
        "",
        f"{result['machine']}, torch {versions['torch']}, {result['environment']['date'][:10]}; median and quartiles "
        f"of {result['rows'][0]['repeats']} interleaved repeats.",
    ]
    load = result["load_before"]
    if load is not None and load > QUIET:
        lines += ["", f"**The machine was busy** (load {load:.1f} a core before the run): not to be quoted."]
    lines += ["", "| what | median | quartiles | |", "|---|---:|---:|---|"]
    for row in result["rows"]:
        quartiles = f"{number(row['lower_quartile'])} … {number(row['upper_quartile'])}"
        lines.append(f"| {row['name']} | {number(row['median'])} | {quartiles} | {row['unit']} |")
    lines += [f"| {name} | missing: {reason} | | |" for name, reason in result["missing"].items()]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
