"""Markdown tables of recorded runs, published figures, comparisons and ablations."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

PENALTIES = (0.0, 0.3, 0.5, 1.0)  # of `popularity_penalty.py`
PAPER_SAMPLING = "popularity_100"  # the paper's protocol: 100 negatives drawn by popularity
HEADLINE = ("ndcg@10", "hit_rate@10")
# Rows of the README's table: recipes (mean over seeds), and models of published.yaml by name.
HEADLINE_DATASET = "ml-1m.txt"
HEADLINE_RECIPES = {
    "ml-1m": "**ours** (`ml-1m`)",
    "ml-1m-causal": "**ours**, causal (`ml-1m-causal`)",
}
HEADLINE_PUBLISHED = ("SASRec, 3,000 negatives (causal)", "gSASRec (causal)", "BERT4Rec, RecTools")
BASELINE_TITLES = {"markov": "Markov chain", "popularity": "popularity"}
Row = tuple[float, str]  # NDCG@10 as the sort key, and the Markdown line


def recipe_name(result: dict[str, Any]) -> str:
    """The name of the recipe; `-changed` is appended if the command line overrode a key."""
    arguments = [word for word in result["command"].split()[2:] if not word.startswith(("--seed", "--dataset"))]
    changed = any(word.startswith("--") for word in arguments[1:])
    return Path(arguments[0]).stem + ("-changed" if changed else "")


def result_tables(runs: list[dict[str, Any]], published: dict[str, Any]) -> list[str]:
    """One table per data set: our runs, baselines and published figures, best NDCG@10 first."""
    tables = []
    for dataset in sorted({run["dataset"] for run in runs}):
        ours = [run for run in runs if run["dataset"] == dataset]
        if len(hashes := {run["targets_sha256"] for run in ours}) > 1:
            raise ValueError(f"the runs on {dataset} have {len(hashes)} sets of targets: compare one only")
        rows = [row for run in ours for row in run_rows(run)]
        rows += mean_rows([(recipe_name(run), run["test"]) for run in ours])
        rows += published_rows(published.get(dataset, []))
        title = f"**{dataset}**: {ours[0]['users']:,} users, {ours[0]['catalogue_size']:,} items, targets "
        tables.append(f"{title}`{ours[0]['targets_sha256'][:8]}`\n\n{_model_table(rows)}")
    return tables


def headline_table(runs: list[dict[str, Any]], published: dict[str, Any]) -> str:
    """The README's table, best NDCG@10 first; empty without runs on its data set."""
    ours = [run for run in runs if run["dataset"] == HEADLINE_DATASET]
    if not ours:
        return ""
    by_recipe = {recipe: [run for run in ours if recipe_name(run) == recipe] for recipe in HEADLINE_RECIPES}
    rows = [recipe_row(HEADLINE_RECIPES[recipe], seeds) for recipe, seeds in by_recipe.items() if seeds]
    for entry in published[HEADLINE_DATASET]:
        if entry["model"] in HEADLINE_PUBLISHED:
            cells = [f"{entry[metric]:.4f}" for metric in HEADLINE]
            rows.append((entry["ndcg@10"], _line(entry["model"], *cells, entry["source"])))
    markov = ours[0]["baselines"]["markov"]["test"]
    cells = [f"{markov[metric]['mean']:.4f}" for metric in HEADLINE]
    rows.append((markov["ndcg@10"]["mean"], _line("Markov chain", *cells, "this repository")))
    return _table(_best_first(rows), "model", "NDCG@10", "HR@10", "source")


def recipe_row(title: str, runs: list[dict[str, Any]]) -> Row:
    """The headline row of a recipe: means over its seeds."""
    means = [mean(run["test"][metric]["mean"] for run in runs) for metric in HEADLINE]
    low, high = (f"{best(run['seconds'] for run in runs) / 60:.0f}" for best in (min, max))
    minutes = low if low == high else f"{low} to {high}"
    source = f"this repository, {len(runs)} seed{'s' if len(runs) > 1 else ''}, {minutes} min each"
    return means[0], _line(title, *map("{:.4f}".format, means), source)


def sampled_tables(runs: list[dict[str, Any]], published: dict[str, Any], penalised: list[dict[str, Any]]) -> list[str]:
    """One table per data set with published figures of the paper's sampled protocol.

    `penalised` are the results of `popularity_penalty.py`.
    """
    tables = []
    for dataset, entries in published.get(PAPER_SAMPLING, {}).items():
        ours = [run for run in runs if run["dataset"] == dataset and PAPER_SAMPLING in run["sampled"]]
        if not ours:
            continue
        rows = [sampled_row(run) for run in ours] + published_rows(entries)
        rows += mean_rows([(recipe_name(run), run["sampled"][PAPER_SAMPLING]) for run in ours])
        rows += [penalised_row(result) for result in penalised if result["dataset"] == dataset]
        tables.append(
            f"**{dataset}, sampled metrics as in the paper**: every held-out item is ranked among 100 items that the "
            "user has not seen, drawn by popularity. Sampled metrics are far higher than full-catalogue metrics; "
            f"compare them within this table only.\n\n{_model_table(rows)}"
        )
    return tables


