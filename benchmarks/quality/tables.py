"""What benchmarks/quality/collect.py keeps of runs, beside the figures of others, as Markdown tables."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

PAPER_DRAW = "popularity_100"  # how the paper draws the candidates of a held-out item
# Rows of the README's table: recipes as means over their seeds, models of others by their name in published.yaml, and
# the Markov chain.
HEADLINE_DATASET = "ml-1m.txt"
HEADLINE_RECIPES = {"ml-1m": "**ours**, causal (`ml-1m`)", "ml-1m-masked": "**ours**, masked (`ml-1m-masked`)"}
HEADLINE_PUBLISHED = ("SASRec, full cross-entropy (causal)", "gSASRec (causal)", "BERT4Rec, RecTools")
Row = tuple[float, str]  # the NDCG@10 to sort by, and the line


def recipe_of(result: dict[str, Any]) -> str:
    """The name of the recipe, with a hint where the command line changed it."""
    words = [word for word in result["command"].split()[2:] if not word.startswith(("--seed", "--dataset"))]
    changed = any(word.startswith("--") for word in words[1:])
    return Path(words[0]).stem + ("-changed" if changed else "")


def format_tables(results: list[dict[str, Any]], published: dict[str, Any]) -> str:
    """One table a data set: our runs and baselines beside what others published, best NDCG@10 first."""
    parts = []
    for dataset in sorted({result["dataset"] for result in results}):
        ours = [result for result in results if result["dataset"] == dataset]
        rows = [row for result in ours for row in run_rows(result)]
        rows += mean_rows([(recipe_of(result), result["test"]) for result in ours])
        rows += published_rows(published.get(dataset, []))
        head = f"**{dataset}**: {ours[0]['users']:,} users, {ours[0]['catalogue_size']:,} items, targets "
        parts.append(f"{head}`{ours[0]['targets_sha256'][:8]}`\n\n{_table(rows)}")
    return "\n\n".join(parts)


def headline_table(results: list[dict[str, Any]], published: dict[str, Any]) -> str:
    """The README's table, best NDCG@10 first; empty without runs on its data set."""
    ours = [result for result in results if result["dataset"] == HEADLINE_DATASET]
    if not ours:
        return ""
    rows = []
    for recipe, label in HEADLINE_RECIPES.items():
        runs = [result for result in ours if recipe_of(result) == recipe]
        figures = [mean(run["test"][metric]["mean"] for run in runs) for metric in ("ndcg@10", "hit_rate@10")]
        minutes = mean(run["seconds"] for run in runs) / 60
        rows.append(
            (
                figures[0],
                _line(
                    label, *map("{:.4f}".format, figures), f"this repository, {len(runs)} seeds, {minutes:.0f} min each"
                ),
            )
        )
    for entry in published[HEADLINE_DATASET]:
        if entry["model"] in HEADLINE_PUBLISHED:
            values = [f"{entry[metric]:.4f}" for metric in ("ndcg@10", "hit_rate@10")]
            rows.append((entry["ndcg@10"], _line(entry["model"], *values, entry["source"])))
    markov = ours[0]["baselines"]["markov"]["test"]
    values = [f"{markov[metric]['mean']:.4f}" for metric in ("ndcg@10", "hit_rate@10")]
    rows.append((markov["ndcg@10"]["mean"], _line("Markov chain", *values, "this repository")))
    lines = [line for _, line in sorted(rows, reverse=True)]
    return "\n".join(["| model | NDCG@10 | HR@10 | source |", "|---|---|---|---|", *lines])


def sampled_tables(results: list[dict[str, Any]], published: dict[str, Any]) -> list[str]:
    """One table a data set of which others published figures by the paper's protocol: ours beside them."""
    tables = []
    for dataset, others in published.get(PAPER_DRAW, {}).items():
        ours = [result for result in results if result["dataset"] == dataset and PAPER_DRAW in result["sampled"]]
        if not ours:
            continue
        rows = [sampled_row(result) for result in ours] + published_rows(others)
        rows += mean_rows([(recipe_of(result), result["sampled"][PAPER_DRAW]) for result in ours])
        tables.append(
            f"**{dataset}, sampled as in the paper**: every held-out item among 100 that the user has not seen, drawn "
            "by popularity. Far higher than over the catalogue, and comparable with this table alone.\n\n"
            f"{_table(rows)}"
        )
    return tables


