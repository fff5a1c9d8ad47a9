"""Write the table of the benchmarks' results, the part of it in `docs/benchmarks.md`, and the plots; print the table.

    python -m benchmarks.table

The whole table is `benchmarks/results/README.md`; `docs/benchmarks.md` has the rows that a target is set for,
between its marks. Both are written from the JSON files alone.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import QUIET, RESULTS
from benchmarks.plots import draw_scaling_curves
from hf_bert4rec.files import write_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
ORDER = (
    "peers_training",
    "peers_quality",
    "peers_evaluation",
    "serving",
    "data_preparation",
    "large_catalogue",
    "training_step",
    "step_profile",
    "scaling",
    "scaling_curves",
)
TABLE, PLOT = "README.md", "scaling_curves.png"
MARKS = ("<!-- benchmarks: written by benchmarks/table.py -->", "<!-- end of benchmarks -->")
HEAD = ("| what | median | quartiles | | target | |", "|---|---:|---:|---|---|---|")


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=Path, default=RESULTS, help="folder with the results")
    options.add_argument("--page", type=Path, help="the file with the rows that have targets; docs/benchmarks.md")
    arguments = options.parse_args(argv)
    results = read_results(arguments.results)
    whole = "\n\n".join(described(result) for result in results)
    for result in results:
        if "curves" in result:
            draw_scaling_curves(result, arguments.results / PLOT)
            whole += f"\n\n![Time and memory against users, length of histories and catalogue]({PLOT})"
    write_text(arguments.results / TABLE, f"# Benchmarks\n\n{whole}\n")
    print(whole)
    page = arguments.page or (PAGE if arguments.results == RESULTS else None)
    if page is not None:
        write_text(page, between_marks(page, summary(results)))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, in the order of the table."""
    paths = sorted(folder.glob("*.json"), key=lambda path: (*ORDER, path.stem).index(path.stem))
    if not paths:
        raise FileNotFoundError(f"no results in {folder}: run `make bench` first")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def described(result: dict[str, Any]) -> str:
    """One result as a heading, where it was taken, and a table."""
    lines = [f"## {title(result)}", "", taken(result)]
    load = result["load_before"]
    if load > QUIET:
        lines += ["", f"**The machine was busy** ({load:.0%} of its cores before the run): not to be quoted."]
    lines += ["", *HEAD, *map(line_of, result["rows"]), *missing_lines(result)]
    return "\n".join(lines)


def title(result: dict[str, Any]) -> str:
    """The name of a benchmark as a heading."""
    return result["benchmark"].replace("_", " ").capitalize()


def taken(result: dict[str, Any]) -> str:
    """Where and when a result was taken, and on which versions."""
    environment = result["environment"]
    peers = [f"{name}: {_versions(found)}" for name, found in result["peers"].items()]
    repeats = result["rows"][0]["repeats"] if result["rows"] else 0
    where = f"{result['machine']}, torch {environment['versions']['torch']}, {environment['date'][:10]}"
    return ". ".join([f"{where}; median and quartiles of {repeats} interleaved repeats", *peers]) + "."


def line_of(row: dict[str, Any]) -> str:
    """One row of a table."""
    more = "> " if row.get("lower_bound") else ""
    quartiles = f"{number(row['lower_quartile'])} … {number(row['upper_quartile'])}" if row["repeats"] > 1 else ""
    wanted, met = target_of(row)
    return f"| {row['name']} | {more}{number(row['median'])} | {quartiles} | {row['unit']} | {wanted} | {met} |"


def target_of(row: dict[str, Any]) -> tuple[str, str]:
    """The target of a row and whether it is met; empty where it has none.

    What is only known to be no smaller than a figure below its target is neither.

    >>> target_of({"unit": "×", "median": 6.1, "at_least": 5}), target_of({"unit": "s", "median": 31, "at_most": 20})
    (('≥ 5 ×', 'met'), ('≤ 20 s', 'not met'))
    >>> target_of({"unit": "×", "median": 7, "at_least": 10, "lower_bound": True})
    ('≥ 10 ×', 'not known')
    """
    if "at_least" in row:
        met = "met" if row["median"] >= row["at_least"] else "not known" if row.get("lower_bound") else "not met"
        return f"≥ {row['at_least']:,} {row['unit']}", met
    if "at_most" in row:
        return f"≤ {row['at_most']:,} {row['unit']}", "met" if row["median"] <= row["at_most"] else "not met"
    return "", ""


def missing_lines(result: dict[str, Any]) -> list[str]:
    """What could not be measured, and why."""
    return [f"| {name} | missing: {reason} | | | | |" for name, reason in result["missing"].items()]


def summary(results: Sequence[dict[str, Any]]) -> str:
    """The rows with targets of all results, and what is missing."""
    aimed = [(result, row) for result in results for row in result["rows"] if target_of(row)[0]]
    lines = [line_of({**row, "name": f"{title(result)}: {row['name']}"}) for result, row in aimed]
    for result in results:
        kept = {f"{title(result)}: {name}": reason for name, reason in result["missing"].items()}
        lines += missing_lines({"missing": kept})
    dates: dict[str, set[str]] = {}
    for result in results:
        dates.setdefault(result["machine"], set()).add(result["environment"]["date"][:10])
    machines = [f"{machine}, {', '.join(sorted(days))}" for machine, days in sorted(dates.items())]
    busy = [title(result) for result in results if result["load_before"] > QUIET]
    note = f" The machine was busy before: {', '.join(busy)}." if busy else ""
    return "\n".join([f"Taken on {'; '.join(machines)}.{note}", "", *HEAD, *lines])


def between_marks(path: Path, table: str) -> str:
    """The text of a file with the table between its marks.

    Raises:
        ValueError: it has no marks.
    """
    text = path.read_text(encoding="utf-8")
    pattern = re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1])
    if not re.search(pattern, text, flags=re.DOTALL):
        raise ValueError(f"{path} has no place for the table: the lines {MARKS[0]!r} and {MARKS[1]!r}")
    return re.sub(pattern, lambda _: "\n\n".join([MARKS[0], table, MARKS[1]]), text, flags=re.DOTALL)


def number(value: float) -> str:
    """Three significant digits, and thousands apart.

    >>> number(1234.5), number(0.12345), number(12.0)
    ('1,234', '0.123', '12')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


if __name__ == "__main__":
    main()
