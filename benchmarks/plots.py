"""Plots of benchmark results, drawn from their JSON files."""

from __future__ import annotations

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

COLOURS = {
    "training step": "#1f5fa8",
    "evaluation": "#e08214",
    "data preparation": "#7fb37f",
    "initialization": "#9a6fb0",
}
MAX_TICKS = 6
QUANTITIES = {"seconds": "seconds", "megabytes": "peak memory in MB"}


def draw_scaling_curves(result: Mapping[str, Any], path: Path) -> None:
    """Time and peak memory over each size, one line per workload; dotted lines are proportional growth."""
    with plt.rc_context({**STYLE, "figure.figsize": (9.6, 5.8)}):
        figure, grid = plt.subplots(len(QUANTITIES), len(AXES), layout="constrained", sharey="row")
        for axes_row, quantity in zip(grid, QUANTITIES, strict=True):
            for axes, axis in zip(axes_row, AXES, strict=True):
                for curve in _of_axis(result, axis):
                    _draw_curve(axes, curve, quantity)
                _set_scales(
                    axes, sorted({point["size"] for curve in _of_axis(result, axis) for point in curve["points"]})
                )
            axes_row[0].set_ylabel(QUANTITIES[quantity])
        for axes, axis in zip(grid[-1], AXES, strict=True):
            axes.set_xlabel(AXES[axis])
        grid[0][0].plot([], [], linestyle=":", color="#4d4d4d", label="proportional")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _of_axis(result: Mapping[str, Any], axis: str) -> list[Mapping[str, Any]]:
    return [curve for curve in result["curves"] if curve["axis"] == axis]


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


def _draw_curve(axes: Axes, curve: Mapping[str, Any], quantity: str) -> None:
    points = [point for point in curve["points"] if point[quantity]]
    if not points:
        return  # peak memory was not measured
    sizes = [point["size"] for point in points]
    values = np.maximum([point[quantity] for point in points], MIN_MEGABYTES if quantity == "megabytes" else 0.0)
    low, middle, high = np.percentile(values, [25, 50, 75], axis=1)
    colour = COLOURS[curve["work"]]
    axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(sizes, middle, marker="o", markersize=3.5, color=colour, label=curve["work"])
    proportional = [middle[0] * size / sizes[0] for size in sizes]
    axes.plot(sizes, proportional, linestyle=":", color=colour, linewidth=0.9)
