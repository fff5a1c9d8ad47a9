"""Plots of benchmark results, drawn from their JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    measured_axes = [axis for axis in LABELS if _of_axis(result, axis)]
    with plt.rc_context({**STYLE, "figure.figsize": (9.6, 5.8)}):
        figure, grid = plt.subplots(
            len(QUANTITIES), len(measured_axes), layout="constrained", sharey="row", squeeze=False
        )
        for axes_row, quantity in zip(grid, QUANTITIES, strict=True):
            for axes, axis in zip(axes_row, measured_axes, strict=True):
                for curve in _of_axis(result, axis):
                    _draw_curve(axes, curve, quantity, _colours(result))
                _set_scales(
                    axes, sorted({point["size"] for curve in _of_axis(result, axis) for point in curve["points"]})
                )
            axes_row[0].set_ylabel(QUANTITIES[quantity])
        for axes, axis in zip(grid[-1], measured_axes, strict=True):
            axes.set_xlabel(LABELS[axis])
        grid[0][0].plot([], [], linestyle=":", color="#4d4d4d", label="proportional")
        if any(_split(curve)[1] for curve in result["curves"]):
            grid[0][0].plot([], [], linestyle="--", color="#4d4d4d", label="before")
        labelled = {label: handle for row in grid for handle, label in _legend(row[0])}
        figure.legend(
            labelled.values(), labelled, loc="outside upper center", ncols=min(5, len(labelled)), frameon=False
        )
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _of_axis(result: Mapping[str, Any], axis: str) -> list[Mapping[str, Any]]:
    return [curve for curve in result["curves"] if curve["axis"] == axis]


def _colours(result: Mapping[str, Any]) -> dict[str, str]:
    """A colour for every workload, in the order of the result."""
    return dict(zip(dict.fromkeys(_split(curve)[0] for curve in result["curves"]), COLOURS, strict=False))


def _split(curve: Mapping[str, Any]) -> tuple[str, bool]:
    """The workload, and whether it was measured with the code of an earlier commit."""
    name, _, version = curve["work"].partition(", ")
    return name, bool(version)


def _legend(axes: Axes) -> Iterator[tuple[Any, str]]:
    return zip(*axes.get_legend_handles_labels(), strict=True)


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


def _draw_curve(axes: Axes, curve: Mapping[str, Any], quantity: str, colours: Mapping[str, str]) -> None:
    points = [point for point in curve["points"] if point.get(quantity)]
    if not points:
        return  # peak memory was not measured
    sizes = [point["size"] for point in points]
    values = np.maximum([point[quantity] for point in points], MIN_MEGABYTES if quantity == "megabytes" else 0.0)
    low, middle, high = np.percentile(values, [25, 50, 75], axis=1)
    name, is_before = _split(curve)
    colour = colours[name]
    axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    if is_before:
        axes.plot(sizes, middle, linestyle="--", color=colour)
        return
    axes.plot(sizes, middle, marker="o", markersize=3.5, color=colour, label=name)
    proportional = [middle[0] * size / sizes[0] for size in sizes]
    axes.plot(sizes, proportional, linestyle=":", color=colour, linewidth=0.9)
