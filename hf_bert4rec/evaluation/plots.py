"""Plots of an evaluation, drawn from `evaluation.json`, and of a training run, drawn from `training.json`."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..files import atomic_write
from .report_text import metric_label, scorer_label

CURVE_FILE = "plots/training.png"
COLOURS = {
    "random": "#dde1e6",
    "popularity": "#b6bdc5",
    "item_knn": "#8a919a",
    "markov": "#7fb37f",
    "model": "#1f5fa8",
    "known": "#4d4d4d",
    "targets": "#e08214",
}
OTHER_COLOUR = "#b6bdc5"
LOSS_COLOUR, METRIC_COLOUR = "#8a919a", "#1f5fa8"  # of the training curve
PROFILES = {
    "known": "all known interactions",
    "targets": "held-out items",
    "model": "recommended by this model",
    "markov": "recommended by Markov",
}
SLICES = {
    "history_length": ("By length of the history", "items in the history"),
    "target_popularity": (
        "By popularity of the held-out item",
        "known interactions of the held-out item (rare to popular)",
    ),
}
IN_SLICES = ("model", "markov")  # the model and usually the strongest baseline
STYLE = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 150,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "font.size": 10,
}


def write_plots(report: Mapping[str, Any], folder: str | Path) -> None:
    drawings: dict[str, Callable[[Axes, Mapping[str, Any]], str]] = {
        "metrics": _draw_metrics,
        **{kind: partial(_draw_slices, kind) for kind in SLICES},
        "popularity": _draw_popularity,
    }
    subtitle = ", ".join(report["protocol"][key] for key in ("dataset", "split", "part"))
    with rc_context(STYLE):
        for name, draw in drawings.items():
            figure = Figure(layout="constrained")
            axes = figure.subplots()
            title = draw(axes, report)
            axes.set_title(f"{title}: {subtitle}", loc="left", parse_math=False)  # a table's name may have dollars
            axes.grid(axis="y", color="#e3e6ea", lw=0.8)
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
            with atomic_write(Path(folder) / f"{name}.png") as temporary:
                figure.savefig(temporary, format="png")


def _draw_metrics(axes: Axes, report: Mapping[str, Any]) -> str:
    k = report["protocol"]["headline"].split("@")[1]
    names = [f"ndcg@{k}", "mrr", f"hit_rate@{k}"]
    metrics = {name: baseline["metrics"] for name, baseline in report["baselines"].items()}
    metrics["model"] = report["metrics"]
    _draw_estimates(axes, {scorer: [values[name] for name in names] for scorer, values in metrics.items()})
    axes.set_xticks(range(len(names)), [metric_label(name) for name in names])
    axes.set_ylabel("mean over users")
    return "Model and baselines, full catalogue"


def _draw_slices(kind: str, axes: Axes, report: Mapping[str, Any]) -> str:
    """The headline metric in every slice, with the model's mean over all users as a line."""
    name, slices = report["protocol"]["headline"], report["slices"][kind]
    parts = slices["model"]
    estimates = {scorer: [part["metrics"][name] for part in slices[scorer]] for scorer in IN_SLICES if scorer in slices}
    _draw_estimates(axes, estimates)
    overall = np.average([part["metrics"][name]["mean"] for part in parts], weights=[part["n"] for part in parts])
    axes.axhline(float(overall), color=COLOURS["model"], lw=1, ls=":", zorder=0)
    text = f"this model,\nall: {overall:.3f}"
    axes.text(1.01, float(overall), text, transform=axes.get_yaxis_transform(), va="center")
    bounds = [f"{part['from']:,}" + (f"–{part['to']:,}" if part["to"] != part["from"] else "") for part in parts]
    labels = [f"{bound}\n(n = {part['n']:,})" for bound, part in zip(bounds, parts, strict=True)]
    axes.set_xticks(range(len(parts)), labels)
    title, label = SLICES[kind]
    axes.set_xlabel(label)
    axes.set_ylabel(metric_label(name))
    return title


def _draw_popularity(axes: Axes, report: Mapping[str, Any]) -> str:
    """Shares of the catalogue's tenths among known, held-out and recommended items."""
    profiles = {name: report["popularity"][name] for name in PROFILES if name in report["popularity"]}
    for index, (name, shares) in enumerate(profiles.items()):
        positions, width = _bar_positions(index, len(profiles), len(shares))
        axes.bar(positions, shares, width * 0.95, color=COLOURS[name], label=PROFILES[name])
    tenths = len(next(iter(profiles.values())))
    axes.set_xticks(range(tenths), [f"{10 * t}–{10 * (t + 1)}" for t in range(tenths)], fontsize=9)
    axes.set_xlabel("tenth of the catalogue in %, most popular first")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share")
    return "Popularity of recommended and actual items"


def _draw_estimates(axes: Axes, estimates: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Groups of bars with intervals, one bar per scorer in each."""
    for index, (scorer, values) in enumerate(estimates.items()):
        positions, width = _bar_positions(index, len(estimates), len(values))
        means = [value["mean"] for value in values]
        axes.bar(positions, means, width * 0.92, color=COLOURS.get(scorer, OTHER_COLOUR), label=scorer_label(scorer))
        whiskers = np.array([[v["mean"] - v["low"], v["high"] - v["mean"]] for v in values]).T
        axes.errorbar(positions, means, whiskers.clip(min=0), fmt="none", ecolor="black", lw=1, capsize=2)


def _bar_positions(index: int, bars: int, groups: int) -> tuple[npt.NDArray[np.floating], float]:
    """Positions (groups,) and width of the bar number `index` in groups of `bars`."""
    width = 0.84 / bars
    return np.arange(groups) + (index - (bars - 1) / 2) * width, width


def draw_curve(training: Mapping[str, Any]) -> bytes:
    """Loss and validation NDCG@10 by epoch of a training record as PNG, with the exported step marked."""
    losses = [entry for entry in training["curve"] if "loss" in entry]
    evaluations = [entry for entry in training["curve"] if "eval_ndcg@10" in entry]
    values = [entry["eval_ndcg@10"] for entry in evaluations]
    figure = Figure(figsize=(7.0, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([entry["epoch"] for entry in losses], [entry["loss"] for entry in losses], color=LOSS_COLOUR)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss", color=LOSS_COLOUR)
    axes.set_title(f"Training on {training['dataset']}", loc="left", fontsize=11, parse_math=False)
    right = axes.twinx()
    right.plot([entry["epoch"] for entry in evaluations], values, color=METRIC_COLOUR, marker=".")
    right.set_ylabel("validation NDCG@10", color=METRIC_COLOUR)
    right.set_ylim(0, 1.12 * max(values, default=1.0) or 1.0)
    for either in (axes, right):
        either.spines["top"].set_visible(False)
    for entry in evaluations:
        if entry["step"] == training["best_step"]:
            point = (entry["epoch"], entry["eval_ndcg@10"])
            right.plot(*point, "o", color=METRIC_COLOUR, mfc="white", ms=9)
            side = "right" if entry is evaluations[-1] else "center"  # the label of the last point is left of the axis
            right.annotate("exported", point, (0, -16), textcoords="offset points", ha=side, color=METRIC_COLOUR)
            break
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