def comparison_table(comparisons: list[dict[str, Any]]) -> str:
    """The results of `compare.py`: one row per comparison and model input."""
    if not comparisons:
        return ""
    title = "NDCG@10 on the same test items, mean over seeds, with 95 % paired bootstrap intervals of the difference"
    title += "; relative: divided by the mean of the reference"
    columns = "recipe", "seeds", "model input", "reference", "NDCG@10", "reference NDCG@10", "difference", "relative"
    lines = []
    for comparison in comparisons:
        for model_input, metrics in comparison["results"].items():
            ndcg = metrics["ndcg@10"]
            cells = [comparison["recipe"], str(comparison["seeds"]), model_input, comparison["reference"]]
            cells += [f"{ndcg['mean']:.4f}", f"{ndcg['reference_mean']:.4f}"]
            cells.append("{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**ndcg["difference"]))
            cells.append("{mean:+.1%} [{low:+.1%}, {high:+.1%}]".format(**ndcg["relative"]))
            lines.append(_line(*cells))
    return f"**Paired comparisons**: {title}\n\n{_table(lines, *columns)}"


def ablation_tables(ablations: list[dict[str, Any]]) -> list[str]:
    """One table per ablated recipe: validation NDCG@10, best first."""
    tables = []
    for recipe in sorted({run["recipe"] for run in ablations}):
        runs = sorted((run for run in ablations if run["recipe"] == recipe), key=_validation, reverse=True)
        baseline = next(_validation(run) for run in runs if not run["change"])
        command = ["python -m benchmarks.quality.ablate", f"training/recipes/{recipe}", *runs[0]["options"]]
        title = f"**Ablations**, one change at a time, on validation, seed {runs[0]['seed']} (`null`: key removed)"
        lines = []
        for run in runs:
            keys = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in run["change"].items())
            difference = f"{_validation(run) - baseline:+.4f}" if run["change"] else ""
            lines.append(_line(run["name"], keys, f"{_validation(run):.4f}", difference))
        table = _table(lines, "ablation", "recipe keys changed", "NDCG@10", "difference")
        tables.append(f"{title}: `{' '.join(command)}`\n\n{table}")
    return tables


def _validation(run: dict[str, Any]) -> float:
    return run["best_validation_ndcg@10"]


def run_rows(run: dict[str, Any]) -> list[Row]:
    """The row of a run and the rows of the baselines on its targets."""
    duration = f"{run['seconds'] / 60:.0f} min on {run['hardware']}"
    rows = [_measured_row(_run_title(run), run["test"], duration, f"`{run['command']}`")]
    for name, baseline in run["baselines"].items():
        rows.append(_measured_row(BASELINE_TITLES[name], baseline["test"], "", "measured here"))
    return rows


def sampled_row(run: dict[str, Any]) -> Row:
    """The row of a run by the paper's protocol, with training steps, which is what others publish."""
    steps = max(entry["step"] for entry in run["curve"])
    return _measured_row(_run_title(run), run["sampled"][PAPER_SAMPLING], f"{steps:,} steps", f"`{run['command']}`")


def penalised_row(result: dict[str, Any]) -> Row:
    """The mean over seeds with the `popularity_penalty` that is best by the same protocol on the validation part."""
    models = result["models"].values()
    means = {
        part: [
            [mean(model[part][index][f"sampled {metric}"] for model in models) for metric in HEADLINE]
            for index in range(len(PENALTIES))
        ]
        for part in ("validation", "test")
    }
    best = max(range(len(PENALTIES)), key=lambda index: means["validation"][index])
    recipe = result["dataset"].removesuffix(".txt")
    title = f"**ours**, {recipe} with `popularity_penalty={PENALTIES[best]:g}`, mean of {len(models)} seeds"
    cells = [f"**{value:.4f}**" for value in means["test"][best]]
    source = "`python -m benchmarks.quality.popularity_penalty`; the penalty is chosen on validation"
    return means["test"][best][0], _line(title, *cells, "", source)


def published_rows(entries: list[dict[str, Any]]) -> list[Row]:
    """The rows of published figures; a note on the protocol follows the source."""
    rows = []
    for entry in entries:
        metrics = [f"{entry[name]:.4f}" if name in entry else "" for name in HEADLINE]
        source = "; ".join([entry["source"], *([entry["note"]] if "note" in entry else [])])
        rows.append((entry["ndcg@10"], _line(entry["model"], *metrics, entry.get("training", ""), source)))
    return rows


def mean_rows(runs: list[tuple[str, dict[str, Any]]]) -> list[Row]:
    """One row per recipe with several seeds: mean and standard deviation. `runs` are recipe names with metrics."""
    rows = []
    for recipe in sorted({name for name, _ in runs}):
        metrics = [metrics for name, metrics in runs if name == recipe]
        if len(metrics) > 1:
            values = [[run[metric]["mean"] for run in metrics] for metric in HEADLINE]
            cells = [f"**{mean(seeds):.4f}** ± {stdev(seeds):.4f}" for seeds in values]
            title = f"**ours**, {recipe}, mean of {len(metrics)} seeds"
            rows.append((mean(values[0]), _line(title, *cells, "", "")))
    return rows


def _measured_row(title: str, metrics: dict[str, Any], training: str, source: str) -> Row:
    cells = ["{mean:.4f} [{low:.4f}, {high:.4f}]".format(**metrics[name]) for name in HEADLINE]
    return metrics["ndcg@10"]["mean"], _line(title, *cells, training, source)


def _run_title(run: dict[str, Any]) -> str:
    return f"**ours**, {recipe_name(run)}, seed {run['options']['seed']}"


def _line(*cells: str) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _model_table(rows: list[Row]) -> str:
    return _table(_best_first(rows), "model", "NDCG@10", "HR@10", "training", "source")


def _best_first(rows: list[Row]) -> list[str]:
    return [line for _, line in sorted(set(rows), reverse=True)]


def _table(lines: list[str], *columns: str) -> str:
    return "\n".join([_line(*columns), "|---" * len(columns) + "|", *lines])
