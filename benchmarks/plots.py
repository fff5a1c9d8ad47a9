"""Pictures of the benchmarks' results, drawn from their JSON alone."""

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

from benchmarks.scaling_curves import LEAST

COLOURS = {
    "training step": "#1f5fa8",
    "evaluation": "#e08214",
    "data preparation": "#7fb37f",
    "start of training": "#9a6fb0",
}
AXES = {"users": "users", "length": "items of a history", "items": "items of the catalogue"}
MOST_TICKS = 6
QUANTITIES = {"seconds": "seconds", "megabytes": "MB above those before"}


def draw_scaling_curves(result: Mapping[str, Any], path: Path) -> None:
    """Time and memory against each size, one line a kind of work; a dotted line grows in proportion."""
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
        grid[0][0].plot([], [], linestyle=":", color="#4d4d4d", label="in proportion")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _of_axis(result: Mapping[str, Any], axis: str) -> list[Mapping[str, Any]]:
    return [curve for curve in result["curves"] if curve["axis"] == axis]


def _set_scales(axes: Axes, sizes: list[int]) -> None:
    """Logarithms on both sides, in plain numbers; the sizes themselves below where few enough were measured."""
    axes.set(xscale="log", yscale="log")
    if len(sizes) <= MOST_TICKS:
        axes.set_xticks(sizes)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.tick_params(axis="x", which="major", labelsize=8)
    axes.grid(True, which="major", color="#dde1e6", linewidth=0.6)


def _draw_curve(axes: Axes, curve: Mapping[str, Any], quantity: str) -> None:
    points = [point for point in curve["points"] if point[quantity]]
    if not points:
        return  # the peak of memory could not be measured
    sizes = [point["size"] for point in points]
    taken = np.maximum([point[quantity] for point in points], LEAST if quantity == "megabytes" else 0.0)
    low, middle, high = np.percentile(taken, [25, 50, 75], axis=1)
    colour = COLOURS[curve["work"]]
    axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(sizes, middle, marker="o", markersize=3.5, color=colour, label=curve["work"])
    in_proportion = [middle[0] * size / sizes[0] for size in sizes]
    axes.plot(sizes, in_proportion, linestyle=":", color=colour, linewidth=0.9)