def comparison_table(comparisons: list[dict[str, Any]]) -> str:
    """What `benchmarks/quality/compare.py` kept, a row for what the models were told."""
    if not comparisons:
        return ""
    lines = [
        "**Compared user by user**, NDCG@10 on the same test items, mean over seeds, with the paired interval",
        "",
        "| recipe | seeds | the models know | compared with | NDCG@10 | theirs | difference | share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kept in comparisons:
        for told, metrics in kept["found"].items():
            found = metrics["ndcg@10"]
            difference = "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**found["difference"])
            share = "{mean:+.1%} [{low:+.1%}, {high:+.1%}]".format(**found["share"])
            means = f"{found['mean']:.4f}", f"{found['other']:.4f}"
            lines.append(_line(kept["recipe"], str(kept["models"]), told, kept["than"], *means, difference, share))
    return "\n".join(lines)


def ablation_tables(ablations: list[dict[str, Any]]) -> list[str]:
    """One table a recipe that was run with one change at a time: what is kept of validation, best first."""
    tables = []
    for recipe in sorted({run["recipe"] for run in ablations}):
        runs = sorted((run for run in ablations if run["recipe"] == recipe), key=_validation, reverse=True)
        whole = next(_validation(run) for run in runs if not run["change"])
        command = (
            f"python -m benchmarks.quality.ablate training/recipes/{recipe} {' '.join(runs[0]['options'])}".rstrip()
        )
        lines = [
            f"**One change at a time**, on validation, seed {runs[0]['seed']}: `{command}`",
            "",
            "| change | NDCG@10 | difference |",
            "|---|---|---|",
        ]
        for run in runs:
            difference = f" {_validation(run) - whole:+.4f}" if run["change"] else ""
            lines.append(f"| {run['name']} | {_validation(run):.4f} |{difference} |")
        tables.append("\n".join(lines))
    return tables


def _validation(run: dict[str, Any]) -> float:
    return run["best_validation_ndcg@10"]


def run_rows(result: dict[str, Any]) -> list[Row]:
    """The rows of a run and of the baselines on its targets."""
    time = f"{result['seconds'] / 60:.0f} min on {result['hardware']}"
    rows = [_measured(_name(result), result["test"], time, f"`{result['command']}`")]
    for name, baseline in result["baselines"].items():
        rows.append(_measured(name, baseline["test"], "", "measured here"))
    return rows


def sampled_row(result: dict[str, Any]) -> Row:
    """The row of a run by the paper's protocol; how long others trained is told in steps."""
    steps = max(entry["step"] for entry in result["curve"])
    return _measured(_name(result), result["sampled"][PAPER_DRAW], f"{steps:,} steps", f"`{result['command']}`")


def published_rows(entries: list[dict[str, Any]]) -> list[Row]:
    """The rows of what others published."""
    rows = []
    for entry in entries:
        figures = [f"{entry[name]:.4f}" if name in entry else "" for name in ("ndcg@10", "hit_rate@10")]
        rows.append((entry["ndcg@10"], _line(entry["model"], *figures, entry.get("training", ""), entry["source"])))
    return rows


def mean_rows(runs_of: list[tuple[str, dict[str, Any]]]) -> list[Row]:
    """A row for every recipe that was run with several seeds: mean and standard deviation over them.

    Args:
        runs_of: for every run the recipe's name and the figures, with their intervals.
    """
    rows = []
    for recipe in sorted({recipe for recipe, _ in runs_of}):
        runs = [figures for name, figures in runs_of if name == recipe]
        if len(runs) > 1:
            figures = [[run[metric]["mean"] for run in runs] for metric in ("ndcg@10", "hit_rate@10")]
            shown = [f"**{mean(values):.4f}** ± {stdev(values):.4f}" for values in figures]
            rows.append((mean(figures[0]), _line(f"**ours**, {recipe}, mean of {len(runs)} seeds", *shown, "", "")))
    return rows


def _measured(name: str, figures: dict[str, Any], training: str, source: str) -> Row:
    cells = [
        f"{figure['mean']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"
        for figure in (figures["ndcg@10"], figures["hit_rate@10"])
    ]
    return figures["ndcg@10"]["mean"], _line(name, *cells, training, source)


def _name(result: dict[str, Any]) -> str:
    return f"**ours**, {recipe_of(result)}, seed {result['options']['seed']}"


def _line(*cells: str) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _table(rows: list[Row]) -> str:
    lines = [row for _, row in sorted(set(rows), reverse=True)]
    return "\n".join(["| | NDCG@10 | HR@10 | training | source |", "|---|---|---|---|---|", *lines])
