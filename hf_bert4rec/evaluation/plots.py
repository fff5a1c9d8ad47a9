"""Four pictures of one evaluation, drawn from `evaluation.json` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ..files import atomic_write

matplotlib.use("Agg")  # files only; no display is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .table import NAMES

COLOURS = {
    "random": "#dde1e6",
    "popularity": "#b6bdc5",
    "item_knn": "#8a919a",
    "markov": "#7fb37f",
    "model": "#1f5fa8",
    "known": "#4d4d4d",
    "targets": "#e08214",
}
PROFILES = ("known", "targets", "model", "markov")
SLICED = ("model", "markov")  # the strongest baseline stands beside the model
LABELS = {"known": "all known interactions", "targets": "held-out movies", "model": "recommended by the model"}
STYLE = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 150,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "font.size": 10,
}


def write_plots(report: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Draw every picture into `folder` and give their paths."""
    drawings = {
        "metrics.png": _draw_metrics,
        "history_length.png": _draw_history_length,
        "target_popularity.png": _draw_target_popularity,
        "popularity.png": _draw_popularity,
    }
    paths = []
    with plt.rc_context(STYLE):
        for name, draw in drawings.items():
            figure, axes = plt.subplots(layout="constrained")
            draw(axes, report)
            path = Path(folder) / name
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png")
            plt.close(figure)
            paths.append(path)
    return paths


def _draw_metrics(axes: Axes, report: Mapping[str, Any]) -> None:
    """Model and baselines side by side on NDCG, hit rate and MRR, with intervals."""
    k = report["protocol"]["headline"].split("@")[1]
    names = [f"ndcg@{k}", "mrr", f"hit_rate@{k}"]
    scorers = {name: found["metrics"] for name, found in report["baselines"].items()}
    found = {scorer: [metrics[name] for name in names] for scorer, metrics in scorers.items()}
    _draw_estimates(axes, {**found, "model": [report["metrics"][name] for name in names]})
    axes.set_xticks(range(len(names)), [_spoken(name) for name in names])
    axes.set_ylabel("mean over users")
    _finish(axes, report, "Model and baselines, whole catalogue")


def _draw_history_length(axes: Axes, report: Mapping[str, Any]) -> None:
    _draw_slices(axes, report, "history_length", "movies in the history", "By length of the history")


def _draw_target_popularity(axes: Axes, report: Mapping[str, Any]) -> None:
    label = "known interactions of the held-out movie (rare to popular)"
    _draw_slices(axes, report, "target_popularity", label, "By popularity of what was held out")


def _draw_slices(axes: Axes, report: Mapping[str, Any], kind: str, label: str, title: str) -> None:
    """The headline metric in every slice, the model's mean over all as a line."""
    name, slices = report["protocol"]["headline"], report["slices"][kind]
    parts = slices["model"]
    _draw_estimates(axes, {who: [part["metrics"][name] for part in slices[who]] for who in SLICED if who in slices})
    overall = np.average([part["metrics"][name]["mean"] for part in parts], weights=[part["n"] for part in parts])
    axes.axhline(float(overall), color=COLOURS["model"], lw=1, ls=":", zorder=0)
    axes.text(1.01, float(overall), f"model,\nall: {overall:.3f}", transform=axes.get_yaxis_transform(), va="center")
    axes.set_xticks(range(len(parts)), [f"{_range(part)}\n(n = {part['n']:,})" for part in parts])
    axes.set_xlabel(label)
    axes.set_ylabel(_spoken(name))
    _finish(axes, report, title)


def _draw_popularity(axes: Axes, report: Mapping[str, Any]) -> None:
    """Which tenths of the catalogue are watched, held out and recommended."""
    profiles = {name: report["popularity"][name] for name in PROFILES if name in report["popularity"]}
    width = 0.84 / len(profiles)
    for place, (name, shares) in enumerate(profiles.items()):
        at = np.arange(len(shares)) + (place - (len(profiles) - 1) / 2) * width
        label = LABELS.get(name, f"recommended by {NAMES.get(name, name)}")
        axes.bar(at, shares, width * 0.95, color=COLOURS[name], label=label)
    tenths = len(next(iter(profiles.values())))
    axes.set_xticks(range(tenths), [f"{10 * t}–{10 * (t + 1)}" for t in range(tenths)], fontsize=9)
    axes.set_xlabel("tenth of the catalogue in %, most popular first")
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes.set_ylabel("share")
    axes.legend(frameon=False)
    _finish(axes, report, "Recommended against actual popularity")


def _draw_estimates(axes: Axes, found: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Groups of bars, one bar a scorer in each, with intervals and a legend."""
    width = 0.84 / len(found)
    for place, (scorer, estimates) in enumerate(found.items()):
        at = np.arange(len(estimates)) + (place - (len(found) - 1) / 2) * width
        means = [estimate["mean"] for estimate in estimates]
        axes.bar(at, means, width * 0.92, color=COLOURS.get(scorer, "#b6bdc5"), label=NAMES.get(scorer, scorer))
        whiskers = np.array([[e["mean"] - e["low"], e["high"] - e["mean"]] for e in estimates]).T
        axes.errorbar(at, means, whiskers.clip(min=0), fmt="none", ecolor="black", lw=1, capsize=2)
    axes.legend(frameon=False)


def _range(part: Mapping[str, int]) -> str:
    return f"{part['from']:,}" if part["from"] == part["to"] else f"{part['from']:,}–{part['to']:,}"


def _spoken(name: str) -> str:
    base, _, k = name.partition("@")
    spoken = {"ndcg": "NDCG", "hit_rate": "HitRate", "mrr": "MRR"}.get(base, base)
    return f"{spoken}@{k}" if k else spoken


def _finish(axes: Axes, report: Mapping[str, Any], title: str) -> None:
    protocol = report["protocol"]
    axes.set_title(f"{title}: {protocol['dataset']}, {protocol['split']}, {protocol['part']}", loc="left")
    axes.grid(axis="y", color="#e3e6ea", lw=0.8)
    axes.set_ylim(bottom=0)
