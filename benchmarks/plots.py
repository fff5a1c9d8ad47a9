"""Plots of benchmark results, drawn from their JSON files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from hf_bert4rec.evaluation.plots import STYLE
from hf_bert4rec.files import atomic_write

matplotlib.use("Agg")  # files only; no display is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.scaling_curves import AXES, MIN_MEGABYTES

COLOURS = ("#1f5fa8", "#e08214", "#7fb37f", "#9a6fb0", "#c23b22", "#5b5b5b", "#17a2a2", "#b8860b")
MAX_TICKS = 6
LABELS = {**AXES, "rows": "rows of the table"}
QUANTITIES = {"seconds": "seconds", "megabytes": "memory in MB"}


def draw_curves(result: Mapping[str, Any], path: Path) -> None:
    """Time and memory over each size, one line per workload; dotted lines are proportional growth."""
    colours = dict(zip(dict.fromkeys(curve["work"] for curve in result["curves"]), COLOURS, strict=False))
    by_axis = {axis: [curve for curve in result["curves"] if curve["axis"] == axis] for axis in LABELS}
    measured = {axis: curves for axis, curves in by_axis.items() if curves}
    with plt.rc_context({**STYLE, "figure.figsize": (9.6, 5.8)}):
        figure, grid = plt.subplots(len(QUANTITIES), len(measured), layout="constrained", sharey="row", squeeze=False)
        for axes_row, (quantity, label) in zip(grid, QUANTITIES.items(), strict=True):
            for axes, curves in zip(axes_row, measured.values(), strict=True):
                for curve in curves:
                    _draw_curve(axes, curve, quantity, colours[curve["work"]])
                _set_scales(axes, sorted({point["size"] for curve in curves for point in curve["points"]}))
            axes_row[0].set_ylabel(label)
        for axes, axis in zip(grid[-1], measured, strict=True):
            axes.set_xlabel(LABELS[axis])
        grid[0][0].plot([], [], linestyle=":", color="#4d4d4d", label="proportional")
        labelled: dict[str, Any] = {}
        for axes_row in grid:
            handles, labels = axes_row[0].get_legend_handles_labels()
            labelled |= dict(zip(labels, handles, strict=True))
        figure.legend(
            labelled.values(), labelled, loc="outside upper center", ncols=min(5, len(labelled)), frameon=False
        )
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _set_scales(axes: Axes, sizes: list[int]) -> None:
    """Logarithmic axes with plain numbers; ticks at the measured sizes if there are few."""
    axes.set(xscale="log", yscale="log")
    if len(sizes) <= MAX_TICKS:
        axes.set_xticks(sizes)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.tick_params(axis="x", which="major", labelsize=8)
    axes.grid(True, which="major", color="#dde1e6", linewidth=0.6)


def _draw_curve(axes: Axes, curve: Mapping[str, Any], quantity: str, colour: str) -> None:
    points = [point for point in curve["points"] if quantity in point]
    if not points:
        return  # a curve of another quantity
    sizes = [point["size"] for point in points]
    values = np.maximum([point[quantity] for point in points], MIN_MEGABYTES if quantity == "megabytes" else 0.0)
    low, middle, high = np.percentile(values, [25, 50, 75], axis=1)
    axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(sizes, middle, marker="o", markersize=3.5, color=colour, label=curve["work"])
    proportional = [middle[0] * size / sizes[0] for size in sizes]
    axes.plot(sizes, proportional, linestyle=":", color=colour, linewidth=0.9)
